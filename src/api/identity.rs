//! The identity in the header and body of a request.
//!
//! The checks have the order of coreos/airlock, because the first one that fails determines the response: header, JSON,
//! group, id. The coordinator looks the group up.

mod error;
mod fields;

use crate::coordinator::Identity;
use crate::lock::GroupName;
pub(crate) use error::InvalidIdentity;

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
pub(crate) fn parse_body(body: &[u8]) -> Result<Identity, InvalidIdentity> {
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
