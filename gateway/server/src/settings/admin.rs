//! The settings of the Admin API's listener. A listener that others can reach must know who calls.

use std::net::SocketAddr;
use std::path::PathBuf;

use tollgate_admin::{Origins, is_loopback};
use tollgate_core::host::Authority;

use super::listeners::address;
use super::read::{optional_path, words};
use super::{CertificateFiles, Layers};

/// How callers of the Admin API prove who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdminAuth {
    /// They do not, or with a client certificate.
    Off,
    /// With tokens that `tollgate admin-token` makes.
    Tokens,
}

/// TLS on the Admin API's listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminTls {
    /// The certificate.
    pub files: CertificateFiles,
    /// The PEM file of the authorities whose client certificates are required; `None`: none is requested.
    pub client_ca: Option<PathBuf>,
}

/// The settings of the Admin API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// Its address.
    pub listen: SocketAddr,
    /// How callers prove who they are.
    pub auth: AdminAuth,
    /// TLS; `None`: plain HTTP.
    pub tls: Option<AdminTls>,
    /// The origins of web pages that may use it.
    pub allowed_origins: Origins,
    /// Whether the console is served.
    pub ui: bool,
    /// Further names by which it, and the status listener, may be addressed on loopback; in lower case.
    pub allowed_hosts: Vec<String>,
}

impl Admin {
    /// Whether callers prove who they are, in one way or another.
    pub fn knows_callers(&self) -> bool {
        self.auth == AdminAuth::Tokens || self.requires_certificates()
    }

    fn requires_certificates(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some())
    }

    /// Whether tokens cross a network in clear text.
    pub fn sends_tokens_in_clear(&self) -> bool {
        self.auth == AdminAuth::Tokens && self.tls.is_none() && !is_loopback(self.listen)
    }
}

/// Reads them; reports all problems.
pub(super) fn read(layers: &mut Layers) -> Option<Admin> {
    let auth = layers.read("admin.auth", |text| match text {
        "off" | "false" => Ok(AdminAuth::Off),
        "tokens" => Ok(AdminAuth::Tokens),
        _ => Err("expected off or tokens".to_owned()),
    });
    let tls = read_tls(layers);
    let allowed_hosts = layers.read("admin.allowed_hosts", hosts);
    let allowed_origins = layers.read("admin.allowed_origins", |text| match origins(text)? {
        Origins::Any if auth == Some(AdminAuth::Off) => Err(ANY_ORIGIN.to_owned()),
        origins => Ok(origins),
    });
    let ui = layers.read("admin.ui", |text| match text {
        "true" | "on" => Ok(true),
        "false" | "off" => Ok(false),
        _ => Err("expected on or off".to_owned()),
    });
    let is_protected = auth == Some(AdminAuth::Tokens) || matches!(&tls, Some(Some(tls)) if tls.client_ca.is_some());
    let listen = layers.read("admin.listen", |text| {
        let listen = address(text)?;
        if is_protected || is_loopback(listen) { Ok(listen) } else { Err(unprotected(listen)) }
    });
    Some(Admin {
        listen: listen?,
        auth: auth?,
        tls: tls?,
        allowed_origins: allowed_origins?,
        allowed_hosts: allowed_hosts?,
        ui: ui?,
    })
}

const ANY_ORIGIN: &str = "`*` lets every web page that an operator opens use the Admin API: list the origins, or set \
    admin.auth to tokens, which pages do not have";

fn unprotected(listen: SocketAddr) -> String {
    format!(
        "{listen} can be reached from other machines, and whoever reaches the Admin API controls the gateway: set \
         admin.auth to tokens (and run `tollgate admin-token create`) or admin.tls.client_ca, or listen on 127.0.0.1"
    )
}

fn read_tls(layers: &mut Layers) -> Option<Option<AdminTls>> {
    let certificate = layers.read("admin.tls.certificate", |text| Ok(optional_path(text)))?;
    let passphrase_setting = "admin.tls.key_passphrase_file";
    let passphrase = layers.read(passphrase_setting, |text| Ok(optional_path(text)))?;
    let files = layers.read("admin.tls.key", |text| match (certificate, optional_path(text)) {
        (None, None) => Ok(None),
        (Some(certificate), Some(key)) => {
            Ok(Some(CertificateFiles { certificate, key, passphrase, passphrase_setting }))
        }
        _ => Err("admin.tls.certificate and admin.tls.key must be set together".to_owned()),
    })?;
    layers.read("admin.tls.client_ca", |text| match (files, optional_path(text)) {
        (None, Some(_)) => Err("needs TLS: set admin.tls.certificate and admin.tls.key".to_owned()),
        (None, None) => Ok(None),
        (Some(files), client_ca) => Ok(Some(AdminTls { files, client_ca })),
    })
}

