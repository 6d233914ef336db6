//! Paths that end in a foreign field, such as `/routes/{r}/service`: the verbs act on the entity
//! that is referred to (contract gateway.md §2.2).

use http::Method;
use serde_json::Value;
use tollgate_core::collection::{Document, Key};

use crate::answer::{Answer, Failure};
use crate::draft::Patch;
use crate::entity;
use crate::input::Input;
use crate::reference;
use crate::resource::ForeignField;
use crate::state::AdminState;

/// `GET`, `PUT`, `PATCH` and `DELETE`.
pub(crate) async fn act(
    state: &AdminState,
    method: &Method,
    foreign: &ForeignField<'_>,
    segment: &str,
    input: Input,
) -> Result<Answer, Failure> {
    let owner_key = reference::key(foreign.owners.kind(), segment)?;
    let owner = foreign.owners.find(&owner_key).await?.ok_or(Failure::NotFound)?;
    let target = reference::id_in(&owner, foreign.field).map(Key::Id);
    match (method, target) {
        (&Method::PUT, Some(target)) => entity::put(state, foreign.targets, &target, input, None).await,
        (&Method::PUT, None) => create_and_link(state, foreign, &owner_key, input).await,
        (_, None) => Err(Failure::NotFound),
        (&Method::PATCH, Some(target)) => entity::patch(state, foreign.targets, &target, input).await,
        // Unlinking is a PATCH of the owner.
        (&Method::DELETE, Some(_)) => Err(Failure::MethodNotAllowed),
        (_, Some(target)) => entity::show(foreign.targets.find(&target).await?),
    }
}

/// Adds the entity and makes the owner refer to it.
async fn create_and_link(
    state: &AdminState,
    foreign: &ForeignField<'_>,
    owner: &Key,
    input: Input,
) -> Result<Answer, Failure> {
    let id = state.random.uuid();
    let answer = entity::put(state, foreign.targets, &Key::Id(id), input, None).await?;
    let link: [(&str, Value); 1] = [(foreign.field, reference::to(id))];
    let nothing = Input::Json(Document::new());
    let patch = Patch::read(state, foreign.owners, owner, nothing, &link).await?.ok_or(Failure::NotFound)?;
    match foreign.owners.update(owner, &|stored| patch.apply(stored)).await? {
        Some(_) => Ok(answer),
        None => Err(Failure::NotFound),
    }
}
