//! A minimal store for the handlers: uniqueness, references and tags over a map ordered by id. The contract
//! of a store is tested on the real ones.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use serde_json::Value;
use tollgate_core::collection::{
    Collection, Document, Filter, Key, Merge, Page, PageQuery, TagIndex, TagPage, TagPosition, TaggedEntity,
};
use tollgate_core::entity::Kind;
use tollgate_core::error::{DaoError, StoreError};
use uuid::Uuid;

type Rows = BTreeMap<&'static str, BTreeMap<Uuid, Document>>;

/// All kinds' rows.
#[derive(Default, Clone)]
pub(super) struct MemoryStore {
    rows: Arc<Mutex<Rows>>,
    kinds: Arc<Mutex<Vec<Kind>>>,
}

impl MemoryStore {
    pub(super) fn collection(&self, kind: Kind) -> Arc<dyn Collection> {
        self.kinds.lock().unwrap().push(kind.clone());
        Arc::new(MemoryCollection { kind, store: self.clone() })
    }
}

#[async_trait]
impl TagIndex for MemoryStore {
    async fn tags(&self, tag: Option<&str>, after: Option<TagPosition>, size: usize) -> Result<TagPage, StoreError> {
        let rows = self.rows.lock().unwrap();
        let mut entries = Vec::new();
        for (kind, rows) in rows.iter() {
            for (id, row) in rows {
                entries.extend(row.texts("tags").map(|tag| TaggedEntity {
                    entity_name: (*kind).to_owned(),
                    entity_id: *id,
                    tag: tag.to_owned(),
                }));
            }
        }
        entries.retain(|entry| tag.is_none_or(|tag| entry.tag == tag));
        entries.sort_by_key(|entry| (entry.entity_id, entry.tag.clone()));
        entries.retain(|entry| {
            after.as_ref().is_none_or(|after| (entry.entity_id, &entry.tag) > (after.entity_id, &after.tag))
        });
        let more = entries.len() > size;
        entries.truncate(size);
        let last = entries.last().filter(|_| more);
        let next = last.map(|entry| TagPosition { entity_id: entry.entity_id, tag: entry.tag.clone() });
        Ok(TagPage { entries, next })
    }
}

struct MemoryCollection {
    kind: Kind,
    store: MemoryStore,
}

impl MemoryCollection {
    fn locate(&self, rows: &Rows, key: &Key) -> Option<Uuid> {
        let rows = rows.get(self.kind.name)?;
        match key {
            Key::Id(id) => rows.contains_key(id).then_some(*id),
            Key::Unique { field, value } => {
                rows.iter().find(|(_, row)| row.text(field) == Some(value)).map(|(id, _)| *id)
            }
        }
    }

    fn check(&self, rows: &Rows, document: &Document, id: Uuid) -> Result<(), DaoError> {
        for (field, target) in self.kind.foreign_fields() {
            let Some(parent) = document.reference(field.name) else { continue };
            if !rows.get(target).is_some_and(|rows| rows.contains_key(&parent)) {
                return Err(DaoError::ForeignMissing { field: field.name, target, id: parent });
            }
        }
        for (field, target) in self.kind.schema.fields.iter().filter_map(|field| Some((field.name, field.ids_of?))) {
            for id in document.texts(field).filter_map(|id| Uuid::parse_str(id).ok()) {
                if !rows.get(target).is_some_and(|rows| rows.contains_key(&id)) {
                    return Err(DaoError::ForeignMissing { field, target, id });
                }
            }
        }
        for field in self.kind.unique_fields() {
            let Some(Value::String(value)) = document.get(field.name) else { continue };
            let holder = self.locate(rows, &Key::Unique { field: field.name, value: value.clone() });
            if holder.is_some_and(|holder| holder != id) {
                return Err(DaoError::Unique { fields: vec![(field.name, Value::from(value.as_str()))] });
            }
        }
        self.check_unique_together(rows, document, id)
    }

