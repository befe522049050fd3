//! Every error that etcd 3.4 to 3.7 can return, as listed in its `api/v3rpc/rpctypes/error.go`, and its class.

use std::io;

use tonic::Code;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::Endpoint;

use super::*;

/// Errors of other calls than those of this server, and errors after a request was proposed to the cluster.
const UNKNOWN: &[(&str, Code)] = &[
    // The request may have been proposed, and may still be applied.
    ("etcdserver: request timed out", Code::Unavailable),
    (
        "etcdserver: request timed out, possibly due to connection lost",
        Code::Unavailable,
    ),
    (
        "etcdserver: request timed out, possibly due to previous leader failure",
        Code::Unavailable,
    ),
    (
        "etcdserver: request timed out, waiting for the applied index took too long",
        Code::Unavailable,
    ),
    ("etcdserver: leader changed", Code::Unavailable),
    ("etcdserver: server stopped", Code::Unavailable),
    ("etcdserver: request canceled", Code::Cancelled),
    (
        "etcdserver: context deadline exceeded",
        Code::DeadlineExceeded,
    ),
    ("etcdserver: watch canceled", Code::Cancelled),
    // Leases, which this server does not use.
    ("etcdserver: lease already exists", Code::FailedPrecondition),
    ("etcdserver: requested lease not found", Code::NotFound),
    ("etcdserver: too large lease TTL", Code::OutOfRange),
    // Deletions of single keys, which this server does not request.
    ("etcdserver: key not found", Code::InvalidArgument),
    // Changes of the membership.
    (
        "etcdserver: Peer URLs already exists",
        Code::FailedPrecondition,
    ),
    (
        "etcdserver: can only promote a learner member",
        Code::FailedPrecondition,
    ),
    (
        "etcdserver: can only promote a learner member which is in sync with leader",
        Code::FailedPrecondition,
    ),
    (
        "etcdserver: given member URLs are invalid",
        Code::InvalidArgument,
    ),
    (
        "etcdserver: member ID already exist",
        Code::FailedPrecondition,
    ),
    ("etcdserver: member not found", Code::NotFound),
    (
        "etcdserver: re-configuration failed due to not enough started members",
        Code::FailedPrecondition,
    ),
    (
        "etcdserver: too many learner members in cluster",
        Code::FailedPrecondition,
    ),
    ("etcdserver: unhealthy cluster", Code::Unavailable),
    // Maintenance.
    (
        "etcdserver: bad leader transferee",
        Code::FailedPrecondition,
    ),
    ("etcdserver: not leader", Code::FailedPrecondition),
    (
        "etcdserver: cluster has a downgrade job in progress",
        Code::FailedPrecondition,
    ),
    (
        "etcdserver: cluster version not found during downgrade",
        Code::Unavailable,
    ),
    (
        "etcdserver: invalid downgrade target version",
        Code::InvalidArgument,
    ),
    (
        "etcdserver: no inflight downgrade job",
        Code::FailedPrecondition,
    ),
    (
        "etcdserver: wrong downgrade target version format",
        Code::InvalidArgument,
    ),
    // The management of users and roles.
    ("etcdserver: invalid auth management", Code::InvalidArgument),
    (
        "etcdserver: permission is not granted to the role",
        Code::FailedPrecondition,
    ),
    ("etcdserver: permission not given", Code::InvalidArgument),
    (
        "etcdserver: role is not granted to the user",
        Code::FailedPrecondition,
    ),
    (
        "etcdserver: role name already exists",
        Code::FailedPrecondition,
    ),
    ("etcdserver: role name is empty", Code::InvalidArgument),
    ("etcdserver: role name not found", Code::FailedPrecondition),
    (
        "etcdserver: root user does not exist",
        Code::FailedPrecondition,
    ),
    (
        "etcdserver: root user does not have root role",
        Code::FailedPrecondition,
    ),
    (
        "etcdserver: user name already exists",
        Code::FailedPrecondition,
    ),
];

/// The errors that prove something, with each gRPC code that a version of etcd sends.
const KNOWN: &[(&str, &[Code], ErrorClass)] = {
    use Code::{
        DataLoss, FailedPrecondition, InvalidArgument, OutOfRange, PermissionDenied,
        ResourceExhausted, Unauthenticated, Unavailable, Unknown,
    };
    use ErrorClass::{NoSpace, Refused, Rejected, Unreachable};
    &[
        (
            "etcdserver: key is not provided",
            &[InvalidArgument],
            Rejected,
        ),
        (
            "etcdserver: value is provided",
            &[InvalidArgument],
            Rejected,
        ),
        (
            "etcdserver: lease is provided",
            &[InvalidArgument],
            Rejected,
        ),
        (
            "etcdserver: invalid sort option",
            &[InvalidArgument],
            Rejected,
        ),
        (
            "etcdserver: too many operations in txn request",
            &[InvalidArgument],
            Rejected,
        ),
        (
            "etcdserver: duplicate key given in txn request",
            &[InvalidArgument],
            Rejected,
        ),
        (
            "etcdserver: request is too large",
            &[InvalidArgument],
            Rejected,
        ),
        ("etcdserver: corrupt cluster", &[DataLoss], Rejected),
        (
            "etcdserver: mvcc: database space exceeded",
            &[ResourceExhausted],
            NoSpace,
        ),
        (
            "etcdserver: permission denied",
            &[PermissionDenied],
            Refused,
        ),
        (
            "etcdserver: user name is empty",
            &[InvalidArgument],
            Refused,
        ),
        (
            "etcdserver: user name not found",
            &[FailedPrecondition],
            Refused,
        ),
        (
            "etcdserver: authentication failed, invalid user ID or password",
            &[InvalidArgument],
            Refused,
        ),
        (
            "etcdserver: authentication is not enabled",
            &[FailedPrecondition],
            Refused,
        ),
        (
            "etcdserver: invalid auth token",
            &[Unauthenticated],
            Refused,
        ),
        (
            "etcdserver: rpc not supported for learner",
            &[Unavailable, FailedPrecondition],
            Refused,
        ),
        (
            "etcdserver: not capable",
            &[Unavailable, FailedPrecondition],
            Refused,
        ),
        (
            "etcdserver: invalid client api version",
            &[InvalidArgument],
            Refused,
        ),
        (
            "etcdserver: cluster ID mismatch",
            &[FailedPrecondition],
            Refused,
        ),
        (
            "etcdserver: no leader",
            &[Unavailable, Unknown],
            Unreachable,
        ),
        (
            "etcdserver: too many requests",
            &[ResourceExhausted, Unknown],
            Unreachable,
        ),
        (
            "etcdserver: revision of auth store is old",
            &[InvalidArgument, Unknown],
            Unreachable,
        ),
        (
            "etcdserver: mvcc: required revision has been compacted",
            &[OutOfRange],
            Unreachable,
        ),
        (
            "etcdserver: mvcc: required revision is a future revision",
            &[OutOfRange],
            Unreachable,
        ),
        // Untranslated, from the package that checks users.
        ("auth: revision in header is old", &[Unknown], Refused),
        ("auth: invalid auth token", &[Unknown], Refused),
    ]
};

