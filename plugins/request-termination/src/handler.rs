//! Which requests an instance responds to, and how.

use std::sync::Arc;

use http::header::CONTENT_TYPE;
use serde_json::json;
use tollgate_plugin::presented::BODY_LIMIT;
use tollgate_plugin::{Access, Body, Handler, Needs, Reply, Request, RequestBody, Verdict, arguments, grpc};

use crate::config::{Config, Content, Trigger};
use crate::echo::Echo;

/// The reason in the access log.
const REASON: &str = "request_terminated";

pub(crate) struct Termination {
    pub(crate) config: Config,
    pub(crate) echo: Arc<Echo>,
}

impl Handler for Termination {
    fn needs(&self) -> Needs {
        let echoes = matches!(self.config.content, Content::Echo { .. });
        Needs { body_limit: if echoes { BODY_LIMIT } else { 0 }, ..Needs::default() }
    }

    fn access<'a>(&'a self, request: &'a mut Request<'_>) -> Access<'a> {
        if self.config.trigger.as_ref().is_some_and(|trigger| !trigger.is_in(request)) {
            return Access::Ready(Ok(Verdict::Continue));
        }
        match &self.config.content {
            Content::Echo { .. } if request.body == RequestBody::Unread => {
                Access::Ready(Ok(Verdict::NeedBody { limit: BODY_LIMIT, terminal: true }))
            }
            Content::Echo { message } => Access::Pending(Box::pin(async move {
                let copy = self.echo.copy(message.as_deref(), request).await;
                Ok(Verdict::Reply(Reply::json(self.config.status, REASON, &copy)))
            })),
            Content::Message(message) => Access::Ready(Ok(Verdict::Reply(self.saying(message.as_deref(), request)))),
            Content::Raw { content_type, body } => {
                let mut reply = self.reply(Body::Raw(body.clone()));
                reply.headers.extend(content_type.clone().map(|content_type| (CONTENT_TYPE, content_type)));
                Access::Ready(Ok(Verdict::Reply(grpc::refusal(reply, request))))
            }
        }
    }
}

impl Termination {
    fn reply(&self, body: Body) -> Reply {
        Reply { status: self.config.status, headers: Vec::new(), body, reason: REASON }
    }

    fn saying(&self, message: Option<&str>, request: &Request<'_>) -> Reply {
        match message {
            None => grpc::refusal(self.reply(Body::Empty), request),
            Some(message) => {
                let reply = Reply::json(self.config.status, REASON, &json!({ "message": message }));
                grpc::refusal_saying(reply, message, request)
            }
        }
    }
}

impl Trigger {
    fn is_in(&self, request: &Request<'_>) -> bool {
        let query = request.query.unwrap_or_default().as_bytes();
        request.headers.contains_key(&self.header)
            || arguments::parse(query).any(|argument| *argument.key == *self.argument.as_bytes())
    }
}

#[cfg(test)]
mod tests;
