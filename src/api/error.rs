//! The errors of the API: for each one the status, the kind and the text.
//!
//! Zincati turns `kind` into a metric label, so the set of kinds is small and fixed. It writes `value` to the journal,
//! so that is a sentence for a person.

use std::fmt;

use http::{Method, StatusCode, Uri};

use super::identity::InvalidIdentity;
use crate::auth::{InvalidCredentials, MAX_PASSWORD};
use crate::coordinator::{Block, DenialCause, Denied};
use crate::gate::Closed;
use crate::group::GroupError;
use crate::http::{HeadLimits, RefusedHead};
use crate::lock::policy::CapLimit;
use crate::text::duration;
use crate::text::escape::{printable, quoted, redacted};

/// A request that does not succeed.
#[derive(Debug)]
pub(super) enum ApiError<'a> {
    /// The request does not identify its node.
    InvalidIdentity(InvalidIdentity),
    /// The body is larger than `max` bytes.
    BodyTooLarge { max: usize },
    /// The body was not received completely and in time.
    RequestTimeout,
    /// The head of the request is refused.
    RefusedHead(RefusedHead),
    /// The request is not authenticated. `None`: the user does not exist, or has another password.
    Unauthorized { invalid: Option<InvalidCredentials> },
    /// The maximum number of passwords already waits to be verified.
    AuthQueueFull,
    /// The path does not exist.
    NotFound { request: RequestLine },
    /// The method is not `POST`.
    MethodNotAllowed { request: RequestLine },
    /// The coordinator denied the request.
    Denied(Denied<'a>),
}

/// The method and the path of a request, for the operator.
#[derive(Debug)]
pub(super) struct RequestLine(String);

// === impl RequestLine ===

impl RequestLine {
    /// Returns those of a request. A query is left out, and a password in the path, which belongs before the host.
    pub(super) fn of(method: &Method, uri: &Uri) -> Self {
        RequestLine(format!("{method} {}", redacted(uri.path())))
    }

