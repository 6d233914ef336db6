//! The command line.

use std::path::PathBuf;
use std::sync::LazyLock;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::build_info;

/// The output of `tollgate --version` after the name.
static VERSION: LazyLock<String> = LazyLock::new(|| build_info::THIS.to_string());

/// An OAuth2 edge gateway: authorization server and token guard in front of your APIs.
#[derive(Debug, Parser)]
#[command(name = "tollgate", version = VERSION.as_str(), about, max_term_width = 100)]
pub struct Cli {
    /// The command line arguments.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the gateway.
    Run {
        /// Where the settings come from.
        #[command(flatten)]
        settings: SettingsArgs,
        /// Migrate the database first. An embedded one is always migrated.
        #[arg(long)]
        migrate: bool,
        /// Take the listeners over from the gateway that runs with the same data directory, and have it drain, once this
        /// one is ready. `tollgate upgrade` does all that.
        #[arg(long)]
        take_over: bool,
    },
    /// Have the running gateway read its settings and files again; say what has changed, and what needs a restart. SIGHUP
    /// does the same.
    Reload {
        /// Where the settings come from; only the data directory counts.
        #[command(flatten)]
        settings: SettingsArgs,
    },
    /// Have the running gateway finish its requests and end, and wait for that. SIGTERM does the same.
    Quit {
        /// Where the settings come from; only the data directory counts.
        #[command(flatten)]
        settings: SettingsArgs,
    },
    /// Have a new process take the place of the running gateway, with its arguments and environment, without losing a
    /// request. If it cannot start, nothing changes.
    Upgrade {
        /// The executable; by default the one of this command.
        #[arg(long, value_name = "FILE")]
        executable: Option<PathBuf>,
        /// Where the settings come from; only the data directory counts.
        #[command(flatten)]
        settings: SettingsArgs,
    },
    /// Check the settings and the files that they name, and report every problem with its place; exit 1 if there is
    /// any.
    Check {
        /// Try the database, the services' hosts and the servers in plugins' configurations, too.
        #[arg(long)]
        online: bool,
        /// Try nothing on other machines; the default.
        #[arg(long, conflicts_with = "online")]
        offline: bool,
        /// Where the settings come from.
        #[command(flatten)]
        settings: SettingsArgs,
    },
    /// Migrate the database.
    Migrate {
        /// The step.
        #[command(subcommand)]
        step: MigrateStep,
    },
    /// Make, list or revoke tokens for the Admin API; they count where `admin.auth` is `tokens`.
    AdminToken {
        /// The step.
        #[command(subcommand)]
        step: AdminTokenStep,
    },
    /// Check, import or export files with the configuration: services, routes, plugins, consumers and all else.
    Config {
        /// The step.
        #[command(subcommand)]
        step: ConfigStep,
    },
    /// Say what becomes of a token, read from standard input, on a route of a running node: each check with its
    /// verdict.
    Explain {
        /// The route's name or id.
        #[arg(long)]
        route: String,
        /// The node's Admin API; by default where the settings say.
        #[arg(long, value_name = "URL")]
        admin: Option<String>,
        /// The authorities of its certificate, in PEM; by default `admin.tls.certificate` itself.
        #[arg(long, value_name = "FILE")]
        admin_ca: Option<PathBuf>,
        /// A file with an admin token, where `admin.auth` is `tokens`; the role `read` is enough.
        #[arg(long, value_name = "FILE")]
        admin_token_file: Option<PathBuf>,
        /// Print the explanation as JSON.
        #[arg(long)]
        json: bool,
        /// Where the settings come from.
        #[command(flatten)]
        settings: SettingsArgs,
    },
    /// Ask the node on this machine, at `status.listen`, whether it is ready; exit 1 if it is not.
    Health {
        /// Ask only whether its process responds.
        #[arg(long)]
        alive: bool,
        /// Where the settings come from.
        #[command(flatten)]
        settings: SettingsArgs,
    },
    /// List every setting with its value, where that comes from, its environment name and its default.
    Settings {
        /// Where the settings come from.
        #[command(flatten)]
        settings: SettingsArgs,
    },
    /// Print a script with which a shell completes commands and options.
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Write man pages into a folder, for packages.
    #[command(hide = true)]
    ManPages {
        /// The folder; it must exist.
        folder: PathBuf,
    },
}

/// Steps of a migration.
#[derive(Debug, Subcommand)]
pub enum MigrateStep {
    /// Apply pending migrations.
    Up {
        /// Where the settings come from.
        #[command(flatten)]
        settings: SettingsArgs,
    },
    /// Show applied and pending migrations.
    Status {
        /// Where the settings come from.
        #[command(flatten)]
        settings: SettingsArgs,
    },
}

/// What happens to files with the configuration. They are YAML or JSON, in the format that decK writes.
#[derive(Debug, Subcommand)]
pub enum ConfigStep {
    /// Check a file, without a database, and report every fault with line and column; exit 1 if there is any.
    Validate {
        /// The file.
        file: PathBuf,
        /// Where the settings come from.
        #[command(flatten)]
        settings: SettingsArgs,
    },
    /// Take a file into the database, all of it or nothing: entities with the same ids are replaced, others stay.
    Import {
        /// The file.
        file: PathBuf,
        /// Where the settings come from.
        #[command(flatten)]
        settings: SettingsArgs,
    },
    /// Write the configuration in the database, secrets included: importing it changes nothing.
    Export {
        /// The file, readable by its owner only; without it: standard output.
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// Where the settings come from.
        #[command(flatten)]
        settings: SettingsArgs,
    },
}

/// What happens to admin tokens.
#[derive(Debug, Subcommand)]
pub enum AdminTokenStep {
    /// Make a token and print it, once; the database keeps a digest.
    Create {
        /// Whom the token is for, such as a person or a program; the audit log shows it.
        name: String,
        /// What its holder may do.
        #[arg(long, value_enum, default_value_t = AdminRole::Read)]
        role: AdminRole,
        /// Where the settings come from.
        #[command(flatten)]
        settings: SettingsArgs,
    },
    /// List the tokens: role, when each was made, and for whom.
    List {
        /// Where the settings come from.
        #[command(flatten)]
        settings: SettingsArgs,
    },
    /// Revoke a token, on every node at once.
    Revoke {
        /// Whom the token was for.
        name: String,
        /// Where the settings come from.
        #[command(flatten)]
        settings: SettingsArgs,
    },
}

/// The role of an admin token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AdminRole {
    /// Read everything that the Admin API shows, provision keys and clear client secrets included.
    Read,
    /// Change it as well.
    Write,
}

/// Sources of the settings: `--set` over environment over file over default.
#[derive(Debug, Clone, Args)]
pub struct SettingsArgs {
    /// The settings file.
    #[arg(long, value_name = "FILE", env = "TOLLGATE_CONFIG")]
    pub config: Option<PathBuf>,
    /// One setting, such as `--set proxy.http_listen=0.0.0.0:80`; may be repeated.
    #[arg(long = "set", value_name = "PATH=VALUE")]
    pub set: Vec<String>,
}
