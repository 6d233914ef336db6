//! Reading entities.

use tollgate_core::collection::{Document, Filter, Key, Page, PageQuery};
use tollgate_core::entity::Kind;
use tollgate_core::error::StoreError;
use uuid::Uuid;

use crate::entity::expiry::{self, ExpiresAt};
use crate::entity::stored::canonical_text;
use crate::row::Row;
use crate::session::{Parameter, Session};
use crate::statement;
use crate::statement::Statement;

pub(crate) const FIND: Statement = statement!("entity/find.sql");
pub(crate) const FIND_UNIQUE: Statement = statement!("entity/find_unique.sql");
pub(crate) const FIND_MANY: Statement = statement!("entity/find_many.sql");
pub(crate) const PAGE_ALL: Statement = statement!("entity/page_all.sql");
pub(crate) const PAGE_ALL_TAGS: Statement = statement!("entity/page_all_tags.sql");
pub(crate) const PAGE_ANY_TAG: Statement = statement!("entity/page_any_tag.sql");
pub(crate) const PAGE_CHILDREN: Statement = statement!("entity/page_children.sql");

/// An entity as it was found: parsed, and as stored.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) id: Uuid,
    pub(crate) body: String,
    pub(crate) document: Document,
    pub(crate) expires_at: ExpiresAt,
}

impl Found {
    /// Whether it still exists.
    pub(crate) fn is_there(&self, now: i64) -> bool {
        expiry::is_there(self.expires_at, now)
    }

    /// The document as shown to clients.
    pub(crate) fn shown(mut self, kind: &Kind, now: i64) -> Document {
        expiry::show(kind, &mut self.document, self.expires_at, now);
        self.document
    }
}

/// One entity, unless it has expired.
pub(crate) async fn find_current(
    session: &mut dyn Session,
    kind: &Kind,
    key: &Key,
    now: i64,
) -> Result<Option<Found>, StoreError> {
    Ok(find(session, kind, key).await?.filter(|found| found.is_there(now)))
}

/// One entity, even if it has expired but was not swept yet.
async fn find(session: &mut dyn Session, kind: &Kind, key: &Key) -> Result<Option<Found>, StoreError> {
    let rows = match key {
        Key::Id(id) => session.rows(&FIND, &[Parameter::Text(kind.name), Parameter::Uuid(*id)]).await,
        Key::Unique { field, value } => {
            let value = canonical_text(value);
            let parameters = [Parameter::Text(kind.name), Parameter::Text(field), Parameter::Text(&value)];
            session.rows(&FIND_UNIQUE, &parameters).await
        }
    };
    first(kind, &rows?)
}

/// The only row of a result.
pub(crate) fn first(kind: &Kind, rows: &[Row]) -> Result<Option<Found>, StoreError> {
    rows.first().map(|row| found(kind, row)).transpose()
}

pub(crate) fn found(kind: &Kind, row: &Row) -> Result<Found, StoreError> {
    let (id, body): (_, String) = (row.get(0)?, row.get(1)?);
    match serde_json::from_str(&body) {
        Ok(document) => Ok(Found { id, body, document, expires_at: row.get(2)? }),
        Err(_) => Err(StoreError::Corrupt { kind: kind.name, what: "its document is not a JSON object" }),
    }
}

/// The existing ones among these entities, in no particular order.
pub(crate) async fn find_many(session: &mut dyn Session, kind: &Kind, ids: &[Uuid]) -> Result<Vec<Found>, StoreError> {
    let rows = session.rows(&FIND_MANY, &[Parameter::Text(kind.name), Parameter::Uuids(ids)]).await?;
    rows.iter().map(|row| found(kind, row)).collect()
}

/// One page of a list. Reads one extra row to detect the last page.
pub(crate) async fn page(
    session: &mut dyn Session,
    kind: &Kind,
    query: &PageQuery,
    now: i64,
) -> Result<Page, StoreError> {
    let Some(from) = successor(query.after) else { return Ok(Page::default()) };
    let limit = i64::try_from(query.size.saturating_add(1)).unwrap_or(i64::MAX);
    let (name, from, limit) = (Parameter::Text(kind.name), Parameter::Uuid(from), Parameter::Integer(limit));
    let rows = match &query.filter {
        Filter::All => session.rows(&PAGE_ALL, &[name, from, limit]).await?,
        Filter::AllTags(tags) => {
            let tags = canonical_tags(tags);
            let Some((first, others)) = tags.split_first() else { return Ok(Page::default()) };
            let parameters = [name, Parameter::Text(first), Parameter::Texts(others), from, limit];
            session.rows(&PAGE_ALL_TAGS, &parameters).await?
        }
        Filter::AnyTag(tags) => {
            let tags = canonical_tags(tags);
            session.rows(&PAGE_ANY_TAG, &[name, Parameter::Texts(&tags), from, limit]).await?
        }
        Filter::Child { field, parent } => {
            let target = kind.foreign_fields().find(|(foreign, _)| foreign.name == *field);
            let Some((_, target)) = target else { return Ok(Page::default()) };
            let (target, parent, field) = (Parameter::Text(target), Parameter::Uuid(*parent), Parameter::Text(field));
            session.rows(&PAGE_CHILDREN, &[target, parent, name, field, from, limit]).await?
        }
        Filter::Unique { field, value } => {
            let key = Key::Unique { field, value: value.clone() };
            let found = find_current(session, kind, &key, now).await?.filter(|found| Some(found.id) > query.after);
            let documents = found.map(|found| found.shown(kind, now)).into_iter().collect();
            return Ok(Page { documents, next: None });
        }
    };
    to_page(kind, &rows, query.size, now)
}

/// Leaves out expired entities: until they are swept, a page may be shorter than requested.
fn to_page(kind: &Kind, rows: &[Row], size: usize, now: i64) -> Result<Page, StoreError> {
    let more = rows.len() > size;
    let found = rows.iter().take(size).map(|row| found(kind, row)).collect::<Result<Vec<_>, _>>()?;
    let next = found.last().filter(|_| more).map(|last| last.id);
    let there = found.into_iter().filter(|found| found.is_there(now));
    Ok(Page { documents: there.map(|found| found.shown(kind, now)).collect(), next })
}

/// The smallest id of the page; `None`: no id follows the last one.
pub(crate) fn successor(after: Option<Uuid>) -> Option<Uuid> {
    after.map_or(Some(Uuid::nil()), |id| id.as_u128().checked_add(1).map(Uuid::from_u128))
}

fn canonical_tags(tags: &[String]) -> Vec<String> {
    tags.iter().map(|tag| canonical_text(tag)).collect()
}
