//! Tags across all kinds.

use tollgate_core::collection::{TagPage, TagPosition, TaggedEntity};
use tollgate_core::error::StoreError;
use uuid::Uuid;

use crate::entity::expiry::{self, ExpiresAt};
use crate::entity::read::successor;
use crate::entity::stored::canonical_text;
use crate::row::Row;
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
    now: i64,
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
    let tagged = |row: &Row| {
        let entry = TaggedEntity { entity_name: row.get(0)?, entity_id: row.get(1)?, tag: row.get(2)? };
        Ok((entry, row.get(3)?))
    };
    let entries = rows.iter().take(size).map(tagged).collect::<Result<Vec<(_, ExpiresAt)>, StoreError>>()?;
    let last = entries.last().filter(|_| more);
    let next = last.map(|(last, _)| TagPosition { entity_id: last.entity_id, tag: last.tag.clone() });
    let current = entries.into_iter().filter(|(_, expires_at)| expiry::is_there(*expires_at, now));
    Ok(TagPage { entries: current.map(|(entry, _)| entry).collect(), next })
}
