//! Memory and look-up time of a million cached tokens.
//!
//! Two subjects, each in its own process so that neither reuses memory that the other freed:
//! - `tollgate`: the token cache, filled through its own loading path from a store that generates rows;
//!   10,000 credentials of as many consumers, five scopes, one service, a user id of 12 characters per
//!   token.
//! - `moka`: the underlying cache with the same keys and one shared value: its share of the above.
//!
//! Memory is resident memory above its value before the first token, with the binary's allocator, after
//! every token was presented once: a header value allocates its reference count on first use. The limit
//! holds exactly these tokens, so eviction bookkeeping is active; the run checks that none was evicted.
//! Times are the best of several passes over a precomputed order.
#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a benchmark that cannot be set up should stop")]
#![expect(clippy::print_stdout, reason = "a benchmark reports on standard output")]

use std::env;
use std::hash::BuildHasherDefault;
use std::hint::black_box;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use moka::sync::Cache;
use tollgate_core::clock::{Clock, SystemClock};
use tollgate_core::collection::Collection;
use tollgate_oauth2::cache::{TokenCache, TokenSource};
use tollgate_oauth2::metrics::{Metrics, PREFIXES};
use tollgate_oauth2::token::Digest;
use tollgate_oauth2::token_facts::ENTRY_BYTES;
use tollgate_plugin::cache::{Bounds, HeadHasher, Known, Trust};
use tollgate_plugin::{Consumers, Credentials};

#[path = "token_cache/made_up.rs"]
mod made_up;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const TOKENS: usize = 1_000_000;

/// Number of tokens in use at a time if a few clients send most requests.
const HOT: usize = 4096;

const PASSES: usize = 5;

/// Environment variable that names the subject to the measuring process.
const SUBJECT: &str = "TOKEN_CACHE_SUBJECT";

fn main() {
    match env::var(SUBJECT).as_deref() {
        Ok("tollgate") => measure("tollgate", &Tollgate::new()),
        Ok(_) => measure("moka", &Moka::new()),
        Err(_) => {
            for subject in ["tollgate", "moka"] {
                let this = env::current_exe().expect("this file has a name");
                let status = Command::new(this).env(SUBJECT, subject).status().expect("it runs");
                assert!(status.success(), "{subject} was not measured");
            }
        }
    }
}

/// A subject.
trait Subject {
    fn fill(&self, tokens: &[Digest]);

    /// Looks up a token, which must be cached.
    fn present(&self, token: &Digest);

    /// The number of tokens and of evictions.
    fn count(&self) -> (usize, u64);
}

fn measure(name: &str, subject: &impl Subject) {
    let tokens: Vec<Digest> = (0..TOKENS).map(made_up::digest).collect();
    let mut random = 1;
    let uniform: Vec<u32> = (0..TOKENS).map(|_| drawn(&mut random, |unit| unit * TOKENS as f64)).collect();
    // The logarithm of the rank is uniform: Zipf's law with exponent 1.
    let hot: Vec<u32> = (0..TOKENS).map(|_| drawn(&mut random, |unit| (HOT as f64).powf(unit) - 1.0)).collect();

    let empty = resident();
    let started = Instant::now();
    subject.fill(&tokens);
    let filling = started.elapsed();
    let filled = resident() - empty;
    tokens.iter().for_each(|token| subject.present(token));
    let used = resident() - empty;
    let [uniform, hot] = [uniform, hot].map(|order| fastest(subject, &tokens, &order));

    assert_eq!(subject.count(), (TOKENS, 0), "all tokens are there and none was evicted");
    println!(
        "{name:<9} {TOKENS} tokens: {:.0} MiB, {} bytes each ({} before its first use); \
         look-up {uniform:.0} ns all over, {hot:.0} ns among {HOT} hot; filled in {:.1} s",
        used as f64 / f64::from(1 << 20),
        used / TOKENS,
        filled / TOKENS,
        filling.as_secs_f64(),
    );
}

/// Nanoseconds per look-up in the fastest pass.
fn fastest(subject: &impl Subject, tokens: &[Digest], order: &[u32]) -> f64 {
    let passes = (0..PASSES).map(|_| {
        let started = Instant::now();
        order.iter().for_each(|&index| subject.present(&tokens[index as usize]));
        started.elapsed().as_secs_f64() * 1e9 / order.len() as f64
    });
    passes.fold(f64::INFINITY, f64::min)
}

fn drawn(random: &mut u64, place: impl Fn(f64) -> f64) -> u32 {
    *random = made_up::scramble(*random);
    place((*random >> 11) as f64 / (1_u64 << 53) as f64) as u32
}

/// Resident memory of this process in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("this is Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a process has a size");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("it is a number") * 1024
}

struct Tollgate {
    cache: TokenCache,
    metrics: Metrics,
    runtime: tokio::runtime::Runtime,
}

/// A change feed that is always current.
struct UpToDate;

impl Trust for UpToDate {
    fn is_current(&self) -> bool {
        true
    }
}

impl Tollgate {
    fn new() -> Self {
        let weight = u64::from(ENTRY_BYTES) + made_up::userid(0).len() as u64;
        let bounds = Bounds { bytes: weight * TOKENS as u64, negative_millis: 5_000 };
        let people: Arc<dyn Collection> = Arc::new(made_up::People::new());
        let consumers = Consumers::new(Arc::clone(&people), Arc::new(UpToDate));
        let credentials = Credentials::new(people, "client_id", consumers);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let metrics = tollgate_plugin::Metrics::new(prometheus::Registry::new(), PREFIXES);
        let metrics = Metrics::register(&metrics).expect("the names are free");
        let source = TokenSource::new(Arc::new(made_up::Rows), credentials, Arc::clone(&clock));
        let cache = TokenCache::new(bounds, source, Arc::new(UpToDate), clock, metrics.cache.clone());
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime starts");
        Self { cache, metrics, runtime }
    }
}

impl Subject for Tollgate {
    fn fill(&self, tokens: &[Digest]) {
        self.runtime.block_on(async {
            for token in tokens {
                self.cache.load(*token, ()).await.expect("the store responds").expect("the token exists");
            }
        });
    }

    fn present(&self, token: &Digest) {
        match self.cache.get(token) {
            Some(Known::Fact(facts)) => drop(black_box(facts.userid())),
            _ => unreachable!("every token is cached"),
        }
    }

    fn count(&self) -> (usize, u64) {
        self.cache.measure();
        let metrics = &self.metrics.cache;
        (usize::try_from(metrics.entries.get()).unwrap_or_default(), metrics.evictions.get())
    }
}

struct Moka {
    cache: Cache<Digest, Arc<()>, BuildHasherDefault<HeadHasher>>,
    value: Arc<()>,
}

impl Moka {
    fn new() -> Self {
        let builder = Cache::builder().max_capacity(TOKENS as u64).weigher(|_, _| 1);
        Self { cache: builder.build_with_hasher(BuildHasherDefault::default()), value: Arc::default() }
    }
}

impl Subject for Moka {
    fn fill(&self, tokens: &[Digest]) {
        tokens.iter().for_each(|token| self.cache.insert(*token, Arc::clone(&self.value)));
    }

    fn present(&self, token: &Digest) {
        black_box(self.cache.get(token)).expect("every token is cached");
    }

    fn count(&self) -> (usize, u64) {
        let entries = usize::try_from(self.cache.entry_count()).unwrap_or_default();
        (entries, (TOKENS - entries) as u64)
    }
}
