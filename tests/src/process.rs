//! A child process that ends with its owner.

use std::io;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long a process may take to exit after SIGTERM.
const GRACE: Duration = Duration::from_secs(10);

/// A running process. Dropping it sends SIGTERM, and SIGKILL if it does not exit in time.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts it in its own process group: Ctrl-C in the terminal reaches only its owner, which then
    /// stops it.
    pub fn start(command: &mut Command) -> io::Result<Self> {
        use std::os::unix::process::CommandExt;
        Ok(Self { child: command.process_group(0).spawn()? })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its standard output, if that is a pipe; once.
    pub fn output(&mut self) -> Option<std::process::ChildStdout> {
        self.child.stdout.take()
    }

    /// Its exit status, if it has exited.
    pub fn ended(&mut self) -> io::Result<Option<std::process::ExitStatus>> {
        self.child.try_wait()
    }

    /// Its standard input, if that is a pipe; once.
    pub fn input(&mut self) -> Option<std::process::ChildStdin> {
        self.child.stdin.take()
    }

    /// Waits until it exits, for so long at most; `None`: it has not.
    pub fn ends_within(&mut self, limit: Duration) -> io::Result<Option<std::process::ExitStatus>> {
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                return Ok(Some(status));
            }
            thread::sleep(Duration::from_millis(10));
        }
        self.child.try_wait()
    }

    /// Sends SIGTERM without waiting. The process must not have exited yet.
    pub fn ask_to_end(&self) -> io::Result<()> {
        self.signal(Signal::TERM)
    }

    /// Sends SIGINT, as Ctrl-C does. The process must not have exited yet.
    pub fn interrupt(&self) -> io::Result<()> {
        self.signal(Signal::INT)
    }

    /// Sends SIGKILL and waits for it to exit; does nothing if it has exited already.
    pub fn kill(&mut self) -> io::Result<std::process::ExitStatus> {
        if self.child.try_wait()?.is_none() {
            self.child.kill()?;
        }
        self.child.wait()
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) else { return Ok(()) };
        Ok(kill_process(pid, signal)?)
    }

    /// Stops it and waits for it to exit; does nothing if it has exited already.
    pub fn stop(&mut self) -> io::Result<std::process::ExitStatus> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(status);
        }
        self.ask_to_end()?;
        if let Some(status) = self.ends_within(GRACE)? {
            return Ok(status);
        }
        self.child.kill()?;
        self.child.wait()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Drop cannot report an error.
        let _ = self.stop();
    }
}

/// A process that another than the test has started, by its id.
#[derive(Debug)]
pub struct Orphan(pub u32);

impl Orphan {
    /// Sends it SIGTERM, and SIGKILL if it does not end in time.
    pub fn stop(&self) {
        let Some(pid) = i32::try_from(self.0).ok().and_then(Pid::from_raw) else { return };
        let deadline = Instant::now() + GRACE;
        let _gone = kill_process(pid, Signal::TERM);
        while self.runs() {
            if Instant::now() >= deadline {
                let _gone = kill_process(pid, Signal::KILL);
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Whether it has not ended, even if nobody has asked how.
    pub fn runs(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0)).unwrap_or_default();
        let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
        state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_terminated_by_sigterm() {
        let mut process = Process::start(Command::new("sleep").arg("600")).unwrap();
        assert!(process.ended().unwrap().is_none());
        let status = process.stop().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(Signal::TERM.as_raw()));
        assert_eq!(process.stop().unwrap(), status);
    }
}
