//! Which certificate a handshake gets (gateway.md §6): that of its exact server name, of `*.domain`, of `name.*`, of
//! `*`, or else the one of the settings.
//!
//! Both are immutable and replaced as a whole: a handshake takes what is current once. So a write to `/certificates` or
//! a new file is in force in the next handshake, and those that have begun are not disturbed.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use openssl::ssl::SslRef;
use tollgate_core::host::Host;

use crate::identity::Certificate;

/// How many certificates the metrics name: those that expire first.
const SHOWN: usize = 1000;

/// The certificates of the listener.
#[derive(Default)]
pub struct Served {
    /// For names that have none, and for clients that send no name.
    default: ArcSwapOption<Certificate>,
    by_name: ArcSwap<ByName>,
}

impl Served {
    /// The certificates of the configuration, from now on.
    pub fn set_by_name(&self, by_name: ByName) {
        self.by_name.store(Arc::new(by_name));
    }

    /// The certificate of the settings, from now on.
    pub fn set_default(&self, certificate: Certificate) {
        self.default.store(Some(Arc::new(certificate)));
    }

    /// Presents the certificate for the server name in a handshake. One that OpenSSL rejects gives way to the default.
    pub fn present(&self, name: Option<&Host<'_>>, ssl: &mut SslRef) {
        let by_name = self.by_name.load();
        if let Some(certificate) = name.and_then(|name| by_name.find(name.as_str())) {
            match certificate.present(ssl) {
                Ok(()) => return,
                Err(error) => tracing::error!(%error, "cannot present a certificate; the default is presented"),
            }
        }
        match &*self.default.load() {
            Some(certificate) => {
                if let Err(error) = certificate.present(ssl) {
                    tracing::error!(%error, "cannot present the default certificate");
                }
            }
            None => tracing::error!("there is no default certificate; a handshake fails"),
        }
    }

    /// The certificates that expire first, with when that is, in Unix seconds.
    pub fn expiries(&self) -> Vec<(String, i64)> {
        let default = self.default.load().as_ref().map(|certificate| ("default".to_owned(), certificate.expires_at()));
        default.into_iter().chain(self.by_name.load().expiries.iter().cloned()).collect()
    }
}

/// Certificates by server name.
#[derive(Default)]
pub struct ByName {
    exact: HashMap<Box<str>, Arc<Certificate>>,
    /// By the domain of `*.domain`.
    below: HashMap<Box<str>, Arc<Certificate>>,
    /// By the name of `name.*`.
    above: HashMap<Box<str>, Arc<Certificate>>,
    any: Option<Arc<Certificate>>,
    expiries: Vec<(String, i64)>,
}

impl ByName {
    /// Arranges certificates by their server names, which are compared without regard to case.
    pub fn new<'n>(names: impl IntoIterator<Item = (&'n str, &'n Arc<Certificate>)>) -> Self {
        let mut by_name = Self::default();
        for (name, certificate) in names {
            let name = name.trim_end_matches('.').to_ascii_lowercase();
            let certificate = Arc::clone(certificate);
            if name == "*" {
                by_name.any = Some(certificate);
            } else if let Some(domain) = name.strip_prefix("*.") {
                by_name.below.insert(domain.into(), certificate);
            } else if let Some(name) = name.strip_suffix(".*") {
                by_name.above.insert(name.into(), certificate);
            } else {
                by_name.exact.insert(name.into(), certificate);
            }
        }
        by_name
    }

    /// With the names by which metrics show certificates: those that expire first.
    #[must_use]
    pub fn shown_as(self, mut expiries: Vec<(String, i64)>) -> Self {
        expiries.sort_unstable_by(|(one, first), (other, second)| (first, one).cmp(&(second, other)));
        expiries.truncate(SHOWN);
        Self { expiries, ..self }
    }

    fn find(&self, name: &str) -> Option<&Arc<Certificate>> {
        let below = || name.split_once('.').and_then(|(_, domain)| self.below.get(domain));
        let above = || name.rsplit_once('.').and_then(|(name, _)| self.above.get(name));
        self.exact.get(name).or_else(below).or_else(above).or(self.any.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Identity;

    fn certificate() -> Arc<Certificate> {
        let directory = tempfile::tempdir().expect("a directory");
        let files = crate::certificate::files(None, directory.path()).expect("made");
        let text = |path| std::fs::read_to_string(path).expect("readable");
        let identity = Identity::parse(&text(&files.certificate), &text(&files.key)).expect("an identity");
        Arc::new(Certificate::new(identity, None).expect("usable"))
    }

    #[test]
    fn the_most_specific_name_wins() {
        let names = ["a.b.test", "*.b.test", "a.b.*", "*", "x.test", "UPPER.test"];
        let certificates: Vec<_> = names.iter().map(|_| certificate()).collect();
        let by_name = ByName::new(names.into_iter().zip(&certificates));
        let found = |name: &str| {
            let found = by_name.find(name).expect("there is one for every name");
            certificates.iter().position(|certificate| Arc::ptr_eq(certificate, found)).map(|place| names[place])
        };
        let rows = [
            ("a.b.test", "a.b.test"),
            ("c.b.test", "*.b.test"),
            ("a.b.example", "a.b.*"),
            ("b.test", "*"),
            ("c.a.b.test", "*"),
            ("x.test", "x.test"),
            ("upper.test", "UPPER.test"),
        ];
        for (name, expected) in rows {
            assert_eq!(found(name), Some(expected), "{name}");
        }
        let by_name = ByName::new([("*.b.test", &certificates[0])]);
        assert!(by_name.find("a.c.test").is_none());
    }

    #[test]
    fn metrics_name_no_more_than_a_thousand_certificates_those_that_expire_first() {
        let expiries = (0..2000).rev().map(|second| (format!("n{second}"), second)).collect();
        let by_name = ByName::default().shown_as(expiries);
        assert_eq!(by_name.expiries.len(), 1000);
        assert_eq!(by_name.expiries.first(), Some(&("n0".to_owned(), 0)));
        assert_eq!(by_name.expiries.last(), Some(&("n999".to_owned(), 999)));
    }
}
