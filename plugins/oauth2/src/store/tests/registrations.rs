//! The rules of registrations.

use super::*;
use crate::store::registrations::{self, Quota, Registration};

fn registration(credential_id: Uuid, plugin_id: Uuid) -> Registration {
    Registration {
        credential_id,
        plugin_id,
        access_token: random(),
        network: Digest([1; 32]),
        metadata: "{}".to_owned(),
        created_at: NOW,
        unused_after: NOW + 100,
    }
}

pub(super) async fn a_quota_is_never_exceeded(fixture: Fixture) {
    let rows = registrations::open(&fixture.store);
    let plugin = put(&fixture.plugins, json!({"name": "oauth2"})).await;
    let add = async |network: u8, quota: Quota| {
        let registration = Registration { network: Digest([network; 32]), ..registration(SystemRandom.uuid(), plugin) };
        rows.insert_registration(registration, quota).await.unwrap()
    };
    let quota = Quota { total: 5, per_network: 3, since: NOW - 1 };
    let added = join_all((0..20).map(|_| add(1, quota))).await;
    assert_eq!(won(&added), 3, "of one network");
    let added = join_all((0..20).map(|_| add(2, quota))).await;
    assert_eq!(won(&added), 2, "in all");
    assert_eq!(add(1, Quota { total: 9, ..quota }).await, Outcome::Lost);
    assert_eq!(add(1, Quota { total: 9, per_network: 3, since: NOW }).await, Outcome::Won(()), "a day later");
    let nowhere = rows.insert_registration(registration(SystemRandom.uuid(), Uuid::nil()), quota).await.unwrap();
    assert_eq!(nowhere, Outcome::Lost, "without the plugin");
}

pub(super) async fn registrations_without_tokens_are_found_after_their_time(fixture: Fixture) {
    let rows = registrations::open(&fixture.store);
    let plugin = put(&fixture.plugins, json!({"name": "oauth2"})).await;
    let quota = Quota { total: 5, per_network: 5, since: NOW };
    let (used, orphan) = (registration(fixture.credential, plugin), registration(SystemRandom.uuid(), plugin));
    for registration in [&used, &orphan] {
        assert_eq!(rows.insert_registration(registration.clone(), quota).await.unwrap(), Outcome::Won(()));
    }
    fixture.stored().await;
    assert_eq!(rows.find_unused(NOW + 100, 9).await.unwrap(), [] as [Uuid; 0]);
    assert_eq!(rows.find_unused(NOW + 101, 9).await.unwrap(), [orphan.credential_id]);
    rows.delete_registration(orphan.credential_id).await.unwrap();
    assert_eq!(rows.find_unused(NOW + 101, 9).await.unwrap(), [] as [Uuid; 0]);
    let changed = rows.update_registration(used.credential_id, "{\"a\":1}".to_owned()).await.unwrap();
    assert_eq!(changed, Outcome::Won(()));
    let expected = Registration { metadata: "{\"a\":1}".to_owned(), ..used.clone() };
    assert_eq!(rows.find_registration(used.credential_id).await.unwrap(), Some(expected));
    assert!(fixture.credentials.delete(&Key::Id(fixture.credential)).await.unwrap());
    assert_eq!(rows.find_registration(used.credential_id).await.unwrap(), None);
    assert_eq!(rows.update_registration(used.credential_id, "{}".to_owned()).await.unwrap(), Outcome::Lost);
}
