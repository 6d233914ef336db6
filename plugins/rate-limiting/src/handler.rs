//! One configured instance: counts a request, and lets it pass or refuses it.

use std::sync::Arc;

use http::header::RETRY_AFTER;
use http::{HeaderValue, StatusCode};
use prometheus::IntCounter;
use tollgate_plugin::{Access, Clock, Handler, HeaderEdit, Reply, Request, StoreError, Verdict, grpc};

use crate::cluster::Cluster;
use crate::config::{Config, Telling, Uncounted};
use crate::headers::Headers;
use crate::recent::Recent;
use crate::sender::{Key, Scope};
use crate::usage::{Standing, Used};

pub(crate) struct RateLimit {
    pub(crate) config: Config,
    pub(crate) scope: Scope,
    pub(crate) headers: Headers,
    pub(crate) counters: Counters,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) refused: IntCounter,
    /// Counts requests that the store could not count.
    pub(crate) uncounted: IntCounter,
}

/// Where an instance counts.
pub(crate) enum Counters {
    Local(Arc<Recent>),
    Cluster(Arc<Cluster>),
}

impl Handler for RateLimit {
    fn access<'a>(&'a self, request: &'a mut Request<'_>) -> Access<'a> {
        let (key, now) = (self.config.limit_by.key(self.scope, request), self.clock.now());
        let limits = &self.config.limits;
        let known = match &self.counters {
            Counters::Local(recent) => recent.with(&key, |windows| windows.count(limits, now)),
            Counters::Cluster(cluster) => match cluster.spent(&key, limits, now) {
                Some(spent) => Some(spent),
                None => return Access::Pending(Box::pin(self.ask(cluster, key, now, request))),
            },
        };
        Access::Ready(Ok(self.conclude(known.unwrap_or_default(), now, request)))
    }
}

impl RateLimit {
    async fn ask(
        &self,
        cluster: &Cluster,
        key: Key,
        now: i64,
        request: &mut Request<'_>,
    ) -> Result<Verdict, tollgate_plugin::PluginError> {
        match cluster.count(key, &self.config.limits, now).await {
            Ok(used) => Ok(self.conclude(used, now, request)),
            Err(error) => Ok(self.uncounted(&error, request)),
        }
    }

    fn conclude(&self, used: Used, now: i64, request: &mut Request<'_>) -> Verdict {
        let standing = Standing::of(&self.config.limits, &used, now);
        if self.config.telling == Telling::Told
            && let Some(block) = self.headers.block(&standing)
        {
            request.response.push(HeaderEdit::Apply(block));
        }
        if standing.admitted {
            return Verdict::Continue;
        }
        self.refused.inc();
        let reply = Reply::message(self.config.status, "rate_limit_exceeded", self.config.message.clone());
        Verdict::Reply(grpc::refusal(reply, request))
    }

    fn uncounted(&self, error: &StoreError, request: &Request<'_>) -> Verdict {
        if !error.is_reported() {
            tracing::warn!(error = error as &dyn std::error::Error, "cannot count request for its rate limit");
        }
        self.uncounted.inc();
        if self.config.uncounted == Uncounted::Pass {
            return Verdict::Continue;
        }
        let message = "Rate limits are currently unavailable";
        let reply = Reply::message(StatusCode::SERVICE_UNAVAILABLE, "rate_limit_store_unavailable", message);
        let reply = reply.with_header(RETRY_AFTER, HeaderValue::from_static("1"));
        Verdict::Reply(grpc::refusal(reply, request))
    }
}

#[cfg(test)]
mod tests;