    fn check_unique_together(&self, rows: &Rows, document: &Document, id: Uuid) -> Result<(), DaoError> {
        let fields: Vec<_> = self.kind.unique_together.iter().map(|field| (*field, document[*field].clone())).collect();
        let same = |row: &Document| fields.iter().all(|(field, value)| row[*field] == *value);
        let mut others = rows.get(self.kind.name).into_iter().flatten().filter(|(other, _)| **other != id);
        if !fields.is_empty() && others.any(|(_, row)| same(row)) {
            return Err(DaoError::Unique { fields });
        }
        Ok(())
    }

    fn write(&self, rows: &mut Rows, id: Uuid, mut document: Document) -> Result<Document, DaoError> {
        self.check(rows, &document, id)?;
        document.insert("id".to_owned(), Value::from(id.to_string()));
        rows.entry(self.kind.name).or_default().insert(id, document.clone());
        Ok(document)
    }
}

#[async_trait]
impl Collection for MemoryCollection {
    fn kind(&self) -> &Kind {
        &self.kind
    }

    async fn find(&self, key: &Key) -> Result<Option<Document>, StoreError> {
        let rows = self.store.rows.lock().unwrap();
        Ok(self.locate(&rows, key).and_then(|id| rows[self.kind.name].get(&id).cloned()))
    }

    async fn page(&self, query: &PageQuery) -> Result<Page, StoreError> {
        let rows = self.store.rows.lock().unwrap();
        let has_tag = |row: &Document, tag: &String| row.texts("tags").any(|known| known == tag);
        let wanted = |row: &Document| match &query.filter {
            Filter::All => true,
            Filter::AllTags(tags) => tags.iter().all(|tag| has_tag(row, tag)),
            Filter::AnyTag(tags) => tags.iter().any(|tag| has_tag(row, tag)),
            Filter::Child { field, parent } => row.reference(field) == Some(*parent),
            Filter::Unique { field, value } => row.text(field) == Some(value),
        };
        let of_kind = rows.get(self.kind.name).into_iter().flatten();
        let mut found: Vec<(Uuid, Document)> = of_kind
            .filter(|(id, row)| query.after.is_none_or(|after| **id > after) && wanted(row))
            .map(|(id, row)| (*id, row.clone()))
            .collect();
        let more = found.len() > query.size;
        found.truncate(query.size);
        let next = found.last().filter(|_| more).map(|(id, _)| *id);
        Ok(Page { documents: found.into_iter().map(|(_, row)| row).collect(), next })
    }

    async fn insert(&self, document: Document) -> Result<Document, DaoError> {
        let mut rows = self.store.rows.lock().unwrap();
        let id = document.id().unwrap();
        if rows.get(self.kind.name).is_some_and(|rows| rows.contains_key(&id)) {
            return Err(DaoError::PrimaryKey { id });
        }
        self.write(&mut rows, id, document)
    }

    async fn upsert(&self, key: &Key, document: Document) -> Result<Document, DaoError> {
        let mut rows = self.store.rows.lock().unwrap();
        let id = self.locate(&rows, key).or_else(|| document.id()).unwrap();
        self.write(&mut rows, id, document)
    }

    async fn update(&self, key: &Key, merge: &Merge<'_>) -> Result<Option<Document>, DaoError> {
        let mut rows = self.store.rows.lock().unwrap();
        let Some(id) = self.locate(&rows, key) else { return Ok(None) };
        let merged = merge(&rows[self.kind.name][&id]).map_err(DaoError::Schema)?;
        self.write(&mut rows, id, merged).map(Some)
    }

    async fn delete(&self, key: &Key) -> Result<bool, DaoError> {
        let mut rows = self.store.rows.lock().unwrap();
        let Some(id) = self.locate(&rows, key) else { return Ok(false) };
        for kind in self.store.kinds.lock().unwrap().iter() {
            let refers = kind.foreign_fields().filter(|(_, target)| *target == self.kind.name);
            for (field, _) in refers {
                let referring = |row: &Document| row.reference(field.name) == Some(id);
                if kind.name == "routes" && rows.get("routes").is_some_and(|rows| rows.values().any(referring)) {
                    return Err(DaoError::Referenced { by: kind.name, target: self.kind.name });
                }
                if let Some(rows) = rows.get_mut(kind.name) {
                    rows.retain(|_, row| !referring(row));
                }
            }
        }
        Ok(rows.get_mut(self.kind.name).is_some_and(|rows| rows.remove(&id).is_some()))
    }
}
