//! The reason why a request has no identity.

use crate::lock::{GroupName, InvalidNodeId};

/// The reason why a request has no identity. Where coreos/airlock has a text for it, the message is that one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvalidIdentity {
    #[error("wrong 'fleet-lock-protocol' header")]
    Header,
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    #[error("{what} is {found} where {expected} is expected")]
    WrongType {
        what: &'static str,
        found: &'static str,
        expected: &'static str,
    },
    #[error("empty client group")]
    EmptyGroup,
    /// The name has this many bytes. It is not part of the message, which may be logged and sent at any time.
    #[error("client group of {0} bytes; the maximum is {max}", max = GroupName::MAX_BYTES)]
    GroupTooLong(usize),
    /// The body is not encoded as its header says, or incomplete.
    #[error("the body cannot be read: {0}")]
    Encoding(String),
    #[error(transparent)]
    Id(#[from] InvalidNodeId),
}
