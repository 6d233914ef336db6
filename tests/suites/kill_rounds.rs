//! Processes that are killed in the middle of issuing, refreshing and redeeming: nothing that was answered 200 is lost,
//! and nothing is carried out twice. `./dev soak --rounds N` does the same for longer.

use tollgate_tests::Rounds;
use tollgate_tests::rounds::{ON_POSTGRES, Tally, Victim};

/// Rounds on PostgreSQL, and on SQLite.
const ROUNDS: (usize, usize) = (30, 10);

fn check(tally: &Tally, rounds: usize) {
    assert!(tally.violations.is_empty(), "{tally}:\n{}", tally.violations.join("\n"));
    // Each kind of request was under way.
    assert_eq!(tally.rounds, rounds);
    assert!(tally.issued > rounds && tally.refreshed > rounds && tally.redeemed > 0, "{tally}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_promised_is_lost_when_the_gateway_and_postgres_are_killed() {
    let mut rounds = Rounds::on_postgres(&[]).await;
    let tally = rounds.run(ROUNDS.0, &ON_POSTGRES, |_, _| {}).await;
    check(&tally, ROUNDS.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_promised_is_lost_when_a_gateway_on_sqlite_is_killed() {
    let mut rounds = Rounds::on_sqlite().await;
    let tally = rounds.run(ROUNDS.1, &[Victim::Gateway], |_, _| {}).await;
    check(&tally, ROUNDS.1);
}

/// That the rounds find losses: this server reports commits that a crash loses.
#[tokio::test(flavor = "multi_thread")]
async fn rounds_find_the_tokens_that_a_forgetful_store_lost() {
    let forgetful = ["synchronous_commit=off", "wal_writer_delay=10s"];
    let mut rounds = Rounds::on_postgres(&forgetful).await;
    let tally = rounds.run(2, &[Victim::Postgres], |_, _| {}).await;
    assert!(tally.violations.iter().any(|violation| violation.contains("that the client holds")), "{tally}");
}
