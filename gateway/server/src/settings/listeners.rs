//! Listeners that exclude each other.

use std::net::SocketAddr;

use super::{Layers, Settings};

/// Reports listeners that cannot exist beside each other, and a gateway that would serve nobody.
pub(super) fn check(layers: &mut Layers, settings: &Settings) {
    let (http, https) = ("proxy.http_listen", "proxy.https_listen");
    if settings.proxy.http_listen.is_none() && settings.proxy.https_listen.is_none() {
        layers.add_problem(http, format!("{http} and {https} are both off: requests could not come in"));
    }
    let listeners = [
        (http, settings.proxy.http_listen),
        (https, settings.proxy.https_listen),
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
    fn a_gateway_without_a_proxy_listener_is_refused() {
        assert_eq!(
            problems(&["proxy.http_listen=off", "proxy.https_listen=off"]),
            [
                "--set: proxy.http_listen: proxy.http_listen and proxy.https_listen are both off: requests could not come in"
            ]
        );
    }
}
