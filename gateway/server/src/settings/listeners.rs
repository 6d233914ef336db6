//! Listeners: an address and flags, and which exclude each other.

use std::net::SocketAddr;

use super::{Layers, Settings};
use crate::proxy::Listener;

/// An address and a port.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "expected address:port, such as 127.0.0.1:8001 or [::1]:8001".to_owned())
}

/// `off`, or an address and flags, as in `0.0.0.0:8000 http2 proxy_protocol`.
pub(super) fn listener(text: &str) -> Result<Option<Listener>, String> {
    if matches!(text, "off" | "false") {
        return Ok(None);
    }
    let mut words = text.split_ascii_whitespace();
    let mut listener = Listener::from(address(words.next().unwrap_or_default())?);
    for flag in words {
        match flag {
            "http2" => listener.http2 = true,
            "proxy_protocol" => listener.proxy_protocol = true,
            _ => return Err(format!("unknown flag {flag}: expected http2 or proxy_protocol after the address")),
        }
    }
    Ok(Some(listener))
}

/// Reports listeners that cannot exist beside each other, and a gateway that would serve nobody.
pub(super) fn check(layers: &mut Layers, settings: &Settings) {
    let (http, https) = ("proxy.http_listen", "proxy.https_listen");
    if settings.proxy.http_listen.is_none() && settings.proxy.https_listen.is_none() {
        layers.add_problem(http, format!("{http} and {https} are both off: requests could not come in"));
    }
    for (path, listener) in [(http, settings.proxy.http_listen), (https, settings.proxy.https_listen)] {
        if listener.is_some_and(|listener| listener.proxy_protocol) {
            check_proxy_protocol(layers, path, settings);
        }
    }
    let address = |listener: Option<Listener>| listener.map(|listener| listener.address);
    let listeners = [
        (http, address(settings.proxy.http_listen)),
        (https, address(settings.proxy.https_listen)),
        ("admin.listen", Some(settings.admin.listen)),
        ("status.listen", Some(settings.status_listen)),
    ];
    let listeners: Vec<_> = listeners.into_iter().filter_map(|(path, address)| Some((path, address?))).collect();
    for (index, (path, address)) in listeners.iter().enumerate() {
        for (other, taken) in listeners.iter().take(index) {
            if address == taken && address.port() != 0 {
                layers.add_problem(path, format!("{path} and {other} are both {address}"));
            } else if overlap(*address, *taken) {
                layers.add_problem(path, format!("{path} ({address}) and {other} ({taken}) overlap: change a port"));
            }
        }
    }
}

/// A listener that believes PROXY headers needs somebody to believe.
fn check_proxy_protocol(layers: &mut Layers, path: &'static str, settings: &Settings) {
    if settings.trusted_ips.is_empty() {
        let problem = "proxy_protocol needs trusted_ips: only from those addresses are PROXY headers accepted";
        layers.add_problem(path, problem.to_owned());
    }
    if cfg!(not(pingora_patched)) {
        let problem = "proxy_protocol needs a build with the changes to Pingora (`./dev install`)";
        layers.add_problem(path, problem.to_owned());
    }
}

/// Whether one of two different addresses includes the other: `0.0.0.0` and `[::]` are all addresses.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let includes = |all: SocketAddr, some: SocketAddr| all.ip().is_unspecified() && (all.is_ipv6() || some.is_ipv4());
    one.port() == other.port() && one.port() != 0 && (includes(one, other) || includes(other, one))
}

#[cfg(test)]
mod tests {
    use super::super::Layers;
    use super::*;

    fn problems(flags: &[&str]) -> Vec<String> {
        let mut layers = Layers::defaults();
        layers.flags(&flags.iter().map(|flag| (*flag).to_owned()).collect::<Vec<_>>());
        let problems = Settings::from_layers(layers).err().unwrap_or_default();
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn listeners_have_addresses_of_their_own() {
        let rows: [(&[&str], &[&str]); 6] = [
            (&[], &[]),
            (
                &["admin.listen=127.0.0.1:9000", "proxy.http_listen=127.0.0.1:9000"],
                &["--set: admin.listen: admin.listen and proxy.http_listen are both 127.0.0.1:9000"],
            ),
            (
                &["admin.listen=127.0.0.1:8000"],
                &["--set: admin.listen: admin.listen (127.0.0.1:8000) and proxy.http_listen (0.0.0.0:8000) overlap: \
                   change a port"],
            ),
            (
                &["proxy.https_listen=[::]:8007"],
                &[
                    "default: status.listen: status.listen (127.0.0.1:8007) and proxy.https_listen ([::]:8007) overlap: \
                   change a port",
                ],
            ),
            (&["status.listen=[::1]:8000"], &[]),
            (&["status.listen=127.0.0.1:0", "admin.listen=127.0.0.1:0", "proxy.http_listen=127.0.0.1:0"], &[]),
        ];
        for (flags, expected) in rows {
            assert_eq!(problems(flags), expected, "{flags:?}");
        }
    }

    #[test]
    fn a_listener_is_an_address_and_flags() {
        let address = "0.0.0.0:8000".parse().expect("an address");
        let plain = Listener { address, http2: false, proxy_protocol: false };
        let rows = [
            ("off", Ok(None)),
            ("0.0.0.0:8000", Ok(Some(plain))),
            ("0.0.0.0:8000 http2", Ok(Some(Listener { http2: true, ..plain }))),
            ("0.0.0.0:8000  proxy_protocol http2", Ok(Some(Listener { http2: true, proxy_protocol: true, ..plain }))),
            ("0.0.0.0:8000 ssl", Err("unknown flag ssl: expected http2 or proxy_protocol after the address")),
            ("http2", Err("expected address:port, such as 127.0.0.1:8001 or [::1]:8001")),
        ];
        for (text, expected) in rows {
            assert_eq!(listener(text), expected.map_err(str::to_owned), "{text}");
        }
    }

    #[test]
    fn only_from_trusted_addresses_are_proxy_headers_accepted() {
        let flag = "proxy.https_listen=0.0.0.0:8443 proxy_protocol";
        assert_eq!(
            problems(&[flag]),
            [
                "--set: proxy.https_listen: proxy_protocol needs trusted_ips: only from those addresses are PROXY headers \
              accepted"
            ]
        );
        assert_eq!(problems(&[flag, "trusted_ips=10.0.0.0/8"]), [""; 0]);
    }

    #[test]
    fn a_gateway_without_a_proxy_listener_is_refused() {
        assert_eq!(
            problems(&["proxy.http_listen=off", "proxy.https_listen=off"]),
            [
                "--set: proxy.http_listen: proxy.http_listen and proxy.https_listen are both off: requests could not come in"
            ]
        );
    }
}
