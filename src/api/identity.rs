//! The identity in the header and body of a request.
//!
//! The checks have the order of coreos/airlock, because the first one that fails determines the response: header, JSON,
//! group, id. The coordinator looks the group up.

mod fields;

use crate::coordinator::Identity;
use crate::lock::{GroupName, InvalidNodeId};

/// The reason why a request has no identity. Where coreos/airlock has a text for it, the message is that one.
#[derive(Debug, thiserror::Error)]
pub(super) enum InvalidIdentity {
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

/// Checks the value of the header `fleet-lock-protocol`; `None` if the request has no such header.
///
/// Source: the FleetLock protocol, "Headers". coreos/airlock compares the trimmed value exactly.
pub(super) fn check_header(value: Option<&[u8]>) -> Result<(), InvalidIdentity> {
    match value {
        Some(value) if value.trim_ascii() == b"true" => Ok(()),
        _ => Err(InvalidIdentity::Header),
    }
}

/// Parses the body, whatever its content type is.
///
/// Two shapes are accepted: Zincati's, with `client_params`, and a flat object; `client_params` takes precedence. An id
/// that is not a valid one is accepted here, because a node may hold a slot under it.
pub(super) fn parse_body(body: &[u8]) -> Result<Identity, InvalidIdentity> {
    let (group, id) = fields::read(body)?;
    if group.is_empty() {
        return Err(InvalidIdentity::EmptyGroup);
    }
    if group.len() > GroupName::MAX_BYTES {
        return Err(InvalidIdentity::GroupTooLong(group.len()));
    }
    Ok(Identity {
        group,
        id: id.parse()?,
    })
}

#[cfg(test)]
mod tests;
