//! Lists: size, offset, tags and the URL of the next page (gateway.md §3).

use serde_json::{Value, json};
use tollgate_core::collection::{Filter, Page, PageQuery};
use tollgate_core::error::DaoError;
use uuid::Uuid;

use crate::entity;
use crate::offset;
use crate::query::{Query, Unstorable, escape};
use crate::resource::{Entities, Nested};
use crate::response::{Failure, Response};
use crate::state::AdminState;

const DEFAULT_SIZE: usize = 100;
const MAX_SIZE: usize = 1000;
const MAX_TAGS: usize = 5;

/// Query arguments that filter by a unique field: kind and field.
const UNIQUE_FILTERS: [(&str, &str); 1] = [("consumers", "custom_id")];

/// `GET` of a collection.
pub(crate) async fn collection(entities: &Entities, query: &Query) -> Result<Response, Failure> {
    if let Some((field, value)) = unique_filter(entities, query)? {
        let documents = match value {
            Ok(value) => {
                let filter = Filter::Unique { field, value: value.to_owned() };
                entities.page(&PageQuery { filter, after: None, size: DEFAULT_SIZE }).await?.documents
            }
            Err(Unstorable) => Vec::new(),
        };
        return Ok(Response::ok(&json!({ "data": documents, "next": null })));
    }
    let size = size(query)?;
    let has_tags = entities.kind().schema.field("tags").is_some();
    let filter = if has_tags { tags(query.stored("tags"))? } else { Filter::All };
    let page = entities.page(&PageQuery { filter, after: after(query)?, size }).await?;
    let rest = ["tags", "size"].map(|name| match query.get(name) {
        Some(value) => format!("&{name}={}", escape(&value)),
        None => String::new(),
    });
    Ok(respond(page, entities.kind().segment, &rest.concat()))
}

/// The page that a raw query asks for in a list of entities with tags; `None`: it is refused.
pub fn page_query(raw: &str) -> Option<PageQuery> {
    let query = Query::parse(Some(raw)).ok()?;
    let filter = tags(query.stored("tags")).ok()?;
    Some(PageQuery { filter, after: after(&query).ok()?, size: size(&query).ok()? })
}

/// `GET` of a kind below a parent. The URL of the next page has the path as the client sent it. Tags are
/// ignored.
pub(crate) async fn children(
    state: &AdminState,
    nested: &Nested<'_>,
    parent: &str,
    path: &str,
    query: &Query,
) -> Result<Response, Failure> {
    let size = size(query)?;
    let after = after(query)?;
    let filter = Filter::Child { field: nested.field, parent: entity::find_parent(state, nested, parent).await? };
    let page = nested.children.page(&PageQuery { filter, after, size }).await?;
    Ok(respond(page, path.trim_matches('/'), ""))
}

fn respond(page: Page, path: &str, rest: &str) -> Response {
    let data: Vec<Value> = page.documents.into_iter().map(Value::from).collect();
    publish(data, page.next.map(offset::after_entity), path, rest)
}

/// The response with a page: `offset` and `next` are set only if another page follows.
pub(crate) fn publish(data: Vec<Value>, offset: Option<String>, path: &str, rest: &str) -> Response {
    Response::ok(&match offset {
        Some(offset) => {
            let next = format!("/{path}?offset={}{rest}", escape(&offset));
            json!({ "data": data, "next": next, "offset": offset })
        }
        None => json!({ "data": data, "next": null }),
    })
}

/// A unique field in the query, with the required value.
type UniqueFilter<'q> = (&'static str, Result<&'q str, Unstorable>);

fn unique_filter<'q>(entities: &Entities, query: &'q Query) -> Result<Option<UniqueFilter<'q>>, Failure> {
    let filters = UNIQUE_FILTERS.iter().filter(|(kind, _)| *kind == entities.kind().name);
    let mut given = filters.filter_map(|(_, field)| Some((*field, query.stored(field)?)));
    match given.next() {
        Some((field, Ok(""))) => Err(Failure::EmptyFilter(field)),
        given => Ok(given),
    }
}

