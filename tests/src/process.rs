//! A child process that ends with its owner.

use std::io;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long a process may take to end by itself.
const GRACE: Duration = Duration::from_secs(10);

/// A running process: asked to end (SIGTERM) when dropped, and ended (SIGKILL) when it does not.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts it, in a process group of its own: a Ctrl-C in the terminal reaches its owner alone,
    /// who then ends it in order.
    pub fn start(command: &mut Command) -> io::Result<Self> {
        use std::os::unix::process::CommandExt;
        Ok(Self { child: command.process_group(0).spawn()? })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> io::Result<Option<std::process::ExitStatus>> {
        self.child.try_wait()
    }

    /// Asks it to end (SIGTERM), and does not wait for that. It must not have ended yet.
    pub fn ask_to_end(&self) -> io::Result<()> {
        self.signal(Signal::TERM)
    }

    /// Asks it to end at once (SIGINT), as Ctrl-C does. It must not have ended yet.
    pub fn interrupt(&self) -> io::Result<()> {
        self.signal(Signal::INT)
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) else { return Ok(()) };
        Ok(kill_process(pid, signal)?)
    }

    /// Ends it and waits for that; nothing happens when it has ended already.
    pub fn stop(&mut self) -> io::Result<std::process::ExitStatus> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(status);
        }
        self.ask_to_end()?;
        let deadline = Instant::now() + GRACE;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            thread::sleep(Duration::from_millis(10));
        }
        self.child.kill()?;
        self.child.wait()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nobody is left to be told.
        let _ = self.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_asked_to_end() {
        let mut process = Process::start(Command::new("sleep").arg("600")).unwrap();
        assert!(process.ended().unwrap().is_none());
        let status = process.stop().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(Signal::TERM.as_raw()));
        assert_eq!(process.stop().unwrap(), status);
    }
}
