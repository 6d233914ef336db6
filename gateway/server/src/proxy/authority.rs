//! The requested host (RFC 9110 §7.2, RFC 9113 §8.3.1).
//!
//! Pingora ensures that there is at most one `Host`, and that it equals the target's host if the target
//! has one.

use http::Version;
use http::header::HOST;
use pingora::http::RequestHeader;
use tollgate_core::host::Authority;

use super::framing::Refusal;

/// The requested host; `None`: an HTTP/1.0 client that names none.
pub(super) fn asked(head: &RequestHeader) -> Result<Option<Authority<'_>>, Refusal> {
    let header = head.headers.get(HOST).map(http::HeaderValue::as_bytes);
    let written = header.or_else(|| head.uri.authority().map(|authority| authority.as_str().as_bytes()));
    let Some(written) = written else {
        return if head.version == Version::HTTP_10 { Ok(None) } else { Err(Refusal::Host) };
    };
    let authority = std::str::from_utf8(written).ok().and_then(|text| Authority::parse(text).ok());
    authority.map(Some).ok_or(Refusal::Host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked_by(version: Version, target: &str, host: Option<&[u8]>) -> Result<Option<(String, Option<u16>)>, Refusal> {
        let mut head = RequestHeader::build("GET", b"/", None).unwrap();
        head.set_uri(target.parse().unwrap());
        head.set_version(version);
        if let Some(host) = host {
            head.insert_header(HOST, host).unwrap();
        }
        Ok(asked(&head)?.map(|authority| (authority.host.to_string(), authority.port)))
    }

    #[test]
    fn the_requested_host_is_read_in_normal_form() {
        let of = |host: &str, port| Ok(Some((host.to_owned(), port)));
        let rows = [
            (Version::HTTP_11, "/a", Some("A.test.:8000"), of("a.test", Some(8000))),
            (Version::HTTP_11, "/a", Some("[::1]:0443"), of("[::1]", Some(443))),
            (Version::HTTP_2, "https://A.test:/a", None, of("a.test", None)),
            (Version::HTTP_2, "https://a.test/a", Some("a.test"), of("a.test", None)),
            (Version::HTTP_10, "/a", Some("a.test"), of("a.test", None)),
            (Version::HTTP_10, "/a", None, Ok(None)),
            (Version::HTTP_10, "/a", Some(""), Err(Refusal::Host)),
            (Version::HTTP_11, "/a", None, Err(Refusal::Host)),
            (Version::HTTP_2, "/a", None, Err(Refusal::Host)),
        ];
        for (version, target, host, expected) in rows {
            assert_eq!(asked_by(version, target, host.map(str::as_bytes)), expected, "{version:?} {target} {host:?}");
        }
    }

    #[test]
    fn a_value_that_names_no_host_is_refused() {
        let rows: [&[u8]; 12] = [
            b"",
            b" ",
            b"a/b",
            b"user@a",
            b"a.test:80:80",
            b"a.test:x",
            b"a%2etest",
            b"::1",
            b"a..test",
            b"a,b",
            b"127.1",
            b"\xc3\xa9.test",
        ];
        for host in rows {
            let refused = asked_by(Version::HTTP_11, "/a", Some(host));
            assert_eq!(refused, Err(Refusal::Host), "{}", String::from_utf8_lossy(host));
        }
    }
}
