//! The settings of TLS: versions, ciphers, protocols, session tickets; of `admin.listen` too, as far as it has them.

use std::time::Duration;

use openssl::error::ErrorStack;
use openssl::ssl::{SslContextBuilder, SslMethod, SslVersion};
use tollgate_core::setting::duration;

use super::Layers;
use super::read::words;

/// Keys of session tickets are shared through the store: they change no more often than nodes look for new ones.
const SHORTEST_ROTATION: Duration = Duration::from_secs(300);

/// What TLS listeners offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsPolicy {
    versions: Versions,
    /// Of TLS 1.2, in OpenSSL's notation; `None`: Mozilla's intermediate ones.
    ciphers: Option<String>,
    /// Of TLS 1.3; `None`: all three that OpenSSL has.
    cipher_suites: Option<String>,
    /// Whether the proxy's listener offers HTTP/2.
    pub http2: bool,
    /// How long a key encrypts new session tickets; `None`: sessions are not resumed.
    pub ticket_rotation: Option<Duration>,
}

/// Older ones are not offered (RFC 8996).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Versions {
    Both,
    Tls12,
    Tls13,
}

impl TlsPolicy {
    /// Offers these versions and ciphers.
    ///
    /// # Errors
    /// OpenSSL refuses them.
    pub fn apply(&self, builder: &mut SslContextBuilder) -> Result<(), ErrorStack> {
        let newest = (self.versions == Versions::Tls12).then_some(SslVersion::TLS1_2);
        let oldest = if self.versions == Versions::Tls13 { SslVersion::TLS1_3 } else { SslVersion::TLS1_2 };
        builder.set_min_proto_version(Some(oldest))?;
        builder.set_max_proto_version(newest)?;
        if let Some(ciphers) = &self.ciphers {
            builder.set_cipher_list(ciphers)?;
        }
        if let Some(suites) = &self.cipher_suites {
            builder.set_ciphersuites(suites)?;
        }
        Ok(())
    }
}

/// Reads them; reports all problems.
pub(super) fn read(layers: &mut Layers) -> Option<TlsPolicy> {
    let versions = layers.read("tls.versions", versions);
    let ciphers =
        layers.read("tls.ciphers", |text| listed(text, SslContextBuilder::set_cipher_list, "`openssl ciphers`"));
    let cipher_suites = layers.read("tls.cipher_suites", |text| {
        listed(text, SslContextBuilder::set_ciphersuites, "`openssl ciphers -tls1_3 -s`")
    });
    let http2 = layers.read("tls.alpn", |text| match words(text).collect::<Vec<_>>().as_slice() {
        ["h2", "http/1.1"] => Ok(true),
        ["http/1.1"] => Ok(false),
        _ => Err("expected h2, http/1.1 or only http/1.1".to_owned()),
    });
    let ticket_rotation = layers.read("tls.session_ticket_rotation", |text| match text {
        "off" | "false" => Ok(None),
        _ => match duration(text)? {
            rotation if rotation >= SHORTEST_ROTATION => Ok(Some(rotation)),
            _ => Err("expected at least 5m, or off".to_owned()),
        },
    });
    Some(TlsPolicy {
        versions: versions?,
        ciphers: ciphers?,
        cipher_suites: cipher_suites?,
        http2: http2?,
        ticket_rotation: ticket_rotation?,
    })
}

fn versions(text: &str) -> Result<Versions, String> {
    match words(text).collect::<Vec<_>>().as_slice() {
        ["1.2", "1.3"] | ["1.3", "1.2"] => Ok(Versions::Both),
        ["1.2"] => Ok(Versions::Tls12),
        ["1.3"] => Ok(Versions::Tls13),
        _ => Err("expected 1.2, 1.3 or both; older versions are not offered (RFC 8996)".to_owned()),
    }
}

/// A list of ciphers that OpenSSL takes; commas separate as colons do. OpenSSL's own default for none.
fn listed(
    text: &str,
    set: impl FnOnce(&mut SslContextBuilder, &str) -> Result<(), ErrorStack>,
    lists_all: &str,
) -> Result<Option<String>, String> {
    let list = words(text).collect::<Vec<_>>().join(":");
    if list.is_empty() {
        return Ok(None);
    }
    if list.to_ascii_uppercase().contains("@SECLEVEL") {
        return Err("@SECLEVEL cannot be set: leave it out, and OpenSSL's own level is in force".to_owned());
    }
    if list.split(SEPARATORS).any(is_insecure) {
        return Err("ciphers without encryption or authentication cannot be offered".to_owned());
    }
    let mut builder = SslContextBuilder::new(SslMethod::tls_server()).map_err(|error| error.to_string())?;
    set(&mut builder, &list).map_err(|_| format!("OpenSSL has no such cipher; {lists_all} lists all"))?;
    Ok(Some(list))
}

