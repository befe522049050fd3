//! The command line: Airlock's own commands, and more. One file a command.

mod check_config;
mod check_health;
mod desk;
mod ex_get_slots;
mod get_slots;
mod lock;
mod man;
mod order;
mod pause;
mod resume;
mod say;
mod serve;
mod set_slots;
mod unlock;
mod watch;

use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgAction, CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;

use crate::config::{self, Loaded, Problems};
use crate::logging::{self, Format};
use crate::store::StoreError;
use desk::Desk;
use say::say;

/// How a command failed, as its exit code says it (sysexits.h where that has one).
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// 78: the configuration is wrong.
    #[error(transparent)]
    Config(#[from] Problems),
    /// 69: the store cannot be reached, or refuses; nothing was changed.
    #[error("{0}")]
    Unavailable(String),
    /// 75: the store did not answer; something may have been changed.
    #[error("{0}")]
    Unknown(String),
    /// 1: what it found cannot be told; it was only to be looked at.
    #[error("cannot write to stdout: {0}")]
    Output(io::Error),
    /// 1: anything else; nothing was changed.
    #[error("{0}")]
    Other(String),
}

const EXIT_CODES: &str = "\
Exit codes:
  0   done, or it was so already
  1   refused, or failed; nothing was changed
  2   the command line is wrong
  69  the store (or the server) cannot be reached; nothing was changed
  75  the store did not answer; it may have happened: look with `airlock get slots`
  78  the configuration is wrong";

/// FleetLock server: coordinates the reboots of a fleet of machines.
#[derive(Debug, Parser)]
#[command(name = "airlock", version, propagate_version = true, args_override_self = true, after_help = EXIT_CODES)]
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
    /// Show what is
    #[command(subcommand)]
    Get(Get),
    /// Take a slot for a node by hand, whatever the windows say
    Lock(lock::Arguments),
    /// Take the slot from a holder that does not come back
    Unlock(unlock::Arguments),
    /// Change what is
    #[command(subcommand)]
    Set(Set),
    /// Let nobody new in; who holds a slot keeps it
    Pause(pause::Arguments),
    /// End a pause, with the slots that the configuration says
    Resume(resume::Arguments),
    /// Show changes as they happen
    Watch(watch::Arguments),
    /// Experimental commands
    #[command(subcommand)]
    Ex(Ex),
    /// Print the completions for a shell
    #[command(alias = "completion")]
    Completions { shell: Shell },
    /// Write the manual pages into a folder
    #[command(hide = true)]
    Man { folder: PathBuf },
}

#[derive(Debug, Subcommand)]
enum Get {
    /// Groups, their slots, and who holds them since when
    Slots(get_slots::Arguments),
}

#[derive(Debug, Subcommand)]
enum Set {
    /// How many nodes of a group may be away at once
    Slots(set_slots::Arguments),
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
            Command::Serve => self
                .load()
                .and_then(|loaded| serve::run(loaded, &self.config)),
            Command::CheckConfig => check_config::run(&self.config),
            Command::CheckHealth => self.load().and_then(check_health::run),
            Command::Get(Get::Slots(arguments)) => {
                self.at_desk(|desk| get_slots::run(desk, arguments))
            }
            Command::Lock(arguments) => self.at_desk(|desk| lock::run(desk, arguments)),
            Command::Unlock(arguments) => self.at_desk(|desk| unlock::run(desk, arguments)),
            Command::Set(Set::Slots(arguments)) => {
                self.at_desk(|desk| set_slots::run(desk, arguments))
            }
            Command::Pause(arguments) => self.at_desk(|desk| pause::run(desk, arguments)),
            Command::Resume(arguments) => self.at_desk(|desk| resume::run(desk, arguments)),
            Command::Watch(arguments) => self.at_desk(|desk| watch::run(desk, arguments)),
            Command::Ex(Ex::Get(ExGet::Slots)) => self.at_desk(ex_get_slots::run),
            Command::Completions { shell } => {
                let mut script = Vec::new();
                clap_complete::generate(*shell, &mut Cli::command(), "airlock", &mut script);
                say(String::from_utf8_lossy(&script).trim_end())
            }
            Command::Man { folder } => man::run(folder),
        };
        match result {
            Ok(()) => ExitCode::SUCCESS,
            // Whoever has read enough of it.
            Err(Failure::Output(error)) if error.kind() == ErrorKind::BrokenPipe => {
                ExitCode::SUCCESS
            }
            Err(failure) => {
                for line in failure.to_string().lines() {
                    tracing::error!("{line}");
                }
                ExitCode::from(failure.exit_code())
            }
        }
    }

    /// Runs a command that works on the store itself.
    fn at_desk<F>(&self, command: impl FnOnce(Desk) -> F) -> Result<(), Failure>
    where
        F: Future<Output = Result<(), Failure>>,
    {
        let loaded = self.load()?;
        // etcd's client wants to be made within the runtime.
        desk::block_on(async { command(Desk::open(loaded, &self.config)?).await })
    }

    fn load(&self) -> Result<Loaded, Failure> {
        let loaded = config::load(&self.config);
        for warning in config::warnings(&loaded) {
            tracing::warn!("{warning}");
        }
        Ok(loaded?)
    }
}

// === impl Failure ===

/// A read that failed has changed nothing, known or not.
impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Failure::Unavailable(error.to_string())
    }
}

impl Failure {
    fn exit_code(&self) -> u8 {
        match self {
            Failure::Config(_) => 78,
            Failure::Unavailable(_) => 69,
            Failure::Unknown(_) => 75,
            Failure::Output(_) | Failure::Other(_) => 1,
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
