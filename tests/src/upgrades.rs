//! A gateway under load whose settings are read again and whose process is replaced, over and over.

mod load;

use std::time::Duration;

use crate::Gateway;

use load::Load;
pub use load::{Amount, Served};

/// How often a gateway's settings are read again before each upgrade.
pub const RELOADS: usize = 4;

/// How long a process that has been replaced may take to end once it has no connections.
const ENDED: Duration = Duration::from_secs(20);

/// Replaces the process so many times, each time after four reloads that change something, while clients of every kind
/// never pause; what came of their requests. The gateway is started with the settings that it needs for this.
pub async fn under_load(
    start: impl AsyncFnOnce(&[(&str, &str)]) -> Gateway,
    upgrades: usize,
    amount: Amount,
) -> Served {
    let settings = tempfile::NamedTempFile::new().expect("a file");
    let path = settings.path().to_str().expect("text").to_owned();
    let plenty = ("TOLLGATE_LIMITS_CONNECTIONS_PER_ADDRESS", "0");
    let mut gateway = start(&[("TOLLGATE_CONFIG", &path), plenty]).await;
    let first = gateway.process_id();
    let load = Load::on(&gateway, amount).await;
    for _ in 0..upgrades {
        for turn in 0..RELOADS {
            std::fs::write(settings.path(), format!("proxy: {{read_timeout: 5{turn}s}}\n")).expect("written");
            let (done, said) = tokio::task::block_in_place(|| gateway.tool(&["reload"]));
            assert!(done && said == "Changed: proxy.read_timeout.\n", "{said}");
            load.next_of_each().await;
        }
        tokio::task::block_in_place(|| gateway.upgrade());
        load.next_of_each().await;
    }
    assert_ne!(gateway.serving_process_id(), first);
    let served = load.end().await;
    // Without connections it ends, long before its limit.
    assert_eq!(gateway.ended_within(ENDED).await.code(), Some(0), "{}", gateway.output());
    served
}
