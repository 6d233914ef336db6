//! The gateway's process: started, awaited and ended.

use std::error::Error;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tollgate_quickstart::certificate::KeptCertificate;
use tollgate_quickstart::{Gateway, gateway};

use crate::{Arguments, loopback};

const READY_WITHIN: Duration = Duration::from_secs(30);
/// How long the gateway may take to exit after SIGTERM.
const GRACE: Duration = Duration::from_secs(10);

/// Starts the gateway on the embedded store, with its output in a file beside the store. It has its own process
/// group: Ctrl-C in the terminal reaches only this program, which then stops the gateway.
pub(crate) fn start(arguments: &Arguments, certificate: &KeptCertificate) -> Result<Child, Box<dyn Error>> {
    let binary = match &arguments.gateway {
        Some(binary) => binary.clone(),
        None => std::env::current_exe()?.with_file_name("tollgate"),
    };
    let data = std::path::absolute(arguments.folder())?;
    let database = data.join("tollgate.db");
    let log = std::fs::File::create(data.join("gateway.log"))?;
    let mut command = Command::new(&binary);
    command
        .args(["run", "--migrate"])
        .process_group(0)
        .kill_on_drop(true)
        .env("TOLLGATE_DATA_DIRECTORY", &data)
        .env("TOLLGATE_PROXY_HTTP_LISTEN", loopback(arguments.proxy_http).to_string())
        .env("TOLLGATE_PROXY_HTTPS_LISTEN", loopback(arguments.proxy_https).to_string())
        .env("TOLLGATE_ADMIN_LISTEN", loopback(arguments.admin).to_string())
        .env("TOLLGATE_ADMIN_UI", "on")
        .env("TOLLGATE_STATUS_LISTEN", loopback(arguments.status).to_string())
        .env("TOLLGATE_DATABASE_URL", format!("sqlite:{}", database.display()))
        .env("TOLLGATE_TLS_CERTIFICATE", std::path::absolute(&certificate.certificate_file)?)
        .env("TOLLGATE_TLS_KEY", std::path::absolute(&certificate.key_file)?)
        .stdout(log.try_clone()?)
        .stderr(log);
    command.spawn().map_err(|error| format!("cannot start {}: {error}", binary.display()).into())
}

/// Waits until the gateway is ready; fails if it exits first.
pub(crate) async fn wait_for(gateway: &Gateway, process: &mut Child) -> Result<(), Box<dyn Error>> {
    let ready = gateway.ready_within(READY_WITHIN);
    tokio::pin!(ready);
    loop {
        tokio::select! {
            outcome = &mut ready => {
                outcome.map_err(|error: gateway::Error| format!("{error}; see gateway.log in the data folder"))?;
                // Another gateway may have responded on these ports while ours exited.
                return match process.try_wait()? {
                    None => Ok(()),
                    Some(status) => Err(format!("the gateway exited ({status}); see gateway.log in the data folder").into()),
                };
            }
            () = tokio::time::sleep(Duration::from_millis(100)) => {
                if let Some(status) = process.try_wait()? {
                    return Err(format!("the gateway exited ({status}); see gateway.log in the data folder").into());
                }
            }
        }
    }
}

/// Sends SIGTERM to the gateway, and SIGKILL if it does not exit in time.
pub(crate) async fn end(mut process: Child) -> std::io::Result<()> {
    if let Some(id) = process.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)) {
        kill_process(id, Signal::TERM)?;
    }
    match tokio::time::timeout(GRACE, process.wait()).await {
        Ok(ended) => ended.map(drop),
        Err(_) => process.kill().await,
    }
}