fn class_of(message: &str, code: Code) -> ErrorClass {
    class(&Error::GRpcStatus(Status::new(code, message)))
}

#[test]
fn every_error_of_etcd_has_its_class() {
    for (message, code) in UNKNOWN {
        assert_eq!(class_of(message, *code), ErrorClass::Unknown, "{message}");
    }
    for (message, codes, expected) in KNOWN {
        for code in *codes {
            assert_eq!(class_of(message, *code), *expected, "{message}");
        }
    }
    // All messages of etcd 3.4.23, 3.5.1, 3.5.30, 3.6.9 and 3.7.1 are in one of the two lists.
    let of_etcd = KNOWN
        .iter()
        .filter(|(message, ..)| message.starts_with("etcdserver: "));
    assert_eq!(UNKNOWN.len() + of_etcd.count(), 63);
}

#[test]
fn an_error_of_anything_between_this_server_and_etcd_proves_nothing() {
    for code in [
        Code::Unavailable,
        Code::ResourceExhausted,
        Code::PermissionDenied,
        Code::Unauthenticated,
        Code::Unimplemented,
        Code::InvalidArgument,
        Code::FailedPrecondition,
    ] {
        let message = "upstream: etcdserver: permission denied";
        assert_eq!(class_of(message, code), ErrorClass::Unknown, "{code:?}");
    }
}

#[test]
fn connecting_has_no_effect_whatever_the_error_is() {
    let timeout = Status::unavailable("etcdserver: request timed out");
    let class = connect_class(&Error::GRpcStatus(timeout));
    assert_eq!(class, ErrorClass::Unreachable);
}

/// Returns the messages of etcd for which `test` is true.
fn messages(test: impl Fn(&Status) -> bool) -> Vec<&'static str> {
    let known = KNOWN.iter().map(|(message, ..)| *message);
    let all = UNKNOWN.iter().map(|(message, _)| *message).chain(known);
    all.filter(|message| test(&Status::unknown(*message)))
        .collect()
}

#[test]
fn each_reaction_follows_these_messages_only() {
    let after_login = messages(|status| needs_login(&Error::GRpcStatus(status.clone())));
    assert_eq!(
        after_login,
        [
            "etcdserver: user name is empty",
            "etcdserver: invalid auth token",
            "etcdserver: revision of auth store is old",
            "auth: revision in header is old",
        ]
    );
    assert_eq!(messages(is_denied), ["etcdserver: permission denied"]);
    assert_eq!(
        messages(|status| is_auth_disabled(&Error::GRpcStatus(status.clone()))),
        ["etcdserver: authentication is not enabled"]
    );
    let local = Error::Internal("etcdserver: user name is empty".into());
    assert!(!needs_login(&local) && !is_auth_disabled(&local));
}

#[test]
fn a_message_that_grpc_itself_rejects_never_reaches_etcd() {
    let message = "grpc: received message larger than max (2097163 vs. 2097152)";
    let class = class_of(message, Code::ResourceExhausted);
    assert_eq!(class, ErrorClass::Rejected);
}

#[test]
fn errors_of_the_client_itself_have_had_no_effect_if_nothing_was_sent() {
    for error in [
        Error::InvalidArgs(String::new()),
        Error::InvalidUri("http://[".parse::<http::Uri>().unwrap_err()),
        Error::InvalidMetadataValue("\n".parse::<AsciiMetadataValue>().unwrap_err()),
    ] {
        assert_eq!(class(&error), ErrorClass::Rejected, "{error}");
    }
    for error in [
        Error::TransportError(Endpoint::from_shared("http://[").unwrap_err()),
        Error::IoError(io::ErrorKind::ConnectionRefused.into()),
        Error::EndpointError(String::new()),
    ] {
        assert_eq!(class(&error), ErrorClass::Unreachable, "{error}");
    }
    for error in [
        Error::WatchError(String::new()),
        Error::Internal(String::new()),
    ] {
        assert_eq!(class(&error), ErrorClass::Unknown, "{error}");
    }
}
