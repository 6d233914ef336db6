//! Restarts of one node: after SIGTERM, and after SIGKILL, in turn.

use std::rc::Rc;
use std::time::{Duration, Instant};

use tollgate_tests::Gateway;

use crate::load::Shared;

/// Restarts in a run.
const COUNT: u32 = 8;

/// The shortest time between two.
const LEAST: Duration = Duration::from_secs(10);

/// How long a node may take to exit after SIGTERM.
const EXIT: Duration = Duration::from_secs(15);

/// Restarts the node until the load ends, and returns it.
pub(crate) async fn run(shared: Rc<Shared>, mut gateway: Gateway, duration: Duration) -> Gateway {
    let every = (duration / COUNT).max(LEAST);
    let [_, node] = &shared.nodes;
    for turn in 0_usize.. {
        let at = Instant::now() + every;
        while Instant::now() < at && !shared.has_ended() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        if shared.has_ended() {
            break;
        }
        node.turn();
        if turn % 2 == 0 {
            gateway.ask_to_end();
            gateway.ended_within(EXIT).await;
            shared.count(|load| load.restarts += 1);
        } else {
            gateway.kill();
            shared.count(|load| load.kills += 1);
        }
        gateway.start_again().await;
        node.turn();
    }
    gateway
}