fn after(query: &Query) -> Result<Option<Uuid>, DaoError> {
    query.get("offset").as_deref().map(offset::entity).transpose()
}

/// The requested page size.
pub(crate) fn size(query: &Query) -> Result<usize, DaoError> {
    let Some(given) = query.get("size") else { return Ok(DEFAULT_SIZE) };
    let bad = |why| DaoError::InvalidSize { why };
    let number: f64 = given.trim().parse().map_err(|_| bad("size must be a number"))?;
    #[expect(clippy::cast_precision_loss, reason = "1000 is exact")]
    if number.fract() == 0.0 && (1.0..=MAX_SIZE as f64).contains(&number) {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a whole number from 1 to 1000")]
        return Ok(number as usize);
    }
    Err(bad("size must be an integer between 1 and 1000"))
}

/// `a,b` requires both, `a/b` either.
fn tags(given: Option<Result<&str, Unstorable>>) -> Result<Filter, DaoError> {
    let Some(given) = given else { return Ok(Filter::All) };
    let bad = |why: &str| DaoError::InvalidOptions { options: vec![("tags", why.to_owned())] };
    let given = given.map_err(|_| bad("invalid filter syntax"))?;
    if given.is_empty() {
        return Err(bad("cannot be null"));
    }
    let separators = [',', '/'];
    let tags: Vec<String> = given.split(separators).map(str::to_owned).collect();
    let readable = |tag: &String| !tag.is_empty() && !tag.contains(char::is_control);
    if separators.iter().all(|separator| given.contains(*separator)) || !tags.iter().all(readable) {
        return Err(bad("invalid filter syntax"));
    }
    if tags.len() > MAX_TAGS {
        return Err(bad("cannot query more than 5 tags"));
    }
    Ok(if given.contains('/') { Filter::AnyTag(tags) } else { Filter::AllTags(tags) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(raw: &str) -> Query {
        Query::parse(Some(raw)).unwrap()
    }

    #[test]
    fn size_is_a_whole_number_from_1_to_1000() {
        let message = |raw: &str| size(&of(raw)).map_err(|error| error.message());
        let number = Err("size must be a number".to_owned());
        let range = Err("size must be an integer between 1 and 1000".to_owned());
        assert_eq!(message(""), Ok(100));
        assert_eq!(message("size=1"), Ok(1));
        assert_eq!(message("size=1000"), Ok(1000));
        for bad in ["size=", "size", "size=ten", "size=1+2"] {
            assert_eq!(message(bad), number, "{bad}");
        }
        for bad in ["size=0", "size=-1", "size=1001", "size=1.5", "size=nan", "size=inf"] {
            assert_eq!(message(bad), range, "{bad}");
        }
    }

    #[test]
    fn tags_are_all_or_any_and_at_most_five() {
        let both = vec!["a".to_owned(), "b".to_owned()];
        assert_eq!(tags(None).unwrap(), Filter::All);
        assert_eq!(tags(Some(Ok("a,b"))).unwrap(), Filter::AllTags(both.clone()));
        assert_eq!(tags(Some(Ok("a/b"))).unwrap(), Filter::AnyTag(both));
        assert_eq!(tags(Some(Ok("\u{FFFD}"))).unwrap(), Filter::AllTags(vec!["\u{FFFD}".to_owned()]));
        let message = |given: &str| tags(Some(Ok(given))).map_err(|error| error.message()).unwrap_err();
        assert_eq!(message(""), "invalid option (tags: cannot be null)");
        for bad in ["a,b/c", "a,,b", ",a", "a\u{7}"] {
            assert_eq!(message(bad), "invalid option (tags: invalid filter syntax)", "{bad:?}");
        }
        assert!(message("a,b,c,d,e,f").contains("tags: cannot query more than 5 tags"));
    }
}
