//! The normal form of paths, and paths that climb.

use tollgate_router::path::{Dots, climb, escape, read};

/// A path.
pub fn paths(data: &[u8]) {
    let Ok(raw) = std::str::from_utf8(data) else { return };
    let Ok(normal) = read(raw) else { return };
    let path = normal.path.as_ref();
    assert!(path.starts_with('/') && !path.contains("//"), "{path}");
    assert!(path.split('/').all(|segment| segment != "." && segment != ".."), "{path}");
    assert_eq!(read(path).expect("a normal path").path, path);
    let sent = escape(path);
    assert!(sent.bytes().all(|byte| byte.is_ascii_graphic()), "{sent}");
    assert_eq!(read(&sent).expect("a normal path").path, path);
    let base = format!("/v1/x{sent}");
    let climbs = climb::leaves(Some("/v1/x"), &base);
    for reading in [decoded(&base), decoded(&decoded(&base))] {
        let outside = !format!("{}/", resolved(&reading)).starts_with("/v1/x/");
        assert!(!outside || climbs, "{base} is read as {reading}");
    }
    assert!(!climbs || normal.dots == Dots::Possible, "{path}");
    for other in climb::resolved(path) {
        assert!(other.starts_with('/'), "{path} is resolved to {other}");
    }
}

/// Every escape decoded, backslashes as slashes, without parameters.
fn decoded(path: &str) -> String {
    let mut out = Vec::new();
    let mut rest = path.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..2).filter(|digits| *first == b'%' && digits.iter().all(u8::is_ascii_hexdigit));
        let value = digits.map(|digits| u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap());
        out.push(value.unwrap_or(*first));
        rest = if value.is_some() { &after[2..] } else { after };
    }
    let text = String::from_utf8_lossy(&out).replace('\\', "/");
    let segments = text.split('/').map(|segment| segment.split(';').next().unwrap_or_default());
    segments.collect::<Vec<_>>().join("/")
}

fn resolved(path: &str) -> String {
    let mut kept = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                kept.pop();
            }
            segment => kept.push(segment),
        }
    }
    format!("/{}", kept.join("/"))
}
