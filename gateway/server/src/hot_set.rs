//! What the caches of plugins hold, from one process to the one that takes its place: keys, which are digests, never
//! tokens or facts. The new process reads the facts from the store, in batches, and so knows them as they are then.

use std::time::Duration;

use futures::future::join_all;
use tollgate_core::plugin::CacheDigest;
use tollgate_core::registry::{Registered, Registry};

use crate::control::handover::MOST_KEYS;

/// How long the start waits until caches are warm; they go on to warm up afterwards.
const PATIENCE: Duration = Duration::from_secs(10);

const DIGEST: usize = size_of::<CacheDigest>();

/// The keys of all plugins. Where there are too many, each plugin has its share.
pub fn keys(registry: &Registry) -> Vec<u8> {
    let most = MOST_KEYS / DIGEST;
    let cached = registry.plugins().map(|registered| (registered.definition.name, registered.plugin.cached_keys(most)));
    let mut cached: Vec<_> = cached.filter(|(_, keys)| !keys.is_empty()).collect();
    let share = most.checked_div(cached.len()).unwrap_or_default();
    cached.iter_mut().for_each(|(_, keys)| keys.truncate(share.saturating_sub(2)));
    encode(cached)
}

/// For each plugin: the length of its name, its name, the number of its keys, its keys.
fn encode<'n>(cached: impl IntoIterator<Item = (&'n str, Vec<CacheDigest>)>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, keys) in cached {
        let (Ok(length), Ok(count)) = (u8::try_from(name.len()), u32::try_from(keys.len())) else { continue };
        bytes.push(length);
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(&count.to_be_bytes());
        bytes.extend(keys.into_iter().flatten());
    }
    bytes
}

/// What can be read; a process of another version may say less, or more.
fn decode(mut bytes: &[u8]) -> Vec<(String, Vec<CacheDigest>)> {
    let mut cached = Vec::new();
    while let Some((name, keys, rest)) = decode_one(bytes) {
        cached.push((name, keys));
        bytes = rest;
    }
    cached
}

fn decode_one(bytes: &[u8]) -> Option<(String, Vec<CacheDigest>, &[u8])> {
    let (length, rest) = bytes.split_first()?;
    let (name, rest) = rest.split_at_checked(usize::from(*length))?;
    let (count, rest) = rest.split_first_chunk()?;
    let count = usize::try_from(u32::from_be_bytes(*count)).ok()?;
    let (keys, rest) = rest.split_at_checked(count.checked_mul(DIGEST)?)?;
    let (keys, _) = keys.as_chunks();
    Some((String::from_utf8_lossy(name).into_owned(), keys.to_vec(), rest))
}

/// Reads what another process had cached.
pub async fn warm(registry: &Registry, keys: &[u8]) {
    let mut count = 0;
    let mut warming = Vec::new();
    for (name, keys) in decode(keys) {
        let Some(Registered { plugin, .. }) = registry.plugin(&name).cloned() else { continue };
        count += keys.len();
        warming.push(tokio::spawn(async move { plugin.warm(keys).await }));
    }
    let started = tokio::time::Instant::now();
    let is_warm = tokio::time::timeout(PATIENCE, join_all(warming)).await.is_ok();
    let millis = started.elapsed().as_millis();
    tracing::info!(keys = count, millis, is_warm, "read what the process before had cached");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_read_and_what_is_cut_off_is_left_out() {
        let all = vec![("oauth2", vec![[1; DIGEST], [2; DIGEST]]), ("key-auth", vec![[3; DIGEST]])];
        let bytes = encode(all.clone());
        let expected: Vec<_> = all.into_iter().map(|(name, keys)| (name.to_owned(), keys)).collect();
        assert_eq!(decode(&bytes), expected);
        for length in 0..bytes.len() {
            let read = decode(&bytes[..length]);
            assert!(read.len() < expected.len() && expected.starts_with(&read), "{length}");
        }
    }
}
