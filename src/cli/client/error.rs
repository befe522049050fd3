//! The errors of `airlock client`, and their exit codes, on which scripts depend.

use http::header::InvalidHeaderValue;

use crate::admin::host::MachineIdError;
use crate::fleetlock_client::{AskError, BaseUrlError, Endpoint};
use crate::http_client::ClientFilesError;
use crate::http_client::credentials::SecretError;
use crate::server::Termination;
use crate::text::explain::Remedy;

/// The reason why `airlock client` has not succeeded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientCommandError {
    #[error(transparent)]
    Url(#[from] BaseUrlError),
    #[error("there are two passwords: one in the URL, and one in a file")]
    TwoPasswords,
    #[error(
        "the user name has a colon, which no server can tell from the one in front of the password"
    )]
    Username,
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("a request cannot contain the password")]
    Authorization(#[from] InvalidHeaderValue),
    #[error(transparent)]
    Files(#[from] ClientFilesError),
    /// Without `--id`, the id depends on that of the machine.
    #[error(transparent)]
    MachineId(#[from] MachineIdError),
    #[error("{url}: {}", .endpoint.failure())]
    Asked {
        endpoint: Endpoint,
        url: String,
        #[source]
        error: AskError,
    },
    #[error("a signal has ended the command; {}", .endpoint.in_doubt())]
    Interrupted {
        endpoint: Endpoint,
        signal: Termination,
    },
}

// === impl ClientCommandError ===

impl ClientCommandError {
    /// Returns the exit code. No failure of this command but a denial has 1.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            ClientCommandError::Url(_)
            | ClientCommandError::TwoPasswords
            | ClientCommandError::Username => 2,
            ClientCommandError::Secret(_)
            | ClientCommandError::Authorization(_)
            | ClientCommandError::Files(_)
            | ClientCommandError::MachineId(_) => 78,
            ClientCommandError::Asked { error, .. } => match error {
                AskError::Denied(_) => 1,
                AskError::Rejected(_) | AskError::Redirect { .. } => 77,
                AskError::Failed(_)
                | AskError::NotFleetLock(_)
                | AskError::Connect(_)
                | AskError::NoResponse(_)
                | AskError::Timeout(_)
                | AskError::Body(..)
                | AskError::Request(_) => 69,
            },
            ClientCommandError::Interrupted { signal, .. } => signal.exit_code(),
        }
    }
}

impl Remedy for ClientCommandError {
    fn remedy(&self) -> Option<String> {
        match self {
            ClientCommandError::TwoPasswords => Some("remove one of them".into()),
            ClientCommandError::Secret(error) => error.remedy(),
            ClientCommandError::Files(error) => error.remedy(),
            ClientCommandError::MachineId(error) => error.remedy(),
            ClientCommandError::Asked { error, .. } => error.remedy(),
            ClientCommandError::Url(_)
            | ClientCommandError::Username
            | ClientCommandError::Authorization(_)
            | ClientCommandError::Interrupted { .. } => None,
        }
    }
}
