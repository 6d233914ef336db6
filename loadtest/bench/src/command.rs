//! Programs that run to completion.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::error::{Error, Result};

/// Runs a program and returns its output. It is killed with its caller, or at the time limit.
pub async fn run(words: &[String], limit: Duration) -> Result<String> {
    let program = words.join(" ");
    let [name, arguments @ ..] = words else { return Ok(String::new()) };
    let mut command = Command::new(name);
    command.args(arguments).current_dir("/").stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(limit, command.output()).await.map_err(|_| Error::Failed {
        program: program.clone(),
        said: format!("no output for {} seconds", limit.as_secs()),
    })?;
    let output = output.map_err(Error::system(format!("cannot run {name}")))?;
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() { Ok(said) } else { Err(Error::Failed { program, said }) }
}
