//! The rules of signing keys.

use super::*;
use crate::store::signing_keys::{self, KeyRow};

fn key(generation: i64) -> KeyRow {
    KeyRow {
        id: SystemRandom.uuid(),
        key_id: SystemRandom.alphanumeric(32),
        generation,
        algorithm: "ES256".to_owned(),
        sealed: vec![1, 2, 3],
        created_at: NOW,
        active_from: NOW,
        covers: NOW,
    }
}

pub(super) async fn a_key_is_added_once_after_the_newest(fixture: Fixture) {
    let keys = signing_keys::open(&fixture.store);
    let first = join_all((0..10).map(|_| keys.insert_key(0, key(1)))).await;
    assert_eq!(won(&first.into_iter().map(Result::unwrap).collect::<Vec<_>>()), 1);
    assert_eq!(keys.insert_key(0, key(1)).await.unwrap(), Outcome::Lost);
    let second = key(2);
    assert_eq!(keys.insert_key(1, second.clone()).await.unwrap(), Outcome::Won(()));
    let all = keys.find_keys().await.unwrap();
    assert_eq!((all.len(), &all[1]), (2, &second));
    assert_eq!(keys.delete_key(all[0].id).await.unwrap(), Outcome::Won(()));
    assert_eq!(keys.delete_key(all[0].id).await.unwrap(), Outcome::Lost);
    assert_eq!(keys.find_keys().await.unwrap(), [second]);
}

pub(super) async fn a_key_stays_while_it_covers_a_token(fixture: Fixture) {
    let keys = signing_keys::open(&fixture.store);
    let far = i64::from(u32::MAX);
    let (old, new) = (key(1), key(2));
    keys.insert_key(0, old.clone()).await.unwrap();
    let sweep = || fixture.store.clean_now(&signing_keys::SWEEP);
    assert_eq!(sweep().await.unwrap(), 0, "it is the newest");
    keys.insert_key(1, KeyRow { active_from: far, ..new.clone() }).await.unwrap();
    assert_eq!(sweep().await.unwrap(), 0, "the next one does not sign yet");
    keys.insert_key(2, key(3)).await.unwrap();
    assert_eq!(keys.cover(old.key_id.clone(), far).await.unwrap(), Outcome::Won(far));
    assert_eq!(keys.cover(old.key_id.clone(), NOW).await.unwrap(), Outcome::Won(far), "never less");
    assert_eq!(sweep().await.unwrap(), 1, "the second has signed nothing that lives");
    assert_eq!(keys.find_keys().await.unwrap().len(), 2);
    assert_eq!(keys.cover(new.key_id, far).await.unwrap(), Outcome::Lost);
}
