//! The name and the machine id of this machine.

use std::io::ErrorKind;
use std::path::Path;

use crate::file::{self, FileError, FileProblem};
use crate::lock::{InvalidMachineId, MachineId};
use crate::text::escape::quoted_start;
use crate::text::explain::Remedy;

/// The file with the machine id of this machine.
const MACHINE_ID: &str = "/etc/machine-id";

/// The reason why this machine has no machine id.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MachineIdError {
    #[error(transparent)]
    Read(#[from] FileError),
    #[error("{MACHINE_ID} is empty")]
    Empty,
    #[error("{MACHINE_ID} contains {found}, which is not a machine id")]
    Invalid {
        found: String,
        source: InvalidMachineId,
    },
}

/// Returns the host name, or `unknown`.
pub(crate) fn name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "unknown".into(), |name| name.trim().to_owned())
}

/// Returns the machine id of this machine.
///
/// # Errors
/// If the system has not set one up.
pub(crate) fn machine_id() -> Result<MachineId, MachineIdError> {
    let text = file::read_text(Path::new(MACHINE_ID))?;
    let text = text.trim_end();
    if text.is_empty() {
        return Err(MachineIdError::Empty);
    }
    text.parse().map_err(|source| {
        let found = quoted_start(text, 64);
        MachineIdError::Invalid { found, source }
    })
}

// === impl MachineIdError ===

impl Remedy for MachineIdError {
    fn remedy(&self) -> Option<String> {
        const SET_UP: &str = "create it with `systemd-machine-id-setup`, or in a container, name the machine id of the \
                              host: airlock id MACHINE-ID";
        match self {
            MachineIdError::Read(error) => match &error.problem {
                FileProblem::Io(problem) if problem.kind() == ErrorKind::NotFound => {
                    Some(SET_UP.into())
                }
                _ => error.remedy(),
            },
            MachineIdError::Invalid {
                source: InvalidMachineId::Uninitialized,
                ..
            } => Some("run the command again after the first boot".into()),
            MachineIdError::Empty | MachineIdError::Invalid { .. } => Some(SET_UP.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    #[test]
    fn the_name_is_the_one_that_the_kernel_knows() {
        let uname = Command::new("uname").arg("-n").output().unwrap();
        assert_eq!(
            super::name(),
            String::from_utf8(uname.stdout).unwrap().trim()
        );
    }
}
