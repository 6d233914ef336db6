//! Paths that end in a foreign field, such as `/routes/{r}/service`: the verbs act on the referenced entity
//! (gateway.md §2.2).

use std::sync::OnceLock;

use http::Method;
use serde_json::Value;
use tollgate_core::collection::{Document, Key};
use tollgate_core::error::DaoError;
use tollgate_core::schema::Violations;
use uuid::Uuid;

use crate::draft::Patch;
use crate::entity;
use crate::input::Input;
use crate::reference;
use crate::resource::ForeignField;
use crate::response::{Failure, Response};
use crate::state::AdminState;

/// `GET`, `PUT`, `PATCH` and `DELETE`.
pub(crate) async fn act(
    state: &AdminState,
    method: &Method,
    foreign: &ForeignField<'_>,
    segment: &str,
    input: Input,
) -> Result<Response, Failure> {
    let owner_key = reference::existing(state, foreign.owners, segment).await?;
    let owner = foreign.owners.find(&owner_key).await?.ok_or(Failure::NotFound)?;
    let target = owner.reference(foreign.field).map(Key::Id);
    match (method, target) {
        (&Method::PUT, Some(target)) => entity::put(state, foreign.targets, &target, input, Vec::new()).await,
        (&Method::PUT, None) => create_and_link(state, foreign, &owner_key, input).await,
        (_, None) => Err(Failure::NotFound),
        (&Method::PATCH, Some(target)) => entity::patch(state, foreign.targets, &target, input, &[]).await,
        // Unlinking is a PATCH of the owner.
        (&Method::DELETE, Some(_)) => Err(Failure::MethodNotAllowed),
        (_, Some(target)) => entity::show(foreign.targets.find(&target).await?),
    }
}

/// Inserts the entity and links the owner to it. The reference is validated before anything is written; if it
/// is refused nevertheless, the entity is deleted again. If the outcome of writing the reference is unknown,
/// the entity stays: the owner may refer to it, and deleting it could cascade to the owner.
async fn create_and_link(
    state: &AdminState,
    foreign: &ForeignField<'_>,
    owner: &Key,
    input: Input,
) -> Result<Response, Failure> {
    let id = state.random.uuid();
    let link: [(&str, Value); 1] = [(foreign.field, reference::to(id))];
    let nothing = Input::Json(Document::new());
    let patch = Patch::read(state, foreign.owners, owner, nothing, &link).await?.ok_or(Failure::NotFound)?;
    let response = entity::put(state, foreign.targets, &Key::Id(id), input.clone(), Vec::new()).await?;
    match linked(foreign, owner, &patch).await {
        Ok(Link::Made) => Ok(response),
        Ok(Link::Taken(other)) => {
            foreign.targets.delete(&Key::Id(id)).await?;
            entity::put(state, foreign.targets, &Key::Id(other), input, Vec::new()).await
        }
        Err(unknown @ Failure::Dao(DaoError::Store(_))) => Err(unknown),
        Err(failure) => {
            foreign.targets.delete(&Key::Id(id)).await?;
            Err(failure)
        }
    }
}

/// The outcome of linking.
enum Link {
    /// The owner refers to the entity.
    Made,
    /// Another request got there first: the owner refers to another entity.
    Taken(Uuid),
}

async fn linked(foreign: &ForeignField<'_>, owner: &Key, patch: &Patch<'_>) -> Result<Link, Failure> {
    let taken = OnceLock::new();
    let merge = |stored: &Document| match stored.reference(foreign.field) {
        None => patch.apply(stored),
        Some(other) => {
            // It is set at most once: the update ends here.
            let _ = taken.set(other);
            Err(Violations::new())
        }
    };
    let updated = foreign.owners.update(owner, &merge).await;
    match (taken.get(), updated) {
        (Some(other), _) => Ok(Link::Taken(*other)),
        (None, Ok(Some(_))) => Ok(Link::Made),
        (None, Ok(None)) => Err(Failure::NotFound),
        (None, Err(error)) => Err(error.into()),
    }
}