    /// Returns them as text, which may contain any character.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

// === impl ApiError ===

impl ApiError<'_> {
    /// Returns the status code.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            ApiError::InvalidIdentity(_) => StatusCode::BAD_REQUEST,
            ApiError::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            ApiError::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            ApiError::RefusedHead(RefusedHead::TooLarge(_)) => {
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
            }
            ApiError::RefusedHead(RefusedHead::Hosts(_)) => StatusCode::BAD_REQUEST,
            ApiError::Unauthorized { .. } => StatusCode::UNAUTHORIZED,
            ApiError::AuthQueueFull => StatusCode::SERVICE_UNAVAILABLE,
            ApiError::NotFound { .. } => StatusCode::NOT_FOUND,
            ApiError::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            ApiError::Denied(denied) => match &denied.cause {
                DenialCause::UnknownGroup { .. } | DenialCause::InvalidId(_) => {
                    StatusCode::BAD_REQUEST
                }
                DenialCause::Forbidden { .. } => StatusCode::FORBIDDEN,
                DenialCause::Blocked { block, .. } => block_status(block),
                // The status of coreos/airlock.
                DenialCause::Group(
                    GroupError::Timeout { .. }
                    | GroupError::Ambiguous
                    | GroupError::Rejected(_)
                    | GroupError::Damaged(_),
                ) => StatusCode::INTERNAL_SERVER_ERROR,
                DenialCause::Group(GroupError::QueueFull | GroupError::ShuttingDown) => {
                    StatusCode::SERVICE_UNAVAILABLE
                }
            },
        }
    }

    /// Returns the kind: one of a fixed set of words for programs, among them the label `outcome` of the metrics.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            ApiError::InvalidIdentity(_) => "invalid_client_identity",
            ApiError::BodyTooLarge { .. } => "body_too_large",
            ApiError::RequestTimeout => "request_timeout",
            ApiError::RefusedHead(RefusedHead::TooLarge(_)) => "headers_too_large",
            ApiError::RefusedHead(RefusedHead::Hosts(_)) => "invalid_request",
            ApiError::Unauthorized { .. } => "unauthorized",
            ApiError::AuthQueueFull => "server_busy",
            ApiError::NotFound { .. } => "not_found",
            ApiError::MethodNotAllowed { .. } => "method_not_allowed",
            ApiError::Denied(denied) => match &denied.cause {
                DenialCause::UnknownGroup { .. } => "unknown_group",
                DenialCause::InvalidId(_) => "invalid_client_identity",
                DenialCause::Forbidden { .. } => "forbidden",
                DenialCause::Blocked { block, .. } => block_kind(block),
                DenialCause::Group(
                    GroupError::Timeout { .. }
                    | GroupError::Ambiguous
                    | GroupError::Rejected(_)
                    | GroupError::Damaged(_),
                ) => "failed_sem_init",
                DenialCause::Group(GroupError::QueueFull) => "server_busy",
                DenialCause::Group(GroupError::ShuttingDown) => "server_shutting_down",
            },
        }
    }

    /// Returns the denial if the coordinator denied the request.
    pub(super) fn denied(&self) -> Option<&Denied<'_>> {
        match self {
            ApiError::Denied(denied) => Some(denied),
            ApiError::InvalidIdentity(_)
            | ApiError::BodyTooLarge { .. }
            | ApiError::RequestTimeout
            | ApiError::RefusedHead(_)
            | ApiError::Unauthorized { .. }
            | ApiError::AuthQueueFull
            | ApiError::NotFound { .. }
            | ApiError::MethodNotAllowed { .. } => None,
        }
    }

    /// Returns the request if the error is about its method or path.
    pub(super) fn request_line(&self) -> Option<&str> {
        match self {
            ApiError::NotFound { request } | ApiError::MethodNotAllowed { request } => {
                Some(request.as_str())
            }
            ApiError::InvalidIdentity(_)
            | ApiError::BodyTooLarge { .. }
            | ApiError::RequestTimeout
            | ApiError::RefusedHead(_)
            | ApiError::Unauthorized { .. }
            | ApiError::AuthQueueFull
            | ApiError::Denied(_) => None,
        }
    }

    /// Returns the text for people. Where coreos/airlock has a text for the same error, it is that one.
    pub(super) fn value(&self) -> String {
        match self {
            ApiError::InvalidIdentity(reason) => invalid_identity_text(reason),
            ApiError::BodyTooLarge { max } => format!("request body larger than {max} bytes"),
            ApiError::RequestTimeout => "request body not received completely and in time".into(),
            ApiError::RefusedHead(RefusedHead::TooLarge(HeadLimits { bytes, fields })) => {
                format!("request head larger than {bytes} bytes, or with more than {fields} fields")
            }
            ApiError::RefusedHead(RefusedHead::Hosts(count)) => {
                format!("request with {count} Host fields; HTTP/1.1 requires one")
            }
            ApiError::Unauthorized { invalid: None } => "wrong user or password".into(),
            ApiError::Unauthorized {
                invalid: Some(invalid),
            } => invalid_credentials_text(*invalid),
            ApiError::AuthQueueFull => {
                "too many passwords wait to be verified, ask again later".into()
            }
            ApiError::NotFound { .. } => {
                "no such path; the paths are /v1/pre-reboot and /v1/steady-state".into()
            }
            ApiError::MethodNotAllowed { .. } => "method not allowed, use POST".into(),
            ApiError::Denied(denied) => denial_text(&denied.cause),
        }
    }

    /// Returns the line for the log, in the words of coreos/airlock where it logs the same error.
    pub(super) fn log_message(&self) -> String {
        let is_refused_lock = self.denied().is_some_and(|denied| match denied.cause {
            DenialCause::Blocked { .. } => true,
            DenialCause::UnknownGroup { .. }
            | DenialCause::Forbidden { .. }
            | DenialCause::InvalidId(_)
            | DenialCause::Group(_) => false,
        });
        if is_refused_lock {
            format!("failed to lock semaphore: {}", self.value())
        } else {
            self.value()
        }
    }
}

fn invalid_credentials_text(invalid: InvalidCredentials) -> String {
    match invalid {
        InvalidCredentials::Missing => {
            "user and password required, as in base_url = \"https://user:password@…/\"".into()
        }
        InvalidCredentials::EmptyPassword => "the password is empty".into(),
        InvalidCredentials::NulInPassword => "the password contains a NUL".into(),
        InvalidCredentials::LongPassword => format!(
            "the password is longer than {MAX_PASSWORD} bytes; bcrypt ignores the rest, so choose a shorter one"
        ),
    }
}

fn invalid_identity_text(reason: &impl fmt::Display) -> String {
    format!("failed to validate client identity: {reason}")
}

