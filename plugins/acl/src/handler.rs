//! Access decisions of one instance.

use http::StatusCode;
use tollgate_plugin::cache::Known;
use tollgate_plugin::explanation::Finding;
use tollgate_plugin::{Access, Explains, Handler, Reply, Request, Verdict};
use uuid::Uuid;

use crate::config::{Config, Header};
use crate::groups::{GroupCache, Groups};

pub(crate) struct AccessControl {
    pub(crate) config: Config,
    pub(crate) groups: GroupCache,
}

impl Handler for AccessControl {
    fn explains(&self) -> Explains {
        Explains::Caller
    }

    fn access<'a>(&'a self, request: &'a mut Request<'_>) -> Access<'a> {
        let Some(consumer) = request.identity.and_then(|identity| identity.consumer) else {
            return Access::Ready(Ok(refused(StatusCode::UNAUTHORIZED, "acl_without_consumer", "Unauthorized")));
        };
        if let Some(verdict) = self.groups.of_this_thread(&consumer, |groups| self.judge(groups, request)) {
            return Access::Ready(Ok(verdict));
        }
        match self.groups.get_for(&consumer, self.config.serve_cached, request) {
            Some(Known::Fact(groups)) => Access::Ready(Ok(self.judge(&groups, request))),
            Some(Known::Unknown) | None => {
                Access::Pending(Box::pin(async move { Ok(self.ask(consumer, request).await) }))
            }
        }
    }
}

impl AccessControl {
    async fn ask(&self, consumer: Uuid, request: &mut Request<'_>) -> Verdict {
        match self.groups.load_for(consumer, (), self.config.serve_cached, request).await {
            Ok(Some(groups)) => self.judge(&groups, request),
            Ok(None) | Err(_) => Verdict::Reply(Reply::unavailable("acl_store_unavailable")),
        }
    }

    fn judge(&self, groups: &Groups, request: &mut Request<'_>) -> Verdict {
        let admits = self.config.rule.admits(groups.names());
        request.explain(|explanation| {
            let finding = if admits { Finding::Passed } else { Finding::Refused };
            let names: Vec<&str> = groups.names().collect();
            explanation.tell("groups", finding, format!("the consumer's groups: {}", names.join(", ")));
        });
        if !admits {
            return refused(StatusCode::FORBIDDEN, "acl_not_allowed", "You cannot consume this service");
        }
        if self.config.header == Header::Sent {
            request.edits.apply(groups.header());
        }
        Verdict::Continue
    }
}

fn refused(status: StatusCode, reason: &'static str, message: &'static str) -> Verdict {
    Verdict::Reply(Reply::message(status, reason, message))
}

#[cfg(test)]
mod tests;
