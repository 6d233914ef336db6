//! The targets of an upstream, newest first (gateway.md §2.3). The offset of such a list is a position.

use std::cmp::Ordering;
use std::collections::HashSet;

use serde_json::Value;
use tollgate_core::collection::{Document, Filter, PageQuery};
use uuid::Uuid;

use crate::query::Query;
use crate::resource::Nested;
use crate::response::{Failure, Response};
use crate::state::AdminState;
use crate::{entity, list, offset};

/// How many are read from the store at a time.
const PAGE_SIZE: usize = 1000;

/// A page of an upstream's targets, and where the next one begins.
pub(crate) struct Newest {
    pub(crate) documents: Vec<Document>,
    pub(crate) next: Option<usize>,
}

/// `GET /upstreams/{x}/targets`.
pub(crate) async fn newest_first(
    state: &AdminState,
    nested: &Nested<'_>,
    parent: &str,
    path: &str,
    query: &Query,
) -> Result<Response, Failure> {
    let parent = entity::find_parent(state, nested, parent).await?;
    let Newest { documents, next } = page(nested, parent, query).await?;
    let data = documents.into_iter().map(Value::from).collect();
    Ok(list::publish(data, next.map(|next| next.to_string()), path.trim_matches('/'), ""))
}

/// The page that the query asks for.
pub(crate) async fn page(nested: &Nested<'_>, parent: Uuid, query: &Query) -> Result<Newest, Failure> {
    let size = list::size(query)?;
    let from = query.get("offset").as_deref().map(offset::position).transpose()?.unwrap_or(0);
    let mut all = read(nested, parent).await?;
    all.sort_by(newer);
    let mut seen = HashSet::new();
    all.retain(|target| seen.insert(target.text("target").map(str::to_owned)));
    let end = from.saturating_add(size);
    let next = (all.len() > end).then_some(end);
    Ok(Newest { documents: all.into_iter().skip(from).take(size).collect(), next })
}

async fn read(nested: &Nested<'_>, parent: Uuid) -> Result<Vec<Document>, Failure> {
    let filter = Filter::Child { field: nested.field, parent };
    let mut query = PageQuery { filter, after: None, size: PAGE_SIZE };
    let mut all = Vec::new();
    loop {
        let page = nested.children.page(&query).await?;
        all.extend(page.documents);
        match page.next {
            Some(next) => query.after = Some(next),
            None => return Ok(all),
        }
    }
}

/// The newer one first; of two from the same moment, that with the greater id.
fn newer(one: &Document, other: &Document) -> Ordering {
    let created = |target: &Document| target.get("created_at").and_then(Value::as_f64).unwrap_or_default();
    created(other).total_cmp(&created(one)).then_with(|| other.id().cmp(&one.id()))
}
