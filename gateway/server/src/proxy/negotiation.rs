//! Content negotiation: the media type and rendering of the gateway's messages
//! (gateway.md §7.3b).

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};

/// The origin of a response; decides the type if the client does not name one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The gateway's rules or a plugin: JSON unless `Accept` says otherwise.
    Gateway,
    /// The HTTP engine (a malformed request, an upstream that fails): by `Accept`, else by the
    /// request's own type, else plain text.
    Engine,
    /// Before HTTP, such as the listener: plain text, whatever the request says.
    Listener,
}

/// A media type of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MediaType {
    Json,
    Plain,
    Html,
    Xml,
}

impl MediaType {
    /// The type of the response to this request.
    pub(crate) fn negotiate(headers: &HeaderMap, origin: Origin) -> Self {
        let mut accepted = headers.get_all(ACCEPT).iter().peekable();
        if accepted.peek().is_some() && origin != Origin::Listener {
            return best_accepted(accepted);
        }
        match origin {
            Origin::Gateway => Self::Json,
            Origin::Engine => headers.get(CONTENT_TYPE).map_or(Self::Plain, of_content_type),
            Origin::Listener => Self::Plain,
        }
    }

    /// The `Content-Type`.
    pub(crate) fn header(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Json => "application/json; charset=utf-8",
            Self::Plain => "text/plain; charset=utf-8",
            Self::Html => "text/html; charset=utf-8",
            Self::Xml => "application/xml; charset=utf-8",
        })
    }

    /// The body.
    pub(crate) fn render(self, message: &str, request_id: &str) -> Bytes {
        Bytes::from(match self {
            Self::Json => {
                let message = serde_json::Value::from(message);
                format!("{{\n  \"message\":{message},\n  \"request_id\":\"{request_id}\"\n}}")
            }
            Self::Plain => format!("{message}\nrequest_id: {request_id}\n"),
            Self::Html => format!(
                "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>Error</title></head>\n\
                 <body>\n<h1>Error</h1>\n<p>{}.</p>\n<p>request_id: {request_id}</p>\n</body>\n</html>\n",
                escape(message)
            ),
            Self::Xml => format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
                 <error><message>{}</message><requestid>{request_id}</requestid></error>\n",
                escape(message)
            ),
        })
    }

    /// An unknown type counts as JSON, like a wildcard.
    fn of(media_type: &str) -> Self {
        match media_type {
            "text/html" => Self::Html,
            "text/plain" | "text/*" => Self::Plain,
            "application/xml" => Self::Xml,
            _ => Self::Json,
        }
    }
}

fn of_content_type(value: &HeaderValue) -> MediaType {
    let text = value.to_str().unwrap_or_default();
    MediaType::of(text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str())
}

/// The first of those with the highest quality; JSON if none is acceptable.
fn best_accepted<'h>(values: impl Iterator<Item = &'h HeaderValue>) -> MediaType {
    let mut best = (0, MediaType::Json);
    for range in values.filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or_default().to_ascii_lowercase();
        let quality = parts.find_map(quality).unwrap_or(1000);
        if media_type.contains('/') && quality > best.0 {
            best = (quality, MediaType::of(&media_type));
        }
    }
    best.1
}

/// `q=0.75` in thousandths (RFC 9110 §12.4.2); `None` for another parameter. An invalid quality
/// counts as 0.
fn quality(parameter: &str) -> Option<u16> {
    let (name, value) = parameter.split_once('=')?;
    if !name.trim().eq_ignore_ascii_case("q") {
        return None;
    }
    let valid = value.trim().parse::<f32>().ok().filter(|quality| (0.0..=1.0).contains(quality));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 1000")]
    Some(valid.map_or(0, |quality| (quality * 1000.0).round() as u16))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(http::HeaderName, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn accept_decides_by_quality_and_order() {
        let rows = [
            ("*/*", MediaType::Json),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", MediaType::Html),
            ("text/html;q=0.1, text/plain", MediaType::Plain),
            ("application/xml; q=0.5 , application/json;q=0.4", MediaType::Xml),
            ("text/*", MediaType::Plain),
            ("application/*", MediaType::Json),
            ("TEXT/HTML", MediaType::Html),
            ("image/png", MediaType::Json),
            ("text/html;q=0", MediaType::Json),
            ("text/html;q=nonsense", MediaType::Json),
            ("text/html;level=1;q=0.3, application/xml;q=0.4", MediaType::Xml),
            ("", MediaType::Json),
        ];
        for (accept, expected) in rows {
            for origin in [Origin::Gateway, Origin::Engine] {
                assert_eq!(MediaType::negotiate(&headers(&[(ACCEPT, accept)]), origin), expected, "{accept}");
            }
        }
    }

    #[test]
    fn without_accept_the_origin_decides() {
        let none = HeaderMap::new();
        assert_eq!(MediaType::negotiate(&none, Origin::Gateway), MediaType::Json);
        assert_eq!(MediaType::negotiate(&none, Origin::Engine), MediaType::Plain);
        assert_eq!(MediaType::negotiate(&headers(&[(ACCEPT, "text/html")]), Origin::Listener), MediaType::Plain);
        let html = headers(&[(CONTENT_TYPE, "text/html; charset=utf-8")]);
        assert_eq!(MediaType::negotiate(&html, Origin::Gateway), MediaType::Json);
        assert_eq!(MediaType::negotiate(&html, Origin::Engine), MediaType::Html);
        let form = headers(&[(CONTENT_TYPE, "application/x-www-form-urlencoded")]);
        assert_eq!(MediaType::negotiate(&form, Origin::Engine), MediaType::Json);
    }

    #[test]
    fn messages_are_rendered_and_escaped() {
        let rows = [
            (MediaType::Json, "{\n  \"message\":\"a<b>&\\\"c\",\n  \"request_id\":\"id\"\n}"),
            (MediaType::Plain, "a<b>&\"c\nrequest_id: id\n"),
            (
                MediaType::Xml,
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<error><message>a&lt;b&gt;&amp;\"c</message>\
                 <requestid>id</requestid></error>\n",
            ),
        ];
        for (media_type, expected) in rows {
            assert_eq!(media_type.render("a<b>&\"c", "id"), expected);
        }
        let html = MediaType::Html.render("Oh <no>", "id");
        let html = std::str::from_utf8(&html).unwrap();
        for part in ["<h1>Error</h1>", "<p>Oh &lt;no&gt;.</p>", "<p>request_id: id</p>"] {
            assert!(html.contains(part), "{html}");
        }
    }
}
