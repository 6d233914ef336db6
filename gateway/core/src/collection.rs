//! The store port for entities: one [`Collection`] for each kind.
//!
//! Documents passed in have been validated against their schema; a collection decides only what requires a
//! database: uniqueness, references, and whether a row still exists. Every method that writes commits,
//! announces the change to the listeners, and then returns.

use async_trait::async_trait;
use uuid::Uuid;

use crate::entity::Kind;
use crate::error::{DaoError, StoreError};
use crate::schema::Violations;
pub use crate::schema::{Document, Key};

/// Which entities a list contains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// All entities of the kind.
    All,
    /// Those that carry every one of the tags.
    AllTags(Vec<String>),
    /// Those that carry at least one of the tags.
    AnyTag(Vec<String>),
    /// Those whose foreign `field` refers to `parent`.
    Child {
        /// The foreign field, such as `service`.
        field: &'static str,
        /// The entity it refers to.
        parent: Uuid,
    },
    /// Those whose unique `field` has this value: none or one.
    Unique {
        /// The field.
        field: &'static str,
        /// Its value.
        value: String,
    },
}

/// One page of a list, in ascending order of id.
#[derive(Debug, Clone)]
pub struct PageQuery {
    /// Which entities.
    pub filter: Filter,
    /// The last id of the previous page.
    pub after: Option<Uuid>,
    /// The maximum number of entities.
    pub size: usize,
}

/// The entities of a page.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// At most the requested number of entities.
    pub documents: Vec<Document>,
    /// Where the next page begins; `None` on the last.
    pub next: Option<Uuid>,
}

/// Builds the new document from the stored one, inside the transaction that writes it.
pub type Merge<'a> = dyn Fn(&Document) -> Result<Document, Violations> + Send + Sync + 'a;

/// The entities of one kind in the store.
#[async_trait]
pub trait Collection: Send + Sync + 'static {
    /// The kind of its entities.
    fn kind(&self) -> &Kind;

    /// One entity, or `None`.
    async fn find(&self, key: &Key) -> Result<Option<Document>, StoreError>;

    /// One page of a list.
    async fn page(&self, query: &PageQuery) -> Result<Page, StoreError>;

    /// Inserts an entity. Returns it as the caller may see it (a clear token appears only here).
    async fn insert(&self, document: Document) -> Result<Document, DaoError>;

    /// Inserts the entity, or replaces the one with this key and keeps its id.
    async fn upsert(&self, key: &Key, document: Document) -> Result<Document, DaoError>;

    /// Reads, merges and writes atomically: exactly the document that was merged is replaced. `merge` is
    /// called again if another writer got there first. `None`: no such entity exists.
    async fn update(&self, key: &Key, merge: &Merge<'_>) -> Result<Option<Document>, DaoError>;

    /// Deletes the entity and everything that cascades from it. `false`: it did not exist.
    async fn delete(&self, key: &Key) -> Result<bool, DaoError>;
}

/// One tag of one entity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaggedEntity {
    /// The kind of the entity, such as `routes`.
    pub entity_name: String,
    /// The entity.
    pub entity_id: Uuid,
    /// The tag.
    pub tag: String,
}

/// Where a page of tags ended: tags are ordered by entity, then by tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagPosition {
    /// The last entity of the previous page.
    pub entity_id: Uuid,
    /// The last of its tags on that page.
    pub tag: String,
}

/// One page of tags.
#[derive(Debug, Clone, Default)]
pub struct TagPage {
    /// At most the requested number of tags.
    pub entries: Vec<TaggedEntity>,
    /// Where the next page begins; `None` on the last.
    pub next: Option<TagPosition>,
}

/// Tags across all kinds (gateway.md §2.5, `/tags`).
#[async_trait]
pub trait TagIndex: Send + Sync + 'static {
    /// One page of every tag of every entity, or of the entities that carry `tag`.
    async fn tags(&self, tag: Option<&str>, after: Option<TagPosition>, size: usize) -> Result<TagPage, StoreError>;
}
