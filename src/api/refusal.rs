//! Refused requests: each of them is logged, and its client recorded for operators, unless it is a node that waits.

use std::net::IpAddr;

use jiff::Timestamp;

use super::error::ApiError;
use crate::auth::InvalidCredentials;
use crate::coordinator::{DenialCause, Identity};
use crate::denials::{Denial, DenialReason, Denials};
use crate::group::GroupError;
use crate::http::RefusedHead;
use crate::lock::{NodeId, RequestId};

/// A request that is refused.
#[derive(Debug)]
pub(super) struct Refusal<'a> {
    pub(super) error: ApiError<'a>,
    /// The identity in the body, if it has one. The client may not be authenticated.
    pub(super) claimed: Option<Identity>,
}

// === impl Refusal ===

impl Refusal<'_> {
    /// Logs the refusal and records the client.
    pub(super) fn report(&self, denials: &Denials, peer: Option<IpAddr>) {
        self.log(peer);
        if let (Some(peer), Some((reason, detail))) = (peer, self.denial()) {
            let denial = Denial {
                reason,
                peer,
                group: self.group(),
                id: self.valid_id(),
                detail: detail.as_deref(),
            };
            denials.record(&denial, Timestamp::now());
        }
    }

    /// Logs what is known about the client. The user is not logged: it may be a password in the wrong place.
    fn log(&self, peer: Option<IpAddr>) {
        let message = self.error.log_message();
        let (group, id) = (self.group(), self.id());
        let peer = peer.map(tracing::field::display);
        let request = self.error.request_line();
        tracing::error!(group, id, peer, request, "{message}");
    }

    fn group(&self) -> Option<&str> {
        let claimed = self.claimed.as_ref();
        claimed.map(|claimed| claimed.group.as_str())
    }

    fn valid_id(&self) -> Option<&NodeId> {
        match &self.claimed.as_ref()?.id {
            RequestId::Valid(id) => Some(id),
            RequestId::Foreign { .. } => None,
        }
    }

    /// Returns the id, unless it is too long for one.
    fn id(&self) -> Option<&str> {
        let id = match &self.claimed.as_ref()?.id {
            RequestId::Valid(id) => id.as_str(),
            RequestId::Foreign { id, .. } => id,
        };
        (id.len() <= NodeId::MAX_BYTES).then_some(id)
    }

    /// Returns the reason why the client is rejected, and what else the operator needs to know; `None` for a node that
    /// has to wait.
    fn denial(&self) -> Option<(DenialReason, Option<String>)> {
        let value = || Some(self.error.value());
        Some(match &self.error {
            ApiError::InvalidIdentity(reason) => {
                (DenialReason::InvalidIdentity, Some(reason.to_string()))
            }
            ApiError::BodyTooLarge { .. } => (DenialReason::BodyTooLarge, value()),
            ApiError::RequestTimeout => (DenialReason::RequestTimeout, value()),
            ApiError::RefusedHead(RefusedHead::TooLarge(_)) => {
                (DenialReason::HeadersTooLarge, value())
            }
            ApiError::RefusedHead(RefusedHead::Hosts(_)) => (DenialReason::InvalidRequest, value()),
            ApiError::Unauthorized { invalid: None } => (DenialReason::WrongPassword, None),
            ApiError::Unauthorized {
                invalid: Some(InvalidCredentials::Missing),
            } => (DenialReason::NoCredentials, None),
            ApiError::Unauthorized {
                invalid:
                    Some(
                        InvalidCredentials::EmptyPassword
                        | InvalidCredentials::NulInPassword
                        | InvalidCredentials::LongPassword,
                    ),
            } => (DenialReason::WrongPassword, value()),
            ApiError::AuthQueueFull => (DenialReason::ServerBusy, value()),
            ApiError::NotFound { request } => {
                (DenialReason::NotFound, Some(request.as_str().to_owned()))
            }
            ApiError::MethodNotAllowed { request } => (
                DenialReason::MethodNotAllowed,
                Some(request.as_str().to_owned()),
            ),
            ApiError::Denied(denied) => return denial(&denied.cause),
        })
    }
}

fn denial(cause: &DenialCause) -> Option<(DenialReason, Option<String>)> {
    match cause {
        DenialCause::UnknownGroup { name } => {
            Some((DenialReason::UnknownGroup, Some(name.clone())))
        }
        DenialCause::InvalidId(reason) => {
            Some((DenialReason::InvalidIdentity, Some(reason.to_string())))
        }
        DenialCause::Forbidden { .. } => Some((DenialReason::Forbidden, None)),
        DenialCause::Group(error @ GroupError::QueueFull) => {
            Some((DenialReason::ServerBusy, Some(error.to_string())))
        }
        DenialCause::Blocked { .. }
        | DenialCause::Group(
            GroupError::Timeout { .. }
            | GroupError::Ambiguous
            | GroupError::Rejected(_)
            | GroupError::Damaged(_)
            | GroupError::ShuttingDown,
        ) => None,
    }
}
