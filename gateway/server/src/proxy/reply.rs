//! The gateway's own responses (gateway.md §7.2, §7.3).

use std::time::Instant;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, SERVER};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};
use pingora::http::ResponseHeader;
use pingora_core::Result;
use pingora_proxy::Session;
use tollgate_core::reply::{Body, Reply};

use super::body::{self, Rest};
use super::context::Context;
use super::grpc_call;
use super::negotiation::{MediaType, Origin};
use super::product::Product;
use super::response_filter;

/// A response of the gateway's own, and its origin.
#[derive(Debug)]
pub(crate) struct OwnResponse {
    pub(crate) reply: Reply,
    pub(crate) origin: Origin,
}

impl OwnResponse {
    /// From the gateway's rules or a plugin.
    pub(crate) fn gateway(reply: Reply) -> Self {
        Self { reply, origin: Origin::Gateway }
    }

    /// From the listener, in plain text.
    pub(crate) fn plain(reply: Reply) -> Self {
        Self { reply, origin: Origin::Listener }
    }

    /// From the HTTP engine.
    pub(crate) fn engine(reply: Reply) -> Self {
        Self { reply, origin: Origin::Engine }
    }
}

/// Sends the response. The connection is kept if the rest of the request is short enough to be
/// read.
pub(super) async fn send(
    product: Product,
    session: &mut Session,
    context: &mut Context,
    own: OwnResponse,
) -> Result<()> {
    context.replied(own.reply.reason);
    let head = session.req_header();
    let is_call = grpc_call::is(head);
    let own = if is_call { OwnResponse { reply: grpc_call::response(own.reply), ..own } } else { own };
    let (method, version) = (head.method.clone(), head.version);
    let (content_type, content) = render(&own, &head.headers, context.request_id.as_str());
    response_filter::let_go_when_draining(session);
    // A call may go on for long, and the end of its stream harms no other.
    let rest = if is_call { Rest::Nothing } else { body::discard(session).await };
    let has_content = may_have_content(own.reply.status);
    let mut response = ResponseHeader::build(own.reply.status, Some(own.reply.headers.len() + 6))?;
    if let Some(content_type) = content_type.filter(|_| has_content) {
        response.insert_header(CONTENT_TYPE, content_type)?;
    }
    for (name, value) in own.reply.headers {
        // HTTP/2 has no such header (RFC 9113 §8.2.2).
        if version != Version::HTTP_2 || name != http::header::CONNECTION && name != http::header::UPGRADE {
            response.append_header(name, value)?;
        }
    }
    if has_content {
        response.insert_header(CONTENT_LENGTH, HeaderValue::from(content.len()))?;
    }
    response.insert_header(SERVER, HeaderValue::from_static(product.server()))?;
    response_filter::set_ours(&mut response, context);
    let bodiless = method == Method::HEAD || !has_content || content.is_empty();
    session.write_response_header(Box::new(response), bodiless).await?;
    if !bodiless {
        session.write_response_body(Some(content), true).await?;
    }
    if rest != Rest::Nothing {
        context.replied_at = Some(Instant::now());
    }
    match rest {
        Rest::Nothing => {}
        Rest::Awaited => body::take(session).await,
        Rest::Unread => body::linger(session).await,
    }
    Ok(())
}

/// RFC 9110 §15.3.5, §15.4.5.
fn may_have_content(status: StatusCode) -> bool {
    status != StatusCode::NO_CONTENT && status != StatusCode::NOT_MODIFIED
}

/// The type and the content.
fn render(own: &OwnResponse, headers: &HeaderMap, request_id: &str) -> (Option<HeaderValue>, Bytes) {
    match &own.reply.body {
        Body::Empty => (None, Bytes::new()),
        Body::Raw(content) => (None, content.clone()),
        Body::Json(document) => (Some(MediaType::Json.header()), document.clone()),
        Body::Message(message) => {
            let media_type = MediaType::negotiate(headers, own.origin);
            (Some(media_type.header()), media_type.render(message, request_id))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_documents_are_sent_unchanged_and_messages_negotiated() {
        let headers = HeaderMap::from_iter([(http::header::ACCEPT, HeaderValue::from_static("text/plain"))]);
        let document = Reply::json(StatusCode::UNAUTHORIZED, "r", &serde_json::json!({"error": "x"}));
        let (content_type, content) = render(&OwnResponse::gateway(document), &headers, "id");
        assert_eq!(content_type.unwrap(), "application/json; charset=utf-8");
        assert_eq!(content, "{\"error\":\"x\"}");
        let message = Reply::message(StatusCode::NOT_FOUND, "r", "no Route matched with those values");
        let (content_type, content) = render(&OwnResponse::gateway(message), &headers, "id");
        assert_eq!(content_type.unwrap(), "text/plain; charset=utf-8");
        assert_eq!(content, "no Route matched with those values\nrequest_id: id\n");
    }
}