fn hosts(text: &str) -> Result<Vec<String>, String> {
    words(text)
        .map(|word| match Authority::parse(word) {
            Ok(Authority { host, port: None }) => Ok(host.as_str().to_owned()),
            _ => Err(format!("{word:?} is not a host name or address without a port, such as gateway.example.com")),
        })
        .collect()
}

fn origins(text: &str) -> Result<Origins, String> {
    let listed: Vec<&str> = words(text).collect();
    match listed.as_slice() {
        [] => Ok(Origins::None),
        ["*"] => Ok(Origins::Any),
        listed => listed.iter().map(|word| origin(word)).collect::<Result<_, _>>().map(Origins::Listed),
    }
}

fn origin(word: &str) -> Result<String, String> {
    let lower = word.to_ascii_lowercase();
    let authority = ["https://", "http://"].iter().find_map(|scheme| lower.strip_prefix(scheme));
    match authority.map(Authority::parse) {
        Some(Ok(_)) => Ok(lower),
        _ => Err(format!("{word:?} is not an origin such as https://ui.example.com, without a path")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Settings;
    use super::*;

    fn admin(flags: &[&str]) -> Result<Admin, Vec<String>> {
        let mut layers = Layers::defaults();
        layers.flags(&flags.iter().map(|flag| (*flag).to_owned()).collect::<Vec<_>>());
        let settings = Settings::from_layers(layers);
        settings.map(|all| all.admin).map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }

    const TLS: [&str; 2] = ["admin.tls.certificate=c.pem", "admin.tls.key=k.pem"];

    #[test]
    fn a_listener_that_others_can_reach_needs_tokens_or_client_certificates() {
        for listen in ["0.0.0.0:8001", "[::]:8001", "192.0.2.1:8001", "[2001:db8::1]:8001", "[::ffff:192.0.2.1]:8001"] {
            let listen = format!("admin.listen={listen}");
            let problems = admin(&[&listen]).expect_err(&listen);
            let [problem] = problems.as_slice() else { panic!("{problems:?}") };
            assert!(problem.starts_with("--set: admin.listen: ") && problem.contains("admin.auth"), "{problem}");
            assert!(admin(&[&listen, TLS[0], TLS[1]]).is_err(), "TLS alone says nothing about the client");
            assert!(admin(&[&listen, "admin.auth=tokens"]).is_ok(), "{listen}");
            assert!(admin(&[&listen, TLS[0], TLS[1], "admin.tls.client_ca=ca.pem"]).is_ok(), "{listen}");
        }
        for listen in ["127.0.0.1:1", "127.8.8.8:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            let admin = admin(&[&format!("admin.listen={listen}")]).expect(listen);
            assert!(!admin.knows_callers() && !admin.sends_tokens_in_clear(), "{listen}");
        }
        let exposed = admin(&["admin.listen=0.0.0.0:1", "admin.auth=tokens"]).expect("valid");
        assert!(exposed.knows_callers() && exposed.sends_tokens_in_clear());
    }

    #[test]
    fn tls_is_complete_or_absent() {
        let together = "--set: admin.tls.key: admin.tls.certificate and admin.tls.key must be set together";
        let absent = "default: admin.tls.key: admin.tls.certificate and admin.tls.key must be set together";
        assert_eq!(admin(&[TLS[1]]), Err(vec![together.to_owned()]));
        assert_eq!(admin(&[TLS[0]]), Err(vec![absent.to_owned()]));
        let needs = "--set: admin.tls.client_ca: needs TLS: set admin.tls.certificate and admin.tls.key";
        assert_eq!(admin(&["admin.tls.client_ca=ca.pem"]), Err(vec![needs.to_owned()]));
    }

    #[test]
    fn origins_and_hosts_are_checked() {
        let valid =
            admin(&["admin.allowed_origins=https://UI.test,http://localhost:3000", "admin.allowed_hosts=A.test."]);
        let valid = valid.expect("valid");
        let listed = ["https://ui.test", "http://localhost:3000"].map(str::to_owned).to_vec();
        assert_eq!((valid.allowed_origins, valid.allowed_hosts), (Origins::Listed(listed), vec!["a.test".to_owned()]));
        for bad in ["ui.test", "https://ui.test/", "null", "https://", "*,https://ui.test", "ftp://ui.test"] {
            assert!(admin(&[&format!("admin.allowed_origins={bad}")]).is_err(), "{bad}");
        }
        for bad in ["ui.test:8001", "https://ui.test", "*"] {
            assert!(admin(&[&format!("admin.allowed_hosts={bad}")]).is_err(), "{bad}");
        }
        assert_eq!(
            admin(&["admin.allowed_origins=*"]),
            Err(vec![format!("--set: admin.allowed_origins: {ANY_ORIGIN}")])
        );
        let tokens = admin(&["admin.allowed_origins=*", "admin.auth=tokens"]).expect("valid");
        assert_eq!(tokens.allowed_origins, Origins::Any);
    }
}
