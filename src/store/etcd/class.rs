//! The classes of etcd's errors: what an error says about the effect of a call, and about the other endpoints.

use etcd_client::Error;
use tonic::Status;

/// The effect of a failed call to one endpoint, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ErrorClass {
    /// The call had no effect, and every other endpoint would reject it too.
    Rejected,
    /// This endpoint refuses the call, which had no effect. Another endpoint may accept it.
    Refused,
    /// The cluster has no space. A write has taken effect or never will.
    NoSpace,
    /// The call had no effect. This endpoint may accept it later, and another one may accept it now.
    Unreachable,
    /// The call may have had an effect, or may still have one.
    Unknown,
}

/// The messages of etcd 3.4 to 3.8 that prove something about a call of this server. Every other message is
/// [`ErrorClass::Unknown`], which is safe for any error: among others those of a request that was proposed to the
/// cluster and timed out, and those of calls that this server never makes.
///
/// The message decides, not the gRPC code: etcd sends "too many requests" with the code `Unknown`, and a learner's
/// refusal as `Unavailable` (3.4, 3.5) or as `FailedPrecondition` (3.6 and later).
///
/// Source: `api/v3rpc/rpctypes/error.go` for the messages, `server/etcdserver/v3_server.go` and `apply` for when they
/// are sent.
const MESSAGES: &[(&str, ErrorClass)] = &[
    // etcd verifies a request before it proposes it, and all members do so in the same way.
    ("etcdserver: key is not provided", ErrorClass::Rejected),
    ("etcdserver: value is provided", ErrorClass::Rejected),
    ("etcdserver: lease is provided", ErrorClass::Rejected),
    ("etcdserver: invalid sort option", ErrorClass::Rejected),
    (TOO_MANY_OPERATIONS, ErrorClass::Rejected),
    (
        "etcdserver: duplicate key given in txn request",
        ErrorClass::Rejected,
    ),
    (TOO_LARGE, ErrorClass::Rejected),
    // The alarm CORRUPT makes all members refuse every request instead of applying it.
    ("etcdserver: corrupt cluster", ErrorClass::Rejected),
    // etcd applies a transaction that exceeds the quota and then returns this error. Once the alarm is raised, it
    // applies none. In both cases nothing happens after the reply.
    (NO_SPACE, ErrorClass::NoSpace),
    // Permissions are checked before a request has an effect: by the member, or by all members in the place of the
    // request. A member that lags behind can refuse a watch or a login that another one allows.
    (DENIED, ErrorClass::Refused),
    (NO_USER, ErrorClass::Refused),
    ("etcdserver: user name not found", ErrorClass::Refused),
    (WRONG_PASSWORD, ErrorClass::Refused),
    (AUTH_DISABLED, ErrorClass::Refused),
    ("etcdserver: invalid auth token", ErrorClass::Refused),
    // A learner refuses linearizable reads and writes; a member of an older version may lack a call.
    (LEARNER, ErrorClass::Refused),
    ("etcdserver: not capable", ErrorClass::Refused),
    (
        "etcdserver: invalid client api version",
        ErrorClass::Refused,
    ),
    ("etcdserver: cluster ID mismatch", ErrorClass::Refused),
    // The member rejects the request before it proposes it.
    ("etcdserver: no leader", ErrorClass::Unreachable),
    (OVERLOADED, ErrorClass::Unreachable),
    (
        "etcdserver: revision of auth store is old",
        ErrorClass::Unreachable,
    ),
    // Only a read at a given revision returns these.
    (
        "etcdserver: mvcc: required revision has been compacted",
        ErrorClass::Unreachable,
    ),
    (
        "etcdserver: mvcc: required revision is a future revision",
        ErrorClass::Unreachable,
    ),
];

