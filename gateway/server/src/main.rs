//! The `tollgate` binary: the command line.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use tollgate::cli::{AdminRole, AdminTokenStep, Cli, Command, MigrateStep, SettingsArgs};
use tollgate::settings::{SETTINGS, Settings};
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
        Command::Check { settings } => with_settings(&settings, |settings| report(app::check(&settings))),
        Command::Migrate { step: MigrateStep::Up { settings } } => {
            with_settings(&settings, |settings| report(app::migrate_up(&settings)))
        }
        Command::Migrate { step: MigrateStep::Status { settings } } => {
            with_settings(&settings, |settings| report(app::migrate_status(&settings)))
        }
        Command::AdminToken { step } => admin_token(step),
        Command::Settings => say(&list_settings()),
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
        Err(error) => {
            let mut text = error.to_string();
            let mut cause = std::error::Error::source(&error);
            while let Some(error) = cause {
                let more = error.to_string();
                if !text.contains(&more) {
                    text = format!("{text}: {more}");
                }
                cause = error.source();
            }
            complain(&text);
            ExitCode::FAILURE
        }
    }
}

fn list_settings() -> String {
    let rows = SETTINGS.iter().map(|setting| {
        let default = if setting.default.is_empty() { "(not set)" } else { setting.default };
        format!(
            "{}\n  {}\n  default {default}, environment {}",
            setting.path,
            setting.about,
            setting.environment_name()
        )
    });
    rows.collect::<Vec<_>>().join("\n")
}

/// A closed standard output (`tollgate settings | head`) is not a failure.
fn say(text: &str) -> ExitCode {
    let _closed = writeln!(std::io::stdout(), "{text}");
    ExitCode::SUCCESS
}

fn complain(problem: &impl std::fmt::Display) {
    let _closed = writeln!(std::io::stderr(), "tollgate: {problem}");
}
