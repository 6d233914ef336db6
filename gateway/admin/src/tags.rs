//! `/tags` and `/tags/{tag}` (gateway.md §2.5).

use http::Method;
use serde_json::{Value, json};
use tollgate_core::entity::field;
use tollgate_core::error::DaoError;
use tollgate_core::schema::Violations;

use crate::query::{Query, escape};
use crate::response::{Failure, Response};
use crate::state::AdminState;
use crate::{list, offset};

/// Every verb on either path. Tags are written with the entities that have them.
pub(crate) async fn act(
    state: &AdminState,
    method: &Method,
    tag: Option<&str>,
    query: &Query,
) -> Result<Response, Failure> {
    if ![Method::GET, Method::HEAD].contains(method) {
        let text = "does not support insert/upsert/update/delete operations";
        return Err(DaoError::Schema(Violations::of_field("tags", text)).into());
    }
    if let Some(tag) = tag {
        check(tag)?;
    }
    let size = list::size(query)?;
    let after = query.get("offset").as_deref().map(offset::tag).transpose()?;
    let page = state.tags.tags(tag, after, size).await?;
    let entries = page.entries.into_iter();
    let data = entries
        .map(|entry| json!({ "entity_name": entry.entity_name, "entity_id": entry.entity_id, "tag": entry.tag }))
        .collect();
    let path = tag.map_or_else(|| "tags".to_owned(), |tag| format!("tags/{}", escape(tag)));
    Ok(list::publish(data, page.next.as_ref().map(offset::after_tag), &path, ""))
}

/// The rule for tags when they are written.
fn check(tag: &str) -> Result<(), DaoError> {
    let tags = field::tags();
    let checked = match &tags.ty {
        tollgate_core::schema::Type::Set(element) => element.validate_alone(&Value::from(tag)),
        _ => Ok(()),
    };
    checked.map_err(|why| DaoError::InvalidUnique { field: "tag", why })
}