fn denial_text(cause: &DenialCause) -> String {
    match cause {
        DenialCause::InvalidId(reason) => invalid_identity_text(reason),
        DenialCause::UnknownGroup { name } => format!("unknown group {}", quoted(name)),
        DenialCause::Forbidden { user, group } => {
            let (user, group) = (quoted(user), quoted(group.as_str()));
            format!("user {user} may not lock group {group}")
        }
        DenialCause::Blocked { group, block } => block_text(&quoted(group.as_str()), block),
        DenialCause::Group(
            error @ (GroupError::Timeout { .. }
            | GroupError::Ambiguous
            | GroupError::Rejected(_)
            | GroupError::Damaged(_)),
        ) => format!("failed to initialize semaphore manager: {error}"),
        DenialCause::Group(GroupError::QueueFull) => {
            "too many requests wait for this group, ask again later".into()
        }
        DenialCause::Group(GroupError::ShuttingDown) => {
            "the server is shutting down, ask again later".into()
        }
    }
}

fn block_status(block: &Block) -> StatusCode {
    match block {
        Block::Stalled { .. }
        | Block::Frozen { .. }
        | Block::OutsideWindow { .. }
        | Block::GateClosed(_)
        | Block::CapReached(_)
        | Block::CapUnusable { .. }
        | Block::Settling { .. } => StatusCode::LOCKED,
        // The status of coreos/airlock.
        Block::Paused | Block::Full { .. } | Block::Reserved(_) => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }
}

fn block_kind(block: &Block) -> &'static str {
    match block {
        Block::Stalled { .. } => "group_stalled",
        Block::Frozen { .. } => "frozen",
        Block::OutsideWindow { .. } => "outside_reboot_window",
        Block::GateClosed(_) => "gate_closed",
        Block::CapReached(_) | Block::CapUnusable { .. } => "cap_reached",
        Block::Settling { .. } => "settling",
        Block::Paused | Block::Full { .. } | Block::Reserved(_) => "failed_lock",
    }
}

/// Returns the text about a group, the name of which is quoted. Zincati repeats the request every few minutes, so the text
/// tells what ends the wait.
fn block_text(group: &str, block: &Block) -> String {
    match block {
        Block::Full { slots } => format!("all {slots} semaphore slots currently locked"),
        Block::Paused => format!(
            "an administrator has paused group {group}; no lock is granted until it is resumed"
        ),
        Block::OutsideWindow { next: Some(next) } => format!(
            "outside the reboot windows of group {group}, the next one opens {}",
            next.opens_text()
        ),
        Block::OutsideWindow { next: None } => {
            format!("outside the reboot windows of group {group}")
        }
        Block::Frozen { freeze, next } => {
            let reason = freeze.reason.as_ref();
            let reason = reason.map_or(String::new(), |reason| format!(" ({reason})"));
            let opens = next.as_ref().filter(|next| next.opens > freeze.until);
            let opens = opens.map_or(String::new(), |next| {
                format!(", the next reboot window opens {}", next.opens_text())
            });
            let until = freeze.end_text();
            format!("group {group} is frozen{reason} until {until}{opens}")
        }
        Block::Stalled {
            holder,
            name,
            after,
        } => {
            let node = match name {
                Some(name) => format!("{} ({})", quoted(name), printable(&holder.id)),
                None => quoted(&holder.id),
            };
            let since = holder.since;
            let earlier = if holder.is_exact { "" } else { " or earlier" };
            let after = duration::seconds(after.as_secs());
            format!(
                "group {group} is stalled: node {node} has held a slot since {since:.0}{earlier}, longer than {after}; no \
                 lock is granted until that node reports steady-state, or an administrator unlocks it"
            )
        }
        Block::GateClosed(Closed { gate, reason }) => format!(
            "no lock is granted in group {group} until gate {} is open: {reason}",
            quoted(gate)
        ),
        Block::CapReached(reached) => {
            let end = match reached.limit {
                CapLimit::Held(_) => "one of them has released its slot",
                CapLimit::Groups(1) => "the other group has none",
                CapLimit::Groups(_) => "one of the others has none",
            };
            format!("{reached}; group {group} grants a lock once {end}")
        }
        Block::CapUnusable { cap, group: other } => format!(
            "the cap {} of group {group} cannot be evaluated, because the stored value of group {} cannot be read or \
             used; no lock is granted until an administrator has repaired it",
            quoted(cap),
            quoted(other.as_str())
        ),
        Block::Settling { until } => format!(
            "a node of group {group} has just come back; the next lock can be granted at {until:.0}"
        ),
        Block::Reserved(reservation) => reservation.to_string(),
    }
}

#[cfg(test)]
mod tests;