/// What OpenSSL reads as the end of a name in a list of ciphers.
const SEPARATORS: [char; 4] = [':', ',', ';', ' '];

/// Names of ciphers, and of groups of them, that protect nothing.
fn is_insecure(name: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    let is_taken_away = upper.starts_with('!') || upper.starts_with('-');
    let protects_nothing =
        |part: &str| part.contains("NULL") || part == "ADH" || part == "AECDH" || part == "COMPLEMENTOFALL";
    !is_taken_away && upper.split(['+', '-']).any(protects_nothing)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(flags: &[&str]) -> Result<TlsPolicy, Vec<String>> {
        let mut layers = Layers::defaults();
        layers.flags(&flags.iter().map(|flag| (*flag).to_owned()).collect::<Vec<_>>());
        let read = read(&mut layers);
        read.ok_or_else(|| layers.problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn modern_versions_are_offered_and_older_ones_cannot_be() {
        let policy_of = |versions: &str| policy(&[&format!("tls.versions={versions}")]);
        for (text, expected) in [("1.2, 1.3", Versions::Both), ("1.2", Versions::Tls12), ("1.3", Versions::Tls13)] {
            assert_eq!(policy_of(text).expect(text).versions, expected);
        }
        let refused = "--set: tls.versions: expected 1.2, 1.3 or both; older versions are not offered (RFC 8996)";
        for text in ["1.1", "1.0,1.2", "", "TLSv1.2", "1.2,1.2"] {
            assert_eq!(policy_of(text), Err(vec![refused.to_owned()]), "{text}");
        }
    }

    #[test]
    fn ciphers_are_those_of_openssl_that_protect_something() {
        let some = policy(&["tls.ciphers=ECDHE-RSA-AES128-GCM-SHA256,ECDHE+CHACHA20:!aNULL"]).expect("valid");
        assert_eq!(some.ciphers.as_deref(), Some("ECDHE-RSA-AES128-GCM-SHA256:ECDHE+CHACHA20:!aNULL"));
        let suites = policy(&["tls.cipher_suites=TLS_AES_256_GCM_SHA384"]).expect("valid");
        assert_eq!(suites.cipher_suites.as_deref(), Some("TLS_AES_256_GCM_SHA384"));
        let unknown = "--set: tls.ciphers: OpenSSL has no such cipher; `openssl ciphers` lists all";
        assert_eq!(policy(&["tls.ciphers=NONE-SUCH"]), Err(vec![unknown.to_owned()]));
        for weak in [
            "eNULL",
            "ALL:aNULL",
            "ADH-AES256-GCM-SHA384",
            "NULL-SHA256",
            "COMPLEMENTOFALL",
            "ECDHE+AESGCM;ADH",
            "ECDHE+AESGCM ADH",
        ] {
            let refused = "--set: tls.ciphers: ciphers without encryption or authentication cannot be offered";
            assert_eq!(policy(&[&format!("tls.ciphers={weak}")]), Err(vec![refused.to_owned()]), "{weak}");
        }
    }

    #[test]
    fn the_security_level_of_openssl_cannot_be_set() {
        for list in
            ["DEFAULT:@SECLEVEL=0", "DEFAULT@SECLEVEL=0", "HIGH:!aNULL@seclevel=0", "ECDHE+AESGCM,@SECLEVEL=1:!MD5"]
        {
            let refused =
                "--set: tls.ciphers: @SECLEVEL cannot be set: leave it out, and OpenSSL's own level is in force";
            assert_eq!(policy(&[&format!("tls.ciphers={list}")]), Err(vec![refused.to_owned()]), "{list}");
        }
    }

    #[test]
    fn http2_can_be_left_out_and_tickets_can_be_off() {
        assert!(policy(&[]).expect("valid").http2 && !policy(&["tls.alpn=http/1.1"]).expect("valid").http2);
        assert!(policy(&["tls.alpn=h2"]).is_err() && policy(&["tls.alpn=http/1.1,h2"]).is_err());
        let rotation =
            |text: &str| policy(&[&format!("tls.session_ticket_rotation={text}")]).map(|all| all.ticket_rotation);
        assert_eq!(rotation("off"), Ok(None));
        assert_eq!(rotation("5m"), Ok(Some(SHORTEST_ROTATION)));
        let short = "--set: tls.session_ticket_rotation: expected at least 5m, or off";
        assert_eq!(rotation("299s"), Err(vec![short.to_owned()]));
    }
}
