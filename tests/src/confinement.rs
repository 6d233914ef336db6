//! Limits of a process: open files, a small disk, files and folders that cannot be written.
//!
//! Disks and read-only places are mounts that only the process sees, in a namespace of its own; they end with it. Root
//! could write files whatever their mode, but not these.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a process is confined to.
#[derive(Debug, Clone)]
pub enum Confinement {
    /// At most so many open files.
    OpenFiles(u32),
    /// A folder on a disk of its own, of so many KiB. Others see it through [`seen_by`].
    SmallDisk(PathBuf, u32),
    /// A file or folder that cannot be written, but for a file in it.
    ReadOnly(PathBuf, Option<PathBuf>),
}

impl Confinement {
    /// A command that runs a program so confined.
    pub fn command(&self, program: &Path) -> Command {
        let (mut command, prelude, places) = match self {
            Self::OpenFiles(limit) => (Command::new("sh"), format!("ulimit -n {limit}"), Vec::new()),
            Self::SmallDisk(folder, size) => {
                (in_namespace(), format!("mount -t tmpfs -o size={size}k none \"$1\""), vec![folder])
            }
            Self::ReadOnly(place, None) => (in_namespace(), READ_ONLY.to_owned(), vec![place]),
            Self::ReadOnly(place, Some(writable)) => {
                (in_namespace(), format!("mount --bind \"$2\" \"$2\" && {READ_ONLY}"), vec![place, writable])
            }
        };
        let script = format!("{prelude} && shift {} && exec \"$@\"", places.len());
        command.args(["-c", &script, "sh"]).args(places).arg(program);
        command
    }
}

/// Mounts below it stay as they are.
const READ_ONLY: &str = "mount --rbind \"$1\" \"$1\" && mount -o remount,bind,ro \"$1\"";

/// A shell with mounts of its own. Only root may have them without being root of its own.
fn in_namespace() -> Command {
    let mut command = Command::new("unshare");
    let is_root = fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
    command.args(if is_root { &["--mount", "--"][..] } else { &["--mount", "--map-root-user", "--"] }).arg("sh");
    command
}

/// A path as a process sees it.
pub fn seen_by(process: u32, path: &Path) -> PathBuf {
    let path = path.strip_prefix("/").unwrap_or(path);
    Path::new("/proc").join(process.to_string()).join("root").join(path)
}
