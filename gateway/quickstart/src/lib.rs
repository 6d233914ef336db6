//! The Step On tutorial: an API, its authorization page and a store that uses it, in front of a
//! real gateway.
//!
//! - *Step On* counts steps. Its API stands behind the gateway; its authorization page asks the
//!   user whether an application may see them, and has the gateway issue the code.
//! - *Shoe Fly Shoe* sells shoes, and gives a discount for steps: an OAuth2 client.
//! - [`setup`] configures the gateway through the Admin API as an operator would, and shows every
//!   call.
//!
//! One walk through it, in the steps of RFC 6749 §4.1:
//! 1. (A) The store sends the browser to Step On's authorization page, with a `state` bound to the
//!    browser's session and a PKCE challenge.
//! 2. (B) Step On finds out who the user is, which application asks, and whether the user agrees.
//! 3. (C) Step On asks the gateway for a code, and sends the browser back with it.
//! 4. (D, E) The store redeems the code at the gateway for an access and a refresh token.
//! 5. The store reads the step counts through the gateway with the access token.
//!
//! Invariant: nothing here knows the gateway's insides; all of it speaks HTTP, and a real site may
//! be written the same way. What it does not do: keep users, sessions or tokens beyond its process,
//! or check passwords.

pub mod certificate;
pub mod gateway;
pub mod operator;
pub mod setup;
pub mod shoe_store;
pub mod step_on;
pub mod tutorial;

mod browser_session;
mod page;
mod site;

pub use gateway::Gateway;
pub use shoe_store::ShoeStore;
pub use step_on::StepOn;
pub use tutorial::Tutorial;
