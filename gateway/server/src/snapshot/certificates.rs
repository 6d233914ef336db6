//! Certificates, their server names, and authorities, as last read by this node: parsed when they change.
//!
//! Stored text that cannot be used concerns what needs it alone: a name whose certificate is damaged gets the default,
//! and requests to a service whose client certificate or authorities are damaged are refused.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use openssl::x509::X509;
use tollgate_core::collection::Document;
use uuid::Uuid;

use super::mirror::put;
use crate::identity::{Certificate, Error, Identity};
use crate::pem;
use crate::served::ByName;

/// The entities with their parsed forms.
#[derive(Default)]
pub(crate) struct Certificates {
    /// `None`: it cannot be used.
    certificates: BTreeMap<Uuid, Option<Arc<Certificate>>>,
    names: BTreeMap<Uuid, Name>,
    /// `None`: it cannot be used.
    authorities: BTreeMap<Uuid, Option<X509>>,
}

/// A server name.
struct Name {
    text: String,
    certificate: Uuid,
}

impl Certificates {
    /// Updates a certificate; `None`: it was deleted.
    pub(crate) fn set_certificate(&mut self, id: Uuid, document: Option<&Document>) {
        let parsed = document.map(|document| match certificate(document) {
            Ok(certificate) => Some(Arc::new(certificate)),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(%id, error, "cannot use stored certificate; the default is presented for its names");
                None
            }
        });
        put(&mut self.certificates, id, parsed);
    }

    /// Updates a server name.
    pub(crate) fn set_name(&mut self, id: Uuid, document: Option<&Document>) {
        let name = document.and_then(|document| {
            Some(Name { text: document.text("name")?.to_owned(), certificate: document.reference("certificate")? })
        });
        put(&mut self.names, id, name);
    }

    /// Updates an authority.
    pub(crate) fn set_authority(&mut self, id: Uuid, document: Option<&Document>) {
        let parsed = document.map(|document| {
            let chain = pem::chain(document.text("cert").unwrap_or_default());
            if let Err(error) = &chain {
                tracing::error!(%id, %error, "cannot use stored CA certificate; requests to its services are refused");
            }
            chain.ok().and_then(|chain| chain.into_iter().next())
        });
        put(&mut self.authorities, id, parsed);
    }

    /// The certificates by their server names.
    pub(crate) fn by_name(&self) -> ByName {
        let served = |name: &Name| self.certificate(name.certificate);
        let names = self.names.values().filter_map(|name| Some((name.text.as_str(), served(name)?)));
        ByName::new(names).shown_as(self.expiries())
    }

    /// When certificates expire: each by the first of its names, or by its id if it has none.
    fn expiries(&self) -> Vec<(String, i64)> {
        let mut labels: BTreeMap<Uuid, BTreeSet<&str>> = BTreeMap::new();
        for name in self.names.values() {
            labels.entry(name.certificate).or_default().insert(&name.text);
        }
        let usable = self.certificates.iter().filter_map(|(id, certificate)| Some((id, certificate.as_ref()?)));
        let shown = usable.map(|(id, certificate)| {
            let name = labels.get(id).and_then(|names| names.first());
            (name.map_or_else(|| id.to_string(), |name| (*name).to_owned()), certificate.expires_at())
        });
        shown.collect()
    }

    /// A certificate that can be used.
    pub(crate) fn certificate(&self, id: Uuid) -> Option<&Arc<Certificate>> {
        self.certificates.get(&id)?.as_ref()
    }

    /// An authority that can be used.
    pub(crate) fn authority(&self, id: Uuid) -> Option<&X509> {
        self.authorities.get(&id)?.as_ref()
    }
}

fn certificate(document: &Document) -> Result<Certificate, Error> {
    let text = |field| document.text(field).unwrap_or_default();
    let primary = Identity::parse(text("cert"), text("key"))?;
    let alternative = document.text("cert_alt").map(|certificate| Identity::parse(certificate, text("key_alt")));
    Certificate::new(primary, alternative.transpose()?)
}
