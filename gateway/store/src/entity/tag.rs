//! Tags across all kinds.

use tollgate_core::collection::{TagPage, TagPosition, TaggedEntity};
use tollgate_core::error::StoreError;
use uuid::Uuid;

use crate::entity::read::successor;
use crate::entity::stored::canonical_text;
use crate::session::{Parameter, Session};
use crate::statement;
use crate::statement::Statement;

pub(crate) const PAGE_TAGS: Statement = statement!("entity/page_tags.sql");
pub(crate) const PAGE_TAGGED: Statement = statement!("entity/page_tagged.sql");

/// One page of every tag of every entity, or of the entities that carry `tag`.
pub(crate) async fn page(
    session: &mut dyn Session,
    tag: Option<&str>,
    after: Option<&TagPosition>,
    size: usize,
) -> Result<TagPage, StoreError> {
    let limit = Parameter::Integer(i64::try_from(size.saturating_add(1)).unwrap_or(i64::MAX));
    let rows = match tag {
        Some(tag) => {
            let tag = canonical_text(tag);
            let Some(from) = successor(after.map(|position| position.entity_id)) else {
                return Ok(TagPage::default());
            };
            session.rows(&PAGE_TAGGED, &[Parameter::Text(&tag), Parameter::Uuid(from), limit]).await?
        }
        None => {
            // Tags are never empty, so nothing precedes the first position.
            let (id, tag) = after.map_or((Uuid::nil(), ""), |position| (position.entity_id, &position.tag));
            session.rows(&PAGE_TAGS, &[Parameter::Uuid(id), Parameter::Text(tag), limit]).await?
        }
    };
    let more = rows.len() > size;
    let entries = rows
        .iter()
        .take(size)
        .map(|row| Ok(TaggedEntity { entity_name: row.get(0)?, entity_id: row.get(1)?, tag: row.get(2)? }));
    let entries = entries.collect::<Result<Vec<_>, StoreError>>()?;
    let last = entries.last().filter(|_| more);
    let next = last.map(|last| TagPosition { entity_id: last.entity_id, tag: last.tag.clone() });
    Ok(TagPage { entries, next })
}
