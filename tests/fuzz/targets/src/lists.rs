//! Size, offset and tags in the query of a list.

use tollgate_admin::page_query;
use tollgate_core::collection::Filter;

/// A query.
pub fn lists(data: &[u8]) {
    let Ok(raw) = std::str::from_utf8(data) else { return };
    let Some(page) = page_query(raw) else { return };
    assert!((1..=1000).contains(&page.size), "{}", page.size);
    match page.filter {
        Filter::All => {}
        Filter::AllTags(tags) | Filter::AnyTag(tags) => {
            let is_tag =
                |tag: &String| !tag.is_empty() && !tag.contains(|c: char| c.is_control() || c == ',' || c == '/');
            assert!((1..=5).contains(&tags.len()) && tags.iter().all(is_tag), "{tags:?}");
        }
        other => panic!("{other:?} cannot be asked for"),
    }
}
