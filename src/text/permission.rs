//! The remedy for a missing file permission, for error messages.

use std::io::{self, ErrorKind};

/// Returns the remedy, to be appended to `error`; empty if the error has another cause.
pub(crate) fn read_hint(error: &io::Error) -> String {
    if error.kind() != ErrorKind::PermissionDenied {
        return String::new();
    }
    format!(
        "; {} needs read permission on the file and execute permission on its folders",
        current_user()
    )
}

/// Names the user that this process runs as.
pub(crate) fn current_user() -> String {
    format!("the user with uid {}", rustix::process::geteuid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_permission_names_the_user_and_other_errors_get_no_remedy() {
        let denied = read_hint(&ErrorKind::PermissionDenied.into());
        let user = rustix::process::geteuid().to_string();
        assert!(
            denied.starts_with(&format!("; the user with uid {user} needs read permission")),
            "{denied}"
        );
        assert_eq!(read_hint(&ErrorKind::NotFound.into()), "");
    }
}