/// The messages that end with a new login: etcd did not know the token of this server, or got none, or the users changed
/// between the receipt of a request and its turn.
const NEEDS_LOGIN: &[&str] = &[
    NO_USER,
    "etcdserver: invalid auth token",
    "etcdserver: revision of auth store is old",
    // The same one, as etcd 3.5.1 sends it.
    "auth: revision in header is old",
];

/// The beginning of the message about a request that is larger than gRPC accepts, which is a little more than
/// `--max-request-bytes`.
pub(super) const MESSAGE_TOO_LARGE: &str = "grpc: received message larger than max";

/// The message to a user without the permission.
pub(super) const DENIED: &str = "etcdserver: permission denied";

/// The message of a login while authentication is disabled.
pub(super) const AUTH_DISABLED: &str = "etcdserver: authentication is not enabled";

/// Other messages for which the server knows a remedy.
pub(super) const NO_USER: &str = "etcdserver: user name is empty";
pub(super) const WRONG_PASSWORD: &str =
    "etcdserver: authentication failed, invalid user ID or password";
pub(super) const NO_SPACE: &str = "etcdserver: mvcc: database space exceeded";
pub(super) const TOO_LARGE: &str = "etcdserver: request is too large";
pub(super) const TOO_MANY_OPERATIONS: &str = "etcdserver: too many operations in txn request";
pub(super) const OVERLOADED: &str = "etcdserver: too many requests";
pub(super) const LEARNER: &str = "etcdserver: rpc not supported for learner";

/// Classifies an error of a call. Every error that is not known to have had no effect is [`ErrorClass::Unknown`].
pub(super) fn class(error: &Error) -> ErrorClass {
    match error {
        Error::GRpcStatus(status) => status_class(status),
        Error::InvalidArgs(_) | Error::InvalidUri(_) | Error::InvalidMetadataValue(_) => {
            ErrorClass::Rejected
        }
        Error::TransportError(_) | Error::IoError(_) | Error::EndpointError(_) => {
            ErrorClass::Unreachable
        }
        _ => ErrorClass::Unknown,
    }
}

/// Classifies an error of connecting, which has no effect: at most a user name and a password are sent.
pub(super) fn connect_class(error: &Error) -> ErrorClass {
    match class(error) {
        ErrorClass::Unknown => ErrorClass::Unreachable,
        class => class,
    }
}

/// Reports whether the call can succeed after a new login.
pub(super) fn needs_login(error: &Error) -> bool {
    message(error).is_some_and(|message| NEEDS_LOGIN.contains(&message))
}

/// Reports whether etcd denied permission to a user.
pub(super) fn is_denied(status: &Status) -> bool {
    status.message() == DENIED
}

/// Reports whether a login failed because authentication is disabled.
pub(super) fn is_auth_disabled(error: &Error) -> bool {
    message(error) == Some(AUTH_DISABLED)
}

fn message(error: &Error) -> Option<&str> {
    match error {
        Error::GRpcStatus(status) => Some(status.message()),
        _ => None,
    }
}

fn status_class(status: &Status) -> ErrorClass {
    if sources(status).any(|source| source.is::<tonic::ConnectError>()) {
        return ErrorClass::Unreachable;
    }
    // SUBTLE: a proxy or the gRPC library may use any gRPC code. Only a message of etcd itself proves something.
    let known = MESSAGES
        .iter()
        .find(|(message, _)| *message == status.message());
    match known {
        Some((_, class)) => *class,
        // The server side of gRPC rejects the message before etcd sees it.
        None if status.message().starts_with(MESSAGE_TOO_LARGE) => ErrorClass::Rejected,
        // The package that checks users and tokens; some of its errors are not translated.
        None if status.message().starts_with("auth: ") => ErrorClass::Refused,
        None => ErrorClass::Unknown,
    }
}

/// Returns the causes of an error, the outermost first.
pub(super) fn sources(
    error: &dyn std::error::Error,
) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(error.source(), |source| (*source).source())
}

#[cfg(test)]
mod tests;
