//! The groups of consumers: cached facts, exact after every change of an `acls` row.
//!
//! The change of a row names the row's current consumer, whose groups are then read again. A deletion names only
//! the row's id, and a row moved to another consumer does not name the previous one. So cached groups refer to the
//! rows they were read from ([`Row`]), and are invalid as soon as one of these is. Deleting a consumer deletes its
//! rows, and the change feed reports each of them.

use std::sync::Arc;

use http::HeaderValue;
use tollgate_plugin::cache::{Fact, FactCache, Invalidation, Loaded, SharedFact, SharedFacts, Source};
use tollgate_plugin::{
    BlockName, Collection, Document, Filter, HeaderBlock, PageQuery, StoreError, header_value, thread_cache,
};
use uuid::Uuid;

use crate::entity::{CONSUMER, GROUP, NAME};

/// The most groups of a consumer. They are read in one statement, so that they are a consistent snapshot.
pub(crate) const MOST_GROUPS: usize = 1000;

/// The most bytes of their names, joined as in the header.
pub(crate) const MOST_BYTES: usize = 32 << 10;

/// Estimated memory per consumer without its groups: the cache entry, as measured for tokens, and an
/// allocation.
const ENTRY_BYTES: usize = 400;

/// Estimated memory per group without its name, which is stored twice: the row, and its place among the shared
/// ones.
const GROUP_BYTES: usize = 120;

/// The groups of consumers, by the consumer's id.
pub(crate) type GroupCache = FactCache<Groups, GroupSource>;

/// A row of `acls`, reduced to whether it is still as it was read.
#[derive(Debug)]
pub(crate) struct Row(Invalidation);

impl SharedFact for Row {
    fn invalidation(&self) -> &Invalidation {
        &self.0
    }
}

/// The groups of a consumer. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Groups(Arc<Rendered>);

#[derive(Debug)]
struct Rendered {
    /// In the order of the rows' ids.
    groups: Box<[Group]>,
    header: HeaderBlock,
    weight: u32,
}

#[derive(Debug)]
struct Group {
    name: Box<str>,
    row: Arc<Row>,
}

static NAMES: [BlockName; 1] = [BlockName::new("x-consumer-groups", "X-Consumer-Groups")];

impl Groups {
    fn new(groups: Box<[Group]>) -> Result<Self, StoreError> {
        let joined = groups.iter().map(|group| &*group.name).collect::<Vec<_>>().join(", ");
        if joined.len() > MOST_BYTES {
            return Err(corrupt("names of a consumer's groups exceed 32 KiB"));
        }
        let weight = ENTRY_BYTES + groups.len() * GROUP_BYTES + 2 * joined.len();
        let header = HeaderBlock::new(&NAMES, [header(&joined)?.as_ref()]);
        Ok(Self(Arc::new(Rendered { groups, header, weight: u32::try_from(weight).unwrap_or(u32::MAX) })))
    }

    /// Their names.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.groups.iter().map(|group| &*group.name)
    }

    /// `X-Consumer-Groups`, or its removal when there are no groups.
    pub(crate) fn header(&self) -> &HeaderBlock {
        &self.0.header
    }
}

/// Identity that cannot be sent upstream is an error, not silently left out.
fn header(joined: &str) -> Result<Option<HeaderValue>, StoreError> {
    if joined.is_empty() {
        return Ok(None);
    }
    header_value(joined).map(Some).ok_or(corrupt("group cannot be sent in a header"))
}

thread_cache!(Groups);

impl Fact for Groups {
    type Key = Uuid;

    fn is_current(&self) -> bool {
        self.0.groups.iter().all(|group| group.row.is_current())
    }

    fn weight(&self) -> u32 {
        self.0.weight
    }
}

/// Reads groups from the store.
pub(crate) struct GroupSource {
    collection: Arc<dyn Collection>,
    rows: SharedFacts<Row>,
}

impl GroupSource {
    /// Over the store of `acls`.
    pub(crate) fn new(collection: Arc<dyn Collection>) -> Self {
        Self { collection, rows: SharedFacts::new() }
    }

    /// The row with this id changed or was deleted. To be called after [`FactCache::facts_ended`].
    pub(crate) fn row_changed(&self, id: Uuid) {
        self.rows.invalidate(id);
    }

    async fn find(&self, consumer: Uuid) -> Result<Groups, StoreError> {
        let filter = Filter::Child { field: CONSUMER, parent: consumer };
        let page = self.collection.page(&PageQuery { filter, after: None, size: MOST_GROUPS }).await?;
        if page.next.is_some() {
            return Err(corrupt("consumer is in more than 1000 groups"));
        }
        Groups::new(page.documents.iter().map(|document| self.group(document)).collect::<Result<_, _>>()?)
    }

    fn group(&self, document: &Document) -> Result<Group, StoreError> {
        let id = document.id().ok_or(corrupt("id"))?;
        let name = document.text(GROUP).ok_or(corrupt(GROUP))?;
        let row = self.rows.get_or_add(id, || Row(Invalidation::new()));
        Ok(Group { name: name.into(), row })
    }
}

fn corrupt(what: &'static str) -> StoreError {
    StoreError::Corrupt { kind: NAME, what }
}

impl Source<Groups> for GroupSource {
    type Question = ();
    type Error = StoreError;

    /// Never `None`: a consumer without rows is in no group.
    async fn read(&self, consumer: Uuid, (): ()) -> Loaded<Option<Groups>> {
        let found = self.find(consumer).await;
        if let Err(error) = &found
            && !error.is_reported()
        {
            let error = error as &dyn std::error::Error;
            tracing::warn!(error, %consumer, "cannot look up groups of consumer");
        }
        found.map(Some).map_err(Arc::new)
    }
}
