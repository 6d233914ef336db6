//! Pages of both sites: layout, style and security headers.
//!
//! Invariant: no page runs a script, is framed by another site, is cached, or sends a referrer. Forms go
//! to the site itself, and on to where the page allows: browsers apply `form-action` to the redirect
//! after a form, too.

use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use maud::{DOCTYPE, Markup, html};
use url::Url;

const STYLE: &str = include_str!("style.css");

/// The site that a page belongs to.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Brand {
    /// The step counter.
    StepOn,
    /// The store.
    ShoeFlyShoe,
}

/// A page to send.
pub(crate) struct Page {
    brand: Brand,
    status: StatusCode,
    title: &'static str,
    form_leads_to: Option<Url>,
    content: Markup,
}

impl Page {
    /// A page with this heading.
    pub(crate) fn new(brand: Brand, title: &'static str, content: Markup) -> Self {
        Self { brand, status: StatusCode::OK, title, form_leads_to: None, content }
    }

    /// The same with another status.
    pub(crate) fn status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// Allows a redirect to the origin of `uri` after the page's forms. `uri` must be a checked redirect
    /// URI.
    pub(crate) fn form_leads_to(mut self, uri: &Url) -> Self {
        self.form_leads_to = Some(uri.clone());
        self
    }

    fn markup(&self) -> Markup {
        let (class, name, motto) = match self.brand {
            Brand::StepOn => ("stepon", "Step On", "Every step counts."),
            Brand::ShoeFlyShoe => ("shoes", "Shoe Fly Shoe", "Shoes for people who walk."),
        };
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    title { (self.title) " – " (name) }
                    link rel="stylesheet" href="/style.css";
                }
                body class=(class) {
                    header { p.brand { (name) } p.motto { (motto) } }
                    main { h1 { (self.title) } (self.content) }
                    footer { p { "A page of the Tollgate tutorial." } }
                }
            }
        }
    }
}

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        let policy = policy(self.form_leads_to.as_ref());
        (self.status, security_headers(policy), self.markup()).into_response()
    }
}

/// `GET /style.css`.
pub(crate) async fn style() -> Response {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8"), (X_CONTENT_TYPE_OPTIONS, "nosniff")], STYLE).into_response()
}

/// Redirects the browser, which uses GET.
pub(crate) fn see_other(location: &str) -> Response {
    let mut response = (StatusCode::SEE_OTHER, security_headers(policy(None))).into_response();
    match header::HeaderValue::from_str(location) {
        Ok(location) => {
            response.headers_mut().insert(header::LOCATION, location);
            response
        }
        Err(_) => StatusCode::BAD_REQUEST.into_response(),
    }
}

fn security_headers(policy: String) -> [(HeaderName, String); 4] {
    [
        (CONTENT_SECURITY_POLICY, policy),
        (CACHE_CONTROL, "no-store".to_owned()),
        (REFERRER_POLICY, "no-referrer".to_owned()),
        (X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
    ]
}

fn policy(form_leads_to: Option<&Url>) -> String {
    let target = form_leads_to.map(source).map(|source| format!(" {source}")).unwrap_or_default();
    format!("default-src 'none'; style-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'{target}")
}

/// The CSP source of a URI: its origin, or its scheme if it has no origin (`myapp://cb`).
fn source(uri: &Url) -> String {
    let origin = uri.origin();
    if origin.is_tuple() { origin.ascii_serialization() } else { format!("{}:", uri.scheme()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_lead_only_to_the_site_and_the_checked_origin() {
        let rest = "default-src 'none'; style-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'";
        let cases = [
            (None, ""),
            (Some("http://127.0.0.1:3001/callback?a=b"), " http://127.0.0.1:3001"),
            (Some("https://shop.example/cb"), " https://shop.example"),
            (Some("myapp://cb"), " myapp:"),
        ];
        for (uri, target) in cases {
            let uri = uri.map(|uri| Url::parse(uri).unwrap());
            assert_eq!(policy(uri.as_ref()), format!("{rest}{target}"));
        }
    }
}
