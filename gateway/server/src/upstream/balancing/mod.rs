//! Balancing: how requests to an upstream are distributed among its targets.
//!
//! 1. `spec`: what the entities say. `targets`: the addresses behind each target, as DNS tells them.
//! 2. `rotation`: addresses with their weights, arranged for the algorithm; immutable, replaced as a whole.
//! 3. `endpoint`: one address: its health, its requests under way, its latency. It outlives the rotation, so a change
//!    of weights or of other targets forgets nothing.
//! 4. `balancer`: an upstream; picks an endpoint for each attempt of a request.
//! 5. `probe`: active health checks. `health`: what they and requests say about an endpoint.
//! 6. `balancers`: all upstreams of the configuration.
//!
//! An endpoint that is in no rotation any more gets no new requests; those under way keep it until they end.

mod balancer;
mod balancers;
mod endpoint;
mod hash_input;
mod health;
mod probe;
mod rotation;
mod spec;
mod targets;

pub use balancer::{Balancer, Terms, UsesProxyHeader};
pub use balancers::{Balancers, TARGET_HEALTH, said};
pub use endpoint::{Endpoint, Lease};
pub use hash_input::{HashInputs, Input, NewCookie};
pub use health::{Observer, Sign};
pub use spec::{TargetSpec, UpstreamSpec};
