//! What packages contain besides the program, made from its command line: man pages, and completions of shells.

use std::io;
use std::path::Path;

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::build_info;
use crate::cli::Cli;

/// A shell's script that completes commands and options.
pub fn completions(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "tollgate", &mut script);
    String::from_utf8_lossy(&script).trim_end().to_owned()
}

/// Writes a man page for the program, and one for each command, into `folder`. They name the version alone: what a
/// program was built with differs from build to build.
///
/// # Errors
/// A page cannot be written.
pub fn write_pages(folder: &Path) -> io::Result<()> {
    let program = Cli::command().version(build_info::THIS.version).disable_help_subcommand(true);
    clap_mangen::generate_to(program, folder)
}
