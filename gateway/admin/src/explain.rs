//! `POST /oauth2_tokens/explain`: what becomes of a token on a route.
//!
//! The token is in the body: addresses are logged and remembered on their way. It changes nothing, and says no more of a
//! token than reading it does, so the role `read` permits it.

use serde_json::{Value, json};

use crate::input::Input;
use crate::node::Unexplained;
use crate::response::{Failure, Response};
use crate::state::AdminState;

pub(crate) async fn explain(state: &AdminState, query: Option<&str>, input: Input) -> Result<Response, Failure> {
    if query.is_some_and(|query| !query.is_empty()) {
        return Err(Failure::BadQuestion("send route and token in the body, and nothing in the URL"));
    }
    let text = |name| input.peek(name).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty());
    let (Some(route), Some(token)) = (text("route"), text("token")) else {
        return Err(Failure::BadQuestion("expected route (id or name) and token in the body"));
    };
    let mut explanation = match state.node.explain(route, token).await {
        Ok(explanation) => explanation,
        Err(Unexplained::NoRoute) => return Err(Failure::NoEntityNamed(route.to_owned())),
        Err(Unexplained::NoPlugin) => {
            return Err(Failure::BadQuestion("no plugin of this route looks for tokens"));
        }
        Err(Unexplained::NotPresentable) => {
            return Err(Failure::BadQuestion("the token has characters that no header can carry"));
        }
    };
    if let Some(members) = explanation.as_object_mut() {
        let node = json!({"id": state.node.id(), "hostname": state.node.hostname()});
        members.insert("node".to_owned(), node);
    }
    Ok(Response::ok(&explanation))
}
