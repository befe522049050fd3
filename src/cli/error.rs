//! The errors of commands, and their exit codes (those of sysexits.h, where it has one).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::client::ClientCommandError;
use crate::admin::ExecuteError;
use crate::admin::host::MachineIdError;
use crate::config::{ConfigErrors, Diagnostic, TooManySlots, command_line};
use crate::lock::codec::DecodeError;
use crate::lock::command::Refused;
use crate::lock::policy::Refusal;
use crate::lock::{GroupName, InvalidNodeId, NodeId};
use crate::server::ServeError;
use crate::server::rlimit::THREADS_REMEDY;
use crate::store::sqlite::CopyError;
use crate::store::{DamagedValue, Location, StoreError};
use crate::text::escape::{quoted, shell_word};
use crate::text::explain::Remedy as _;

/// The reason why a command failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum CliError {
    /// The configuration is invalid.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// The configuration is invalid, and `check-config` has printed the reasons.
    #[error("the configuration is invalid")]
    CheckFailed,
    /// A person should look at the fleet, and `status` has printed why.
    #[error("the fleet needs attention")]
    NeedsAttention,
    /// The store cannot be used, and `check-config` has printed the reasons.
    #[error("the store cannot be used")]
    StoreCheckFailed,
    /// A gate cannot be asked, and the command has printed the reason.
    #[error("a gate cannot be asked")]
    GatesFailed,
    /// The configured store cannot be opened.
    #[error("{diagnostic}")]
    StoreSetup {
        diagnostic: Diagnostic,
        /// Whether the user may not write the embedded store, as the user of the server may.
        is_denied: bool,
    },
    /// The embedded store does not exist, or is an empty file.
    #[error("{}: {problem} (embedded.path in {})", path.display(), config.display())]
    NoStore {
        path: PathBuf,
        problem: &'static str,
        config: PathBuf,
    },
    /// The store is etcd, and the command is one for the embedded store.
    #[error("`airlock {command}` is for the embedded store, and {} configures etcd", config.display())]
    NotEmbedded {
        command: &'static str,
        config: PathBuf,
    },
    /// The embedded store was not saved or restored.
    #[error(transparent)]
    Copy(Box<CopyError>),
    /// A read failed, or a change failed and had no effect.
    #[error("{message}")]
    Store {
        message: String,
        hint: Option<&'static str>,
        #[source]
        error: StoreError,
    },
    /// A change had no effect, because other writers were faster.
    #[error("nothing was changed: other writers changed group {group} during every attempt")]
    Contended { group: GroupName },
    /// A change may have taken effect.
    #[error("it is unknown whether the change of group {group} was applied")]
    Unknown {
        group: GroupName,
        #[source]
        error: Box<ExecuteError>,
    },
    /// A stored value cannot be used.
    #[error("the stored value of group {group} cannot be used ({location})")]
    Damaged {
        group: GroupName,
        location: Location,
        #[source]
        reason: DecodeError,
    },
    /// The command does not fit the state of the group; nothing was changed.
    #[error("group {group}: {refused}")]
    Refused { group: GroupName, refused: Refused },
    /// A group is neither configured nor stored.
    #[error("unknown group {}: it is neither in {} nor in the store", quoted(.name), config.display())]
    UnknownGroup {
        name: String,
        config: PathBuf,
        configured: Vec<GroupName>,
    },
    /// A gate is not configured.
    #[error("unknown gate {}: it is not in {}", quoted(.name), config.display())]
    UnknownGate {
        name: String,
        config: PathBuf,
        configured: Vec<Arc<str>>,
    },
    /// No group and no known node has this name.
    #[error("{} is neither a group, nor the id, name or address of a node that holds a slot, waits, is rejected, or has rebooted lately", quoted(.name))]
    UnknownSubject {
        name: String,
        configured: Vec<GroupName>,
    },
    /// A paused group is not configured, so the number of its slots is unknown.
    #[error("group {group} is not configured in {}, so the number of its slots is unknown", config.display())]
    NotConfigured { group: GroupName, config: PathBuf },
    /// The store cannot hold so many slots.
    #[error(transparent)]
    TooManySlots(#[from] TooManySlots),
    /// A node cannot have this id.
    #[error("the id {} cannot be used: {error}", quoted(.id))]
    InvalidId { id: String, error: InvalidNodeId },
    /// This machine has no machine id.
    #[error(transparent)]
    MachineId(#[from] MachineIdError),
    /// Some machine ids cannot be used, and `id` has printed the reasons.
    #[error("some machine ids cannot be used")]
    InvalidMachineIds,
    /// A line of standard input cannot be read.
    #[error("line {line} of standard input cannot be read")]
    Input {
        line: usize,
        #[source]
        source: io::Error,
    },
    /// Neither `--yes` nor a terminal to ask for confirmation.
    #[error("nothing was changed: cannot ask for confirmation, because stdin is not a terminal")]
    NoTerminal,
    /// A backup is not text.
    #[error("a backup cannot be printed on a terminal")]
    BackupToTerminal,
    /// A backup was not written to its end.
    #[error("cannot write to stdout; the backup is incomplete, and cannot be restored")]
    IncompleteBackup(#[source] io::Error),
    /// The administrator did not confirm the change.
    #[error("nothing was changed")]
    Declined,
    /// The server does not reply to the health check.
    #[error("the server at {address} is not healthy ({section}.address, {section}.port in {})", config.display())]
    Unhealthy {
        address: String,
        /// The section of the configuration.
        section: &'static str,
        config: PathBuf,
        #[source]
        error: HealthcheckError,
    },
    /// A FleetLock server has not granted or released a slot.
    #[error(transparent)]
    Client(Box<ClientCommandError>),
    /// The result of the command cannot be printed.
    #[error("cannot write to stdout")]
    Output(#[source] io::Error),
    /// A file or folder of the command cannot be written.
    #[error("{}: cannot be written", path.display())]
    Write { path: PathBuf, source: io::Error },
    /// The temporary folder of `serve --dev` cannot be created.
    #[error("cannot create a temporary folder in {}", path.display())]
    DevFolder { path: PathBuf, source: io::Error },
    /// `serve --dev` finds no port.
    #[error("cannot listen on a port of 127.0.0.1")]
    DevPorts(#[source] io::Error),
    /// The async runtime cannot be started.
    #[error("cannot start the runtime")]
    Runtime(#[source] io::Error),
    /// The server cannot use a file, or cannot listen on an address.
    #[error("{0}")]
    Startup(Diagnostic),
    /// The server did not start, or ended by itself.
    #[error(transparent)]
    Serve(Box<ServeError>),
}

/// The reason why the server is not healthy.
#[derive(Debug, thiserror::Error)]
pub(super) enum HealthcheckError {
    /// The address of the listener cannot be resolved.
    #[error("cannot resolve the address")]
    Resolve(#[source] io::Error),
    /// The name of the listener has no address.
    #[error("the name has no IP address")]
    NoAddress,
    /// The listener does not accept connections.
    #[error("cannot connect")]
    Connect(#[source] io::Error),
    /// The listener accepts connections and does not reply.
    #[error("no reply")]
    Reply(#[source] io::Error),
    /// The reply to `/healthz` is not a 200.
    #[error("unexpected reply {}", quoted(.0))]
    Status(String),
}

// === impl CliError ===

impl CliError {
    pub(super) fn damaged(group: &GroupName, value: DamagedValue) -> Self {
        CliError::Damaged {
            group: group.clone(),
            location: value.location,
            reason: value.reason,
        }
    }

    pub(super) fn exit_code(&self) -> u8 {
        match self {
            CliError::Config(_) | CliError::CheckFailed => 78,
            CliError::StoreCheckFailed
            | CliError::GatesFailed
            | CliError::StoreSetup { .. }
            | CliError::NoStore { .. }
            | CliError::NotEmbedded { .. }
            | CliError::Store { .. }
            | CliError::Contended { .. }
            | CliError::Unhealthy { .. } => 69,
            CliError::Copy(error) if error.is_unavailable() => 69,
            CliError::Unknown { .. } => 75,
            CliError::Client(error) => error.exit_code(),
            CliError::Copy(error) if error.is_interrupted() => 75,
            // As of an invalid argument: 1 tells that a person should look at something.
            CliError::UnknownSubject { .. } => 2,
            CliError::NeedsAttention
            | CliError::Damaged { .. }
            | CliError::Copy(_)
            | CliError::Refused { .. }
            | CliError::UnknownGroup { .. }
            | CliError::UnknownGate { .. }
            | CliError::NotConfigured { .. }
            | CliError::TooManySlots(_)
            | CliError::InvalidId { .. }
            | CliError::MachineId(_)
            | CliError::InvalidMachineIds
            | CliError::Input { .. }
            | CliError::NoTerminal
            | CliError::BackupToTerminal
            | CliError::IncompleteBackup(_)
            | CliError::Declined
            | CliError::Output(_)
            | CliError::Write { .. }
            | CliError::DevFolder { .. }
            | CliError::DevPorts(_)
            | CliError::Runtime(_)
            | CliError::Startup(_)
            | CliError::Serve(_) => 1,
        }
    }

    /// Returns the remedy, if there is one that the message does not contain. `config` is the configuration that the
    /// suggested commands use.
    pub(super) fn hint(&self, config: &Path) -> Option<String> {
        let command = |command: &str, arguments: &[&str]| command_line(config, command, arguments);
        match self {
            CliError::NoStore { .. } => Some(
                "correct embedded.path, which is relative to the directory in which the command is started; if the \
                 store was lost, put it back, or restore a backup; otherwise start the server, which creates it \
                 without any locks"
                    .into(),
            ),
            CliError::StoreSetup { is_denied, .. } => {
                is_denied.then(|| "run the command as the user of the server".into())
            }
            CliError::NotEmbedded { .. } => Some(
                "save etcd with `etcdctl snapshot save`, and restore it with `etcdutl snapshot restore`: see \
                 \"Restore etcd\" in docs/operations.md"
                    .into(),
            ),
            CliError::Copy(error) => error.remedy(),
            CliError::MachineId(error) => error.remedy(),
            CliError::Client(error) => error.remedy(),
            CliError::Input { source, .. } => (source.kind() == io::ErrorKind::InvalidData)
                .then(|| "write the line as UTF-8 text".into()),
            CliError::Serve(error) => error.remedy(),
            CliError::DevFolder { .. } => {
                Some("set TMPDIR to a folder that this user may write".into())
            }
            CliError::Runtime(_) => Some(THREADS_REMEDY.into()),
            CliError::Store { hint, .. } => hint.map(Into::into),
            CliError::Contended { .. } => Some("run the command again".into()),
            CliError::Unknown { group, .. } => Some(format!(
                "check with: {}",
                command("get slots", &[group.as_str()])
            )),
            CliError::Damaged { location, .. } => Some(format!(
                "see \"Repair a damaged value\" in docs/operations.md, and repair it with: {}",
                location.repair_command
            )),
            CliError::Refused { group, refused } => Some(refusal_hint(group, refused, config)),
            CliError::UnknownGroup { configured, .. } => {
                Some(format!("configured groups: {}", joined(configured)))
            }
            CliError::UnknownGate { configured, .. } if configured.is_empty() => None,
            CliError::UnknownGate { configured, .. } => {
                Some(format!("configured gates: {}", joined(configured)))
            }
            CliError::UnknownSubject { configured, .. } => Some(format!(
                "configured groups: {}; if it is a node, it has asked no running server in the last 15 minutes, or \
                 only just now: see \"Zincati does not ask\" in docs/operations.md",
                joined(configured)
            )),
            CliError::NotConfigured { group, .. } => Some(format!(
                "set the number with: {}",
                command("set slots", &[group.as_str(), "N"])
            )),
            CliError::InvalidId { .. } => Some(format!(
                "an id has 1 to {} bytes without control and format characters",
                NodeId::MAX_BYTES
            )),
            CliError::Unhealthy { .. } => {
                Some("check that a server runs on this machine with this configuration".into())
            }
            CliError::BackupToTerminal => {
                Some("redirect it to a file: airlock backup - >FILE".into())
            }
            CliError::NoTerminal => Some(
                "add --yes to change without confirmation (before a `--`, if there is one)".into(),
            ),
            _ => None,
        }
    }
}

impl From<ClientCommandError> for CliError {
    fn from(error: ClientCommandError) -> Self {
        CliError::Client(Box::new(error))
    }
}

fn refusal_hint(group: &GroupName, refused: &Refused, config: &Path) -> String {
    let command = |command: &str, arguments: &[&str]| command_line(config, command, arguments);
    let group = group.as_str();
    match refused {
        Refused::NotGranted(Refusal::CapReached(_) | Refusal::CapUnusable { .. }) => format!(
            "list the holders of all groups: {}",
            command("get slots", &[])
        ),
        Refused::NotGranted(Refusal::Paused) => {
            format!("end the pause first: {}", command("resume", &[group]))
        }
        Refused::NotGranted(_) => format!(
            "unlock a holder that is back and healthy ({}), or set more slots ({})",
            command("unlock", &[group, "ID"]),
            command("set slots", &[group, "N"])
        ),
        Refused::NotHeld { holders, .. } => match holders.len() {
            0 => "the group has no holders".into(),
            1..=10 => {
                let words: Vec<_> = holders.iter().map(|id| pasteable(id)).collect();
                format!("the holders are: {}", words.join(", "))
            }
            count => format!(
                "list the {count} holders with: {}",
                command("get slots", &[group])
            ),
        },
    }
}

/// Returns an id as it can be pasted into a command line; one that is longer than a server accepts is cut. `--` keeps one
/// that begins with `-` from being an option.
fn pasteable(id: &str) -> String {
    let word = match id.char_indices().nth(NodeId::MAX_BYTES) {
        Some((end, _)) => shell_word(&format!("{}…", &id[..end])),
        None => shell_word(id),
    };
    if id.starts_with('-') {
        format!("-- {word}")
    } else {
        word
    }
}

fn joined(names: &[impl ToString]) -> String {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    names.join(", ")
}
