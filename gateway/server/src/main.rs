//! The `tollgate` binary: the command line.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser as _;
use tollgate::app::Checked;
use tollgate::app::configuration::{self, Output};
use tollgate::check::{Reach, with_causes};
use tollgate::cli::{AdminRole, AdminTokenStep, Cli, Command, ConfigStep, MigrateStep, SettingsArgs};
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
        Command::Run { settings, migrate } => with_settings(&settings, |settings| {
            let policy = if migrate { app::Migration::First } else { app::Migration::Embedded };
            finish(app::run(&settings, policy))
        }),
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
