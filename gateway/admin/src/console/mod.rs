//! The console: a page at `/ui`, off unless `admin.ui` is on, that shows and changes what the Admin API does, by calling
//! it.
//!
//! 1. The page and what belongs to it are files of this binary ([`File::ALL`]), the same for everybody. They hold no
//!    secret, so they are sent without a token, under the same checks of `Host` and `Origin` as the API.
//! 2. The page calls the API on its own origin, with the admin token that its user enters. What a user may see or change,
//!    the API decides as for any other client.
//! 3. [`POLICY`] permits scripts and styles from these files alone, none within the page, and no other origin.
//!
//! Not here: anything about an entity or a plugin. The page learns what there is from `/endpoints`, and what its forms
//! consist of from `/schemas`.

use axum::body::Body;
use axum::response::Response as HttpResponse;
use http::HeaderValue;
use http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use serde_json::json;

use crate::access::Caller;
use crate::response::{Head, Response};
use crate::state::AdminState;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
    img-src 'self' data:; form-action 'none'; frame-ancestors 'none'; base-uri 'none'";

/// What every file is sent with. `no-store`: the next version of the gateway has others under the same names.
const HEADERS: [(HeaderName, &str); 4] = [
    (CONTENT_SECURITY_POLICY, POLICY),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "no-referrer"),
    (CACHE_CONTROL, "no-store"),
];

/// A file of the console.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct File {
    /// Its name below `/ui/`; the page itself has none.
    name: &'static str,
    content_type: &'static str,
    content: &'static str,
}

macro_rules! file {
    ($name:literal, $content_type:literal) => {
        File { name: $name, content_type: $content_type, content: include_str!(concat!("files/", $name)) }
    };
}

const HTML: &str = "text/html; charset=utf-8";

impl File {
    pub(crate) const ALL: &[Self] = &[
        Self { name: "", content_type: HTML, content: include_str!("files/index.html") },
        file!("console.css", "text/css; charset=utf-8"),
        file!("api.js", "text/javascript; charset=utf-8"),
        file!("certificates.js", "text/javascript; charset=utf-8"),
        file!("console.js", "text/javascript; charset=utf-8"),
        file!("control.js", "text/javascript; charset=utf-8"),
        file!("dom.js", "text/javascript; charset=utf-8"),
        file!("entity.js", "text/javascript; charset=utf-8"),
        file!("form.js", "text/javascript; charset=utf-8"),
        file!("health.js", "text/javascript; charset=utf-8"),
        file!("list.js", "text/javascript; charset=utf-8"),
        file!("metrics.js", "text/javascript; charset=utf-8"),
        file!("model.js", "text/javascript; charset=utf-8"),
        file!("tokens.js", "text/javascript; charset=utf-8"),
        file!("traffic.js", "text/javascript; charset=utf-8"),
    ];

    /// The file below `/ui/` with this name.
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        Self::ALL.iter().find(|file| file.name == name)
    }

    /// The response with it.
    pub(crate) fn respond(&self, head: Head) -> HttpResponse {
        let body = match head {
            Head::Only => Body::empty(),
            Head::AndBody => Body::from(self.content),
        };
        let mut response = HttpResponse::new(body);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        headers.insert(CONTENT_LENGTH, HeaderValue::from(self.content.len()));
        for (name, value) in HEADERS {
            headers.insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

/// `GET /ui/caller`: who calls, and whether there is anything that the page could offer to change.
pub(crate) fn caller(state: &AdminState, caller: &Caller) -> Response {
    let configuration = if state.declarations.is_some() { "file" } else { "database" };
    Response::ok(&json!({
        "name": caller.name,
        "role": caller.role.as_str(),
        "configuration": configuration,
        "node": { "id": state.node.id(), "hostname": state.node.hostname() },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_console_is_small() {
        let size: usize = File::ALL.iter().map(|file| file.content.len()).sum();
        assert!(size <= 60 * 1024, "{size} bytes");
        for file in File::ALL {
            assert!(file.content.len() <= 12 * 1024, "{}: {} bytes", file.name, file.content.len());
        }
    }

    #[test]
    fn text_never_becomes_markup_or_script() {
        let banned =
            ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "localStorage"];
        for file in File::ALL {
            let found: Vec<_> = banned.iter().filter(|banned| file.content.contains(**banned)).collect();
            assert!(found.is_empty(), "{}: {found:?}", file.name);
        }
        let page = File::named("").expect("the page").content;
        for inline in ["<style", "style=", " on", "<script>"] {
            assert!(!page.contains(inline), "{inline} in the page");
        }
    }

    #[test]
    fn whatever_the_files_refer_to_is_there() {
        for file in File::ALL {
            let quoted = file.content.split(['"', '\'']);
            for path in quoted.filter(|text| text.ends_with(".js") || text.ends_with(".css")) {
                let name = path.strip_prefix("/ui/").or_else(|| path.strip_prefix("./"));
                assert!(name.is_some_and(|name| File::named(name).is_some()), "{}: {path}", file.name);
            }
        }
    }
}
