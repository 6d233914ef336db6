//! The Step On tutorial: an API, its authorization page and a store that uses it, with a real
//! gateway.
//!
//! - *Step On* counts steps. The gateway protects its API; its authorization page asks the user
//!   whether an application may see them, and has the gateway issue the code.
//! - *Shoe Fly Shoe* sells shoes, and gives a discount for steps: an OAuth2 client.
//! - [`setup`] configures the gateway through the Admin API as an operator would, and prints every
//!   call.
//!
//! The flow, in the steps of RFC 6749 §4.1:
//! 1. (A) The store sends the browser to Step On's authorization page, with a `state` bound to the
//!    browser's session and a PKCE challenge.
//! 2. (B) Step On authenticates the user, identifies the application, and asks the user for consent.
//! 3. (C) Step On requests a code from the gateway, and redirects the browser back with it.
//! 4. (D, E) The store redeems the code at the gateway for an access and a refresh token.
//! 5. The store reads the step counts through the gateway with the access token.
//!
//! In the second half ([`third_party`]) somebody else's authorization server asks the user and issues the tokens,
//! and the gateway introspects them.
//!
//! Invariant: nothing here depends on the gateway's internals; everything goes over HTTP, as in a real
//! site. Out of scope: keeping users, sessions or tokens beyond the process, and checking passwords.

pub mod certificate;
pub mod gateway;
pub mod operator;
pub mod setup;
pub mod shoe_store;
pub mod step_on;
pub mod third_party;
pub mod tutorial;

mod browser_session;
mod page;
mod site;

pub use gateway::Gateway;
pub use shoe_store::ShoeStore;
pub use step_on::StepOn;
pub use third_party::ThirdPartyTutorial;
pub use tutorial::Tutorial;
