//! The command line: Airlock's own commands, and more. One file a command.

mod check_config;
mod check_health;
mod ex_get_slots;
mod man;
mod serve;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgAction, CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;

use crate::config::{self, Loaded, Problems};
use crate::logging::{self, Format};

/// How a command failed, as its exit code says it (sysexits.h where that has one).
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// 78: the configuration is wrong.
    #[error(transparent)]
    Config(#[from] Problems),
    /// 69: the store cannot be reached, or refuses.
    #[error("{0}")]
    Unavailable(String),
    /// 1: anything else.
    #[error("{0}")]
    Other(String),
}

/// FleetLock server: coordinates the reboots of a fleet of machines.
#[derive(Debug, Parser)]
#[command(name = "airlock", version, propagate_version = true)]
pub struct Cli {
    /// Path to the configuration file
    #[arg(short, long, global = true, value_name = "FILE", default_value = config::DEFAULT_PATH)]
    config: PathBuf,

    /// Log more: -v info, -vv debug, -vvv trace
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,

    /// How log lines are written
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "FORMAT",
        default_value_t
    )]
    log_format: Format,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server
    Serve,
    /// Check the configuration and say what is wrong with it (exit code 0 or 78)
    CheckConfig,
    /// Check that the server on this machine answers, for health checks (exit code 0 or 69)
    CheckHealth,
    /// Experimental commands
    #[command(subcommand)]
    Ex(Ex),
    /// Print the completions for a shell
    Completions { shell: Shell },
    /// Write the manual pages into a folder
    #[command(hide = true)]
    Man { folder: PathBuf },
}

#[derive(Debug, Subcommand)]
enum Ex {
    /// Introspect live state
    #[command(subcommand)]
    Get(ExGet),
}

#[derive(Debug, Subcommand)]
enum ExGet {
    /// Introspect groups/slots state
    Slots,
}

// === impl Cli ===

impl Cli {
    /// Runs the command; what it has to say is said.
    pub fn run(self) -> ExitCode {
        let _log = logging::init(self.verbose, self.log_format);
        let result = match &self.command {
            Command::Serve => self.load().and_then(serve::run),
            Command::CheckConfig => check_config::run(&self.config),
            Command::CheckHealth => self.load().and_then(check_health::run),
            Command::Ex(Ex::Get(ExGet::Slots)) => self.load().and_then(ex_get_slots::run),
            Command::Completions { shell } => {
                let mut command = Cli::command();
                clap_complete::generate(*shell, &mut command, "airlock", &mut std::io::stdout());
                Ok(())
            }
            Command::Man { folder } => man::run(folder),
        };
        match result {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => {
                for line in failure.to_string().lines() {
                    tracing::error!("{line}");
                }
                ExitCode::from(failure.exit_code())
            }
        }
    }

    fn load(&self) -> Result<Loaded, Failure> {
        let loaded = config::load(&self.config)?;
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        Ok(loaded)
    }
}

// === impl Failure ===

impl Failure {
    fn exit_code(&self) -> u8 {
        match self {
            Failure::Config(_) => 78,
            Failure::Unavailable(_) => 69,
            Failure::Other(_) => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
