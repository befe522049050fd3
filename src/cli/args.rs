//! The definition of the command line.

use std::path::PathBuf;

use clap::{ArgAction, Parser, Subcommand};
use clap_complete::Shell;

use super::environment::{LogFormat, LogFormatParser};
use super::{
    backup, check_config, client, get_gates, get_slots, history, id, lock, override_policies,
    pause, restore, resume, serve, set_slots, status, unlock, version, watch,
};
use crate::config;

/// The default format of the log.
const LOG_FORMAT: &str = "logfmt";

/// FleetLock server: coordinates the reboots of a fleet of machines
#[derive(Debug, Parser)]
#[command(
    name = "airlock",
    version,
    propagate_version = true,
    args_override_self = true
)]
pub(super) struct Cli {
    /// Path to the configuration file
    #[arg(
        short,
        long,
        global = true,
        value_name = "FILE",
        default_value = config::DEFAULT_PATH,
        env = config::PATH_VARIABLE,
        hide_env_values = true,
    )]
    pub(super) config: PathBuf,

    /// Log more: -v info, -vv debug, -vvv trace
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(super) verbose: u8,

    /// Format of the server's log; the messages of all other commands are plain text
    #[arg(
        long,
        global = true,
        value_name = "FORMAT",
        default_value = LOG_FORMAT,
        env = "AIRLOCK_LOG_FORMAT",
        hide_env_values = true,
        value_parser = LogFormatParser::default(),
    )]
    pub(super) log_format: LogFormat,

    #[command(subcommand)]
    pub(super) command: CliCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum CliCommand {
    /// Run the server
    Serve(serve::Arguments),
    /// Check the configuration, and describe a server that uses it
    ///
    /// The files and addresses that it names are checked as well. Errors and warnings are printed to stdout. The exit code is 78 if anything would keep a server from starting on
    /// this machine, except a port or a store that another process uses. With --strict, it is 78 also if there is a
    /// warning. With --online, it is 69 if the configuration is valid, but a server could not work with the store, or
    /// a gate could not be asked; a closed gate is none. Otherwise, it is 0.
    CheckConfig(check_config::Arguments),
    /// Check that the server on this machine replies
    ///
    /// For the health check of a container. The exit code is 0, 69 if the server does not reply, or 78 if the configuration is invalid. The check does not
    /// include the store, because a restart of the server does not repair it; /readyz of the status listener does.
    Healthcheck,
    /// Tell why nodes are not updating
    ///
    /// Prints the state of the servers and groups, of one group, or of one node. The groups that need attention come first. The exit code is 0 if a person need not look at anything. It is 1 if
    /// the store refuses writes, or there is a warning about it; if a group is damaged, overdue or not known, has other
    /// slots than configured, is paused while nodes wait, or has failed to serve a node for 15 minutes; if clients are
    /// rejected that are most likely nodes; or if no server runs, a server is lost or has another configuration than the
    /// others, or the servers are not known. With a group or a node, only what concerns it counts. The exit code is 2 if
    /// the argument is neither a group nor a known node, and 69 if the store does not reply.
    Status(status::Arguments),
    /// Print the state of the groups in the store, or of the gates
    #[command(subcommand)]
    Get(Get),
    /// Print the last reboots, and the commands of administrators
    ///
    /// The latest come first.
    History(history::Arguments),
    /// Lock a slot for a node, inside and outside reboot windows
    Lock(lock::Arguments),
    /// Unlock a holder that will not release its slot
    Unlock(unlock::Arguments),
    /// Change the groups in the store
    #[command(subcommand)]
    Set(Set),
    /// Stop new locks of a group; holders keep their slots
    Pause(pause::Arguments),
    /// End a pause with the configured number of slots
    Resume(resume::Arguments),
    /// Ignore windows, freezes and gates for a limited time
    ///
    /// For an urgent update. Slots, a pause, stall_after_minutes, settle_minutes and caps stay in force. The audit log
    /// records the command.
    Override(override_policies::Arguments),
    /// Print changes of the groups as they happen
    Watch(watch::Arguments),
    /// Save the embedded store to a file, also while a server uses it
    ///
    /// The copy contains every lock that was granted before the command was started. It has mode 0600.
    Backup(backup::Arguments),
    /// Replace the embedded store by a backup, while no server uses it
    ///
    /// Works also if the present store is missing or damaged. The previous file is kept beside it. A node whose lock is
    /// not in the backup loses its slot, although it may be down: with --pause, no node is granted a slot until you
    /// resume the groups.
    Restore(restore::Arguments),
    /// Print the id under which Zincati on a machine asks for a lock
    ///
    /// Zincati derives the id from the machine id, in /etc/machine-id. A node whose configuration sets
    /// identity.node_uuid uses that one instead. The command needs no configuration file.
    Id(id::Arguments),
    /// Ask a server before and after a reboot
    ///
    /// For nodes without Zincati. The command needs no configuration file. It sends what Zincati sends, so it works with
    /// every FleetLock server.
    #[command(subcommand)]
    Client(client::Client),
    /// Experimental commands of coreos/airlock
    #[command(subcommand)]
    Ex(Ex),
    /// Print the script with which a shell completes commands
    ///
    /// It completes commands, options, groups and nodes. For this shell: source <(airlock completions bash). For all: write the script to
    /// /etc/bash_completion.d/airlock, as _airlock into a folder of fpath of zsh, or to
    /// ~/.config/fish/completions/airlock.fish. Groups and nodes are those of the store that the configuration names, if
    /// the user may read both. After an update of Airlock, write the script again.
    #[command(alias = "completion")]
    Completions {
        /// The shell that runs the script
        shell: Shell,
    },
    /// Print the version
    Version(version::Arguments),
    /// Write the manual pages into a folder
    #[command(hide = true)]
    Man {
        /// An existing folder
        folder: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Get {
    /// Print the slots of the groups, and their holders
    ///
    /// The state of each group, its slots and waiting nodes, and its holders with their addresses and the time of their
    /// lock.
    Slots(get_slots::Arguments),
    /// Ask the gates from this machine whether they are open
    ///
    /// Each of them is asked once. The servers ask for themselves: from another machine, a gate may have another answer. A gate with
    /// open_after_successes is shown as open after its first successful answer. The exit code is 0 if all gates could be
    /// asked, whether they are open or closed; 69 if one of them has failed, with the reason; and 78 if the configuration
    /// is invalid.
    Gates(get_gates::Arguments),
}

#[derive(Debug, Subcommand)]
pub(super) enum Set {
    /// Set the number of slots of a group
    ///
    /// The number takes precedence over the one in the configuration.
    Slots(set_slots::Arguments),
}

#[derive(Debug, Subcommand)]
pub(super) enum Ex {
    /// Print the state of the groups
    #[command(subcommand)]
    Get(ExGet),
}

#[derive(Debug, Subcommand)]
pub(super) enum ExGet {
    /// Print the groups in the format of coreos/airlock
    Slots,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
