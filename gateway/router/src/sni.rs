//! Which certificate a TLS server name gets.

use std::collections::HashMap;

use tollgate_core::host::Host;

/// Certificates, or whatever stands for them, by server name, with one for all other names.
///
/// A wildcard stands for one label: `*.a.com` covers `x.a.com` but not `x.y.a.com`. Case does not
/// matter.
#[derive(Debug, Clone)]
pub struct CertificateNames<T> {
    by_name: HashMap<Box<str>, T>,
    default: T,
}

impl<T> CertificateNames<T> {
    /// Only the default.
    pub fn new(default: T) -> Self {
        Self { by_name: HashMap::new(), default }
    }

    /// Adds a name: exact, `*.domain`, `name.*` or `*`.
    pub fn insert(&mut self, name: &str, value: T) {
        self.by_name.insert(name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase().into(), value);
    }

    /// The certificate for a client that asked for this name: exact, then `*.domain`, then
    /// `name.*`, then `*`, then the default (gateway.md §6).
    pub fn find(&self, sni: Option<&Host<'_>>) -> &T {
        sni.and_then(|sni| self.find_named(sni.as_str())).or_else(|| self.by_name.get("*")).unwrap_or(&self.default)
    }

    fn find_named(&self, sni: &str) -> Option<&T> {
        let by_domain = || sni.split_once('.').and_then(|(_, domain)| self.by_name.get(format!("*.{domain}").as_str()));
        let by_start = || sni.rsplit_once('.').and_then(|(start, _)| self.by_name.get(format!("{start}.*").as_str()));
        self.by_name.get(sni).or_else(by_domain).or_else(by_start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_tried_from_the_most_to_the_least_exact() {
        let mut names = CertificateNames::new("default");
        for name in ["a.com", "*.a.com", "x.b.*", "x.a.*"] {
            names.insert(&name.to_ascii_uppercase(), name);
        }
        let rows = [
            (Some("a.com"), "a.com"),
            (Some("A.com."), "a.com"),
            (Some("x.a.com"), "*.a.com"),
            (Some("x.y.a.com"), "default"),
            (Some("x.b.com"), "x.b.*"),
            (Some("x.a.org"), "x.a.*"),
            (Some("other"), "default"),
            (None, "default"),
        ];
        for (sni, expected) in rows {
            let sni = sni.map(|sni| Host::parse(sni).unwrap());
            assert_eq!(*names.find(sni.as_ref()), expected, "{sni:?}");
        }
        names.insert("*", "*");
        assert_eq!(*names.find(Some(&Host::parse("other").unwrap())), "*");
        assert_eq!(*names.find(None), "*");
    }
}
