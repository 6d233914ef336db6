//! `exp`, `nbf` and `iat`, by the gateway's own clock.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_valid_from_nbf_up_to_exp_from_the_cache_too() {
    let world = World::new().await;
    world.protect("api", json!({})).await;
    let (nbf, exp) = (now() + 2, now() + 5);
    let token = world.token(json!({"nbf": nbf, "exp": exp}));
    let mut seen = Vec::new();
    until("the token's end", async || {
        let before = now();
        let reply = world.get("/api/x", &token).await;
        if reply.status != 200 {
            assert_eq!(whole(&reply), invalid());
        }
        // What the clock may have shown while it was judged.
        let valid: Vec<bool> = (before..=now()).map(|second| (nbf..exp).contains(&second)).collect();
        assert!(valid.contains(&(reply.status == 200)), "{} at {before}, valid from {nbf} to {exp}", reply.status);
        if seen.last() != Some(&reply.status) {
            seen.push(reply.status);
        }
        seen.len() == 3
    })
    .await;
    assert_eq!((seen, world.verified().await), (vec![401, 200, 401], 1.0));
    assert!(world.lookups("expired").await >= 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn clocks_may_differ_by_the_configured_seconds() {
    let world = World::new().await;
    world.protect("exact", json!({})).await;
    world.protect("skewed", json!({"clock_skew": 300})).await;
    let now = now();
    let mut findings = Findings::new();
    for (claims, exact, skewed) in [
        (json!({"exp": now + 100}), 200, 200),
        (json!({"exp": now}), 401, 200),
        (json!({"exp": now - 200}), 401, 200),
        (json!({"exp": now - 301}), 401, 401),
        (json!({"nbf": now - 1}), 200, 200),
        (json!({"nbf": now + 100}), 401, 200),
        (json!({"nbf": now + 1000}), 401, 401),
        (json!({"iat": now - 1}), 200, 200),
        (json!({"iat": now + 100}), 401, 200),
        (json!({"iat": now + 1000}), 401, 401),
        (json!({"exp": null}), 401, 401),
        (json!({"exp": (now + 100).to_string()}), 401, 401),
        (json!({"exp": 1e300, "iat": null}), 200, 200),
        (json!({"exp": -1}), 401, 401),
    ] {
        let token = world.token(claims.clone());
        let got = [world.get("/exact/x", &token).await.status, world.get("/skewed/x", &token).await.status];
        findings.compare(&claims.to_string(), &[exact, skewed], &got);
    }
}
