//! Response phase: the plugins' changes to every response, the upstream's or the gateway's own.

use http::StatusCode;
use pingora::http::ResponseHeader;
use tollgate_core::reply::{Response, Source};
use tollgate_core::request::HeaderEdit;

use super::head::{Edited, Head};
use super::pipeline::ResponsePlan;

/// Applies the plan to the head of a response. Costs nothing if no plugin wants
/// anything.
pub(super) fn apply(plan: &ResponsePlan, head: &mut Edited<'_, ResponseHeader>, status: StatusCode, source: Source) {
    edit(head, &plan.edits);
    for handler in &plan.handlers {
        let mut response = Response { status, headers: head.headers(), source, edits: Vec::new() };
        handler.response(&mut response);
        let edits = response.edits;
        edit(head, &edits);
    }
}

/// Applies edits in order.
pub(super) fn edit(head: &mut impl Head, edits: &[HeaderEdit]) {
    for edit in edits {
        match edit {
            HeaderEdit::Set(name, value) => head.set_header(name, value),
            HeaderEdit::Append(name, value) => head.append(name, value),
            HeaderEdit::Remove(name) => head.remove(name),
            HeaderEdit::Apply(block) => head.apply(block),
        }
    }
}
