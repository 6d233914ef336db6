//! The store port for entities: one [`Collection`] for each kind.
//!
//! Documents that come in have passed their schema; a collection decides only what takes a
//! database to decide: uniqueness, references, and that a row is still there. Every method that
//! writes commits, announces the change to the listeners, and then returns.

use async_trait::async_trait;
use uuid::Uuid;

use crate::entity::Kind;
use crate::error::{DaoError, StoreError};
use crate::schema::Violations;
pub use crate::schema::{Document, Key};

/// Which entities a list is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// All of the kind.
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
    /// The last id of the page before.
    pub after: Option<Uuid>,
    /// How many at most.
    pub size: usize,
}

/// The entities of a page.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// At most as many as asked for.
    pub documents: Vec<Document>,
    /// Where the next page begins; `None` on the last.
    pub next: Option<Uuid>,
}

/// Makes the new document from the one that is stored, inside the transaction that writes it.
pub type Merge<'a> = dyn Fn(&Document) -> Result<Document, Violations> + Send + Sync + 'a;

/// A kind's entities in the store.
#[async_trait]
pub trait Collection: Send + Sync + 'static {
    /// What it holds.
    fn kind(&self) -> &Kind;

    /// One entity, or `None`.
    async fn find(&self, key: &Key) -> Result<Option<Document>, StoreError>;

    /// One page of a list.
    async fn page(&self, query: &PageQuery) -> Result<Page, StoreError>;

    /// Adds an entity. Returns it as the caller is to see it (a clear token is shown here once).
    async fn insert(&self, document: Document) -> Result<Document, DaoError>;

    /// Adds the entity or replaces the one that has this key, whose id it then keeps.
    async fn upsert(&self, key: &Key, document: Document) -> Result<Document, DaoError>;

    /// Reads, merges and writes as one step: what was merged is what is replaced. `merge` is called
    /// again when another writer was faster. `None`: there is no such entity.
    async fn update(&self, key: &Key, merge: &Merge<'_>) -> Result<Option<Document>, DaoError>;

    /// Removes the entity and everything that cascades from it. `false`: there was none.
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

/// Where a page of tags ended: the order is by entity, then by tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagPosition {
    /// The last entity of the page before.
    pub entity_id: Uuid,
    /// Its last tag that was listed.
    pub tag: String,
}

/// One page of tags.
#[derive(Debug, Clone, Default)]
pub struct TagPage {
    /// At most as many as asked for.
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
