//! The `tollgate` binary: the command line.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser as _;
use tollgate::app::Checked;
use tollgate::app::configuration::{self, Output};
use tollgate::check::{Reach, with_causes};
use tollgate::cli::{AdminRole, AdminTokenStep, Cli, Command, ConfigStep, MigrateStep, SettingsArgs};
use tollgate::control::client::{self, Command as Order};
use tollgate::explain::command::Question;
use tollgate::health;
use tollgate::manual;
use tollgate::settings::{Settings, listing};
use tollgate::{admin_tokens, app};

// Measured against the system allocator on the proxy path: see docs/performance.md.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run { settings: arguments, migrate, take_over } => with_settings(&arguments, |settings| {
            let migration = if migrate { app::Migration::First } else { app::Migration::Embedded };
            let entry = if take_over { app::Entry::TakesOver } else { app::Entry::First };
            finish(app::run(&settings, &app::Start { arguments: &arguments, migration, entry }))
        }),
        Command::Reload { settings } => order(&settings, &Order::Reload),
        Command::Quit { settings } => order(&settings, &Order::Quit),
        Command::Upgrade { executable, settings } => match executable.map_or_else(this_executable, std::path::absolute)
        {
            Ok(executable) => order(&settings, &Order::Upgrade(executable)),
            Err(error) => {
                complain(&format!("cannot tell which executable to start: {error}; name it with --executable"));
                ExitCode::FAILURE
            }
        },
        Command::Check { settings, online, offline: _ } => with_settings(&settings, |settings| {
            let reach = if online { Reach::Online } else { Reach::Offline };
            match app::check(&settings, reach) {
                Ok(Checked { problems, mut remarks }) if problems.is_empty() => {
                    remarks.push("The settings are valid.".to_owned());
                    say(&remarks.join("\n"))
                }
                Ok(Checked { problems, remarks }) => {
                    remarks.iter().chain(&problems).for_each(complain);
                    ExitCode::FAILURE
                }
                Err(error) => finish(Err(error)),
            }
        }),
        Command::Migrate { step: MigrateStep::Up { settings } } => {
            with_settings(&settings, |settings| report(app::migrate_up(&settings)))
        }
        Command::Migrate { step: MigrateStep::Status { settings } } => {
            with_settings(&settings, |settings| report(app::migrate_status(&settings)))
        }
        Command::AdminToken { step } => admin_token(step),
        Command::Config { step } => config(step),
        Command::Explain { route, admin, admin_ca, admin_token_file, json, settings } => {
            let question = Question { route, admin, authorities: admin_ca, admin_token: admin_token_file, json };
            with_settings(&settings, |settings| report(app::explain(&settings, &question)))
        }
        Command::Health { alive, settings } => {
            let question = if alive { health::Question::Alive } else { health::Question::Ready };
            with_settings(&settings, |settings| report(app::health(&settings, question)))
        }
        Command::Completions { shell } => say(&manual::completions(shell)),
        Command::ManPages { folder } => man_pages(&folder),
        Command::Settings { settings } => match app::layers(&settings) {
            Ok(layers) => {
                layers.problems.iter().for_each(complain);
                say(&listing::of(&layers))
            }
            Err(problem) => {
                complain(&problem);
                ExitCode::FAILURE
            }
        },
    }
}

fn man_pages(folder: &Path) -> ExitCode {
    match manual::write_pages(folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("cannot write man pages into {}: {error}", folder.display()));
            ExitCode::FAILURE
        }
    }
}

/// Has the running gateway do something. Of the settings, only the data directory is needed: it is for the running gateway
/// to say what is wrong with the others.
fn order(arguments: &SettingsArgs, order: &Order) -> ExitCode {
    let directory = match app::data_directory_of(arguments) {
        Ok(directory) => directory,
        Err(problem) => {
            complain(&problem);
            return ExitCode::FAILURE;
        }
    };
    match client::send(&directory, order) {
        Ok(said) => {
            said.faults.iter().for_each(complain);
            if !said.lines.is_empty() {
                say(&said.lines.join("\n"));
            }
            if said.faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            complain(&with_causes(&error));
            ExitCode::FAILURE
        }
    }
}

/// The executable of this command, as it was called if that is a path: a link leads to the newest one.
fn this_executable() -> std::io::Result<PathBuf> {
    match std::env::args_os().next().map(PathBuf::from) {
        Some(called) if called.components().count() > 1 => std::path::absolute(called),
        _ => std::env::current_exe(),
    }
}

fn config(step: ConfigStep) -> ExitCode {
    match step {
        ConfigStep::Validate { file, settings } => {
            with_settings(&settings, |settings| report(configuration::validate(&settings, &file)))
        }
        ConfigStep::Import { file, settings } => {
            with_settings(&settings, |settings| report(configuration::import(&settings, &file)))
        }
        ConfigStep::Export { output, settings } => with_settings(&settings, |settings| {
            let output = output.as_deref().map_or(Output::Text, Output::File);
            report(configuration::export(&settings, output))
        }),
    }
}

fn admin_token(step: AdminTokenStep) -> ExitCode {
    let (settings, step) = match step {
        AdminTokenStep::Create { name, role, settings } => {
            let role = match role {
                AdminRole::Read => tollgate_admin::Role::Read,
                AdminRole::Write => tollgate_admin::Role::Write,
            };
            (settings, admin_tokens::Step::Create { name, role })
        }
        AdminTokenStep::List { settings } => (settings, admin_tokens::Step::List),
        AdminTokenStep::Revoke { name, settings } => (settings, admin_tokens::Step::Revoke { name }),
    };
    with_settings(&settings, |settings| report(app::admin_token(&settings, step)))
}

fn with_settings(arguments: &SettingsArgs, run: impl FnOnce(Settings) -> ExitCode) -> ExitCode {
    match app::load_settings(arguments) {
        Ok(settings) => run(settings),
        Err(problems) => {
            for problem in &problems {
                complain(problem);
            }
            ExitCode::FAILURE
        }
    }
}

fn report(result: Result<String, app::StartError>) -> ExitCode {
    match result {
        Ok(text) => say(&text),
        Err(error) => finish(Err(error)),
    }
}

fn finish(result: Result<(), app::StartError>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(app::StartError::Declarative(error)) => {
            error.lines().iter().for_each(complain);
            ExitCode::FAILURE
        }
        Err(error) => {
            complain(&with_causes(&error));
            ExitCode::FAILURE
        }
    }
}

/// A closed standard output (`tollgate settings | head`) is not a failure.
fn say(text: &str) -> ExitCode {
    let _closed = writeln!(std::io::stdout(), "{text}");
    ExitCode::SUCCESS
}

fn complain(problem: &impl std::fmt::Display) {
    let _closed = writeln!(std::io::stderr(), "tollgate: {problem}");
}
