//! What a node is told when it does not get what it asked for.
//!
//! Zincati turns `kind` into a metric label, so the set is small and fixed, and writes `value` to the
//! journal, so it is a sentence for a person.

use super::InvalidIdentity;
use crate::quote::quoted;

/// A request that is not granted, and why. Anything that is not a 2xx is a refusal to Zincati.
#[derive(Debug)]
pub enum Refusal {
    /// The client did not say who it is.
    InvalidIdentity(InvalidIdentity),
    /// The body is larger than `max` bytes.
    BodyTooLarge { max: usize },
    /// The body did not arrive in time, or not whole.
    BodyIncomplete,
    /// No such group is configured here.
    UnknownGroup(String),
    /// As many nodes as there are slots hold the semaphore.
    Full { slots: u64 },
    /// No reboot window of the group is open; when the next one opens.
    OutsideWindow {
        group: String,
        opens: Option<String>,
    },
    /// The store could not be asked, or did not answer in time.
    StoreUnavailable(String),
    /// The stored value is damaged or the store refuses this very request.
    StoreRefused(String),
    /// More requests wait in this group than may.
    Busy,
    /// The server is ending.
    ShuttingDown,
    /// A request's head has more fields than it may have.
    TooManyHeaders { max: usize },
    /// Nobody, or somebody with the wrong password.
    Unauthorized { given: bool },
    /// Somebody who may not lock this group.
    Forbidden { user: String, group: String },
    /// More passwords wait to be verified than may.
    PasswordsWait,
    /// No such path.
    NotFound,
    /// Anything but `POST`.
    MethodNotAllowed,
}

impl Refusal {
    /// The machine's word for it: one of a fixed set.
    pub fn kind(&self) -> &'static str {
        match self {
            Refusal::InvalidIdentity(_) => "invalid_client_identity",
            Refusal::BodyTooLarge { .. } => "body_too_large",
            Refusal::BodyIncomplete => "body_incomplete",
            Refusal::UnknownGroup(_) => "unknown_group",
            Refusal::Full { .. } => "failed_lock",
            Refusal::OutsideWindow { .. } => "outside_reboot_window",
            Refusal::StoreUnavailable(_) | Refusal::StoreRefused(_) => "failed_sem_init",
            Refusal::Busy | Refusal::PasswordsWait => "server_busy",
            Refusal::ShuttingDown => "server_shutting_down",
            Refusal::TooManyHeaders { .. } => "headers_too_large",
            Refusal::Unauthorized { .. } => "unauthorized",
            Refusal::Forbidden { .. } => "forbidden",
            Refusal::NotFound => "not_found",
            Refusal::MethodNotAllowed => "method_not_allowed",
        }
    }

    /// A person's sentence for it.
    pub fn value(&self) -> String {
        match self {
            Refusal::InvalidIdentity(reason) => {
                format!("failed to validate client identity: {reason}")
            }
            Refusal::BodyTooLarge { max } => format!("request body larger than {max} bytes"),
            Refusal::BodyIncomplete => "request body not received in full and in time".into(),
            Refusal::UnknownGroup(group) => format!("unknown group {}", quoted(group)),
            Refusal::Full { slots } => format!("all {slots} semaphore slots currently locked"),
            Refusal::OutsideWindow { group, opens } => {
                let group = quoted(group);
                match opens {
                    Some(opens) => format!(
                        "outside the reboot windows of group {group}, the next opens {opens}"
                    ),
                    None => format!("outside the reboot windows of group {group}"),
                }
            }
            Refusal::StoreUnavailable(reason) | Refusal::StoreRefused(reason) => {
                format!("failed to initialize semaphore manager: {reason}")
            }
            Refusal::Busy => "too many requests wait in this group, ask again later".into(),
            Refusal::ShuttingDown => "the server is shutting down, ask again later".into(),
            Refusal::TooManyHeaders { max } => format!("more than {max} header fields"),
            Refusal::Unauthorized { given: false } => {
                "this server asks for a user and a password, as in base_url = \"https://user:password@…/\"".into()
            }
            Refusal::Unauthorized { given: true } => "wrong user or password".into(),
            Refusal::Forbidden { user, group } => {
                format!("user {} may not lock group {}", quoted(user), quoted(group))
            }
            Refusal::PasswordsWait => "too many passwords wait to be verified, ask again later".into(),
            Refusal::NotFound => {
                "no such path, there are /v1/pre-reboot and /v1/steady-state".into()
            }
            Refusal::MethodNotAllowed => "method not allowed, use POST".into(),
        }
    }

    /// The line in the log, in Airlock's words where it has some.
    pub fn log_message(&self) -> String {
        match self {
            Refusal::Full { .. } | Refusal::OutsideWindow { .. } => {
                format!("failed to lock semaphore: {}", self.value())
            }
            _ => self.value(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_group_is_quoted() {
        let value = |group: &str| Refusal::UnknownGroup(group.into()).value();
        assert_eq!(value("nope"), r#"unknown group "nope""#);
        assert_eq!(value("a\"b\n"), r#"unknown group "a\"b\n""#);
    }
}
