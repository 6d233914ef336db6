//! Host names, and the addresses behind them as this process last heard of them.
//!
//! There is one [`Resolver`] per process. Whoever needs the addresses of a name takes a [`Name`] from it:
//!
//! ```no_run
//! # async fn connect(resolver: tollgate_dns::Resolver) -> Result<(), tollgate_dns::Error> {
//! use tollgate_dns::Families;
//!
//! let name = resolver.name("api.example", Families::First);
//! let answer = name.answer().await?;
//! println!("{} has {} addresses", name.host(), answer.addresses.len());
//! # Ok(())
//! # }
//! ```
//!
//! - **Records**: SRV, A and AAAA, in the order of the settings; what was found last is asked first. `/etc/hosts`
//!   and the search list of `/etc/resolv.conf` count.
//! - **Time to live**: an answer is fresh for as long as its records say, at least a second. It is renewed in the
//!   background while the name is in use.
//! - **A resolver that fails or hangs** does not take addresses away: they are used for as long as the settings say
//!   ([`Settings::stale_for`]), and no caller waits for a renewal. An answer that there are no addresses does.
//! - **Single flight**: a name has one look-up under way, which ends by itself when its callers are gone. Names are
//!   shared by all who ask for them.

mod answer;
mod name;
mod nameservers;
mod resolver;

#[cfg(test)]
mod tests;

pub use answer::{Address, Answer, Error, Source};
pub use hickory_resolver::net::NetError as SetupError;
pub use name::Name;
pub use nameservers::{Families, Nameserver, RecordKind};
pub use resolver::{Resolver, Settings};
