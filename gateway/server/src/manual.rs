//! What packages contain besides the program, made from its command line: man pages, and completions of shells.

use std::path::Path;
use std::{fs, io};

use clap::{Command, CommandFactory as _};
use clap_complete::Shell;
use clap_mangen::Man;

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
    let mut program = Cli::command().version(build_info::THIS.version).disable_help_subcommand(true);
    program.build();
    write_page(&program, folder)
}

/// The page of a command, and those of the commands below it.
fn write_page(command: &Command, folder: &Path) -> io::Result<()> {
    let page = Man::new(command.clone());
    let mut rendered = Vec::new();
    page.render(&mut rendered)?;
    // The crate leaves an empty date out, so that what follows it would be taken for one.
    let title = command.get_display_name().unwrap_or_else(|| command.get_name());
    let heading = format!(".TH {} 1 \"\" \"Tollgate {}\" \"Tollgate\"", title.to_uppercase(), build_info::THIS.version);
    let rendered = String::from_utf8_lossy(&rendered).into_owned();
    let lines = rendered.lines().map(|line| if line.starts_with(".TH ") { heading.as_str() } else { line });
    let text = lines.collect::<Vec<_>>().join("\n") + "\n";
    fs::write(folder.join(page.get_filename()), text)?;
    command.get_subcommands().filter(|below| !below.is_hide_set()).try_for_each(|below| write_page(below, folder))
}
