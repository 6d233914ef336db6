//! The peers.

use std::path::Path;

use super::{Ready, Stage};
use crate::error::{Error, Result};
use crate::load::{Identity, Requests, Tokens};
use crate::program::{Proxy, haproxy, nginx_proxy, nginx_token_cache, smallest};
use crate::row::Ask;
use crate::site::{Extent, Site};
use crate::token_list::{TokenList, write_zipf_order};

impl Stage<'_> {
    pub(super) async fn nginx(&self) -> Result<Ready> {
        Ok(plain(nginx_proxy(self.path(), self.upstream.address, &self.certificate).await?))
    }

    pub(super) async fn haproxy(&self) -> Result<Ready> {
        Ok(plain(haproxy(self.path(), self.upstream.address).await?))
    }

    pub(super) async fn smallest(&self, program: &Path) -> Result<Ready> {
        Ok(plain(smallest(self.path(), program, self.upstream.address).await?))
    }

    pub(super) async fn nginx_token_cache(&self) -> Result<Ready> {
        let proxy = nginx_token_cache(self.path(), self.upstream.address, &self.certificate).await?;
        let popular = TokenList::forge(self.amounts.popular);
        let tokens = Tokens {
            list: popular.write(self.path(), "nginx-tokens")?,
            order: Some(write_zipf_order(self.path(), "nginx-order", popular.len())?),
        };
        let one = popular.iter().next().unwrap_or_default();
        let identity = Identity::of_own("person-0".into(), "client-0".into(), "user-00000000".into());
        let requests = vec![
            (Ask::OneToken, Requests::bearer("/", one).known_as(identity.clone())),
            (Ask::Zipf, Requests::bearers("/", tokens).known_as(identity)),
        ];
        Ok(Ready { proxy, status: None, requests })
    }

    pub(super) async fn other(&mut self) -> Result<Ready> {
        let other = self.options.other().map_err(Error::Usage)?;
        let other = other.ok_or_else(|| Error::Usage("no other gateway was named (--admin, --proxy, --pid)".into()))?;
        let extent = Extent { services: 1, consumers: 1 };
        Site::sweep(&other.admin, extent).await?;
        let site = Site::make(&other.admin, self.upstream.address, extent).await?;
        let site = self.site.insert(site);
        let requests = super::gateway::few_requests(site, &site.token().await?);
        Ok(Ready { proxy: other.as_proxy(), status: None, requests })
    }
}

fn plain(proxy: Proxy) -> Ready {
    Ready { proxy, status: None, requests: vec![(Ask::Plain, Requests::get("/"))] }
}
