//! The base URL of a FleetLock server, as Zincati knows it: with a user and a password, if the server wants them.

use http::Uri;
use percent_encoding::percent_decode_str;

use crate::config::{UrlError, parse_url, shown_url};

/// A user and a password.
#[derive(PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) password: String,
}

/// The reason why a text is not the base URL of a server. The message shows neither a password nor a path.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BaseUrlError {
    #[error(transparent)]
    Url(#[from] UrlError),
    #[error("URL {0} has a query or a fragment; write https://host/, or https://host/path/")]
    Query(String),
    #[error(
        "URL {0} has a user without a password, or the reverse; write https://user:password@host/, and characters other \
         than letters and digits as %XX"
    )]
    User(String),
}

/// Returns the URL of `endpoint`, a relative path, and the user of the base URL.
///
/// The path of the base URL need not end with a slash. Zincati, which joins URLs as browsers do, drops what follows the
/// last one.
pub(crate) fn join(base: &str, endpoint: &str) -> Result<(Uri, Option<User>), BaseUrlError> {
    let Some((scheme, rest)) = base.split_once("://") else {
        return Ok((parse_url(base, "")?, None));
    };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    if path.contains(['?', '#']) {
        return Err(BaseUrlError::Query(shown_url(base)));
    }
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => {
            let user = parse_user(user).ok_or_else(|| BaseUrlError::User(shown_url(base)))?;
            (Some(user), host)
        }
        None => (None, authority),
    };
    let path = path.trim_end_matches('/');
    let url = parse_url(&format!("{scheme}://{host}{path}/{endpoint}"), "")?;
    Ok((url, user))
}

fn parse_user(text: &str) -> Option<User> {
    let (name, password) = text.split_once(':')?;
    let (name, password) = (percent_decoded(name)?, percent_decoded(password)?);
    // The header has a colon between both.
    let is_valid = !name.is_empty() && !name.contains(':') && !password.is_empty();
    is_valid.then_some(User { name, password })
}

/// Replaces `%XX` by the byte that it stands for, and leaves any other `%`, as browsers do, and Zincati; `None` if the
/// result is not UTF-8.
fn percent_decoded(text: &str) -> Option<String> {
    let decoded = percent_decode_str(text).decode_utf8().ok()?;
    Some(decoded.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the joined URL, and `user:password`.
    fn joined(base: &str) -> Result<(String, Option<String>), String> {
        let (url, user) = join(base, "v1/pre-reboot").map_err(|error| error.to_string())?;
        let user = user.map(|user| format!("{}:{}", user.name, user.password));
        Ok((url.to_string(), user))
    }

    #[test]
    fn the_endpoint_is_below_the_path_of_the_base_url() {
        for (base, expected) in [
            ("http://h:3333", "http://h:3333/v1/pre-reboot"),
            ("https://h/", "https://h/v1/pre-reboot"),
            ("https://h/base", "https://h/base/v1/pre-reboot"),
            ("HTTP://[::1]:1/a/b//", "http://[::1]:1/a/b/v1/pre-reboot"),
        ] {
            assert_eq!(joined(base), Ok((expected.to_owned(), None)), "{base}");
        }
    }

    #[test]
    fn user_and_password_are_taken_out_of_the_url_and_decoded() {
        for (user, expected) in [
            ("node:secret", "node:secret"),
            ("n%40x:p%3a%2F%25@:", "n@x:p:/%@:"),
            ("n:50%", "n:50%"),
            ("n:%zz%C3%A9", "n:%zzé"),
        ] {
            let url = "https://h/a/v1/pre-reboot".to_owned();
            let found = joined(&format!("https://{user}@h/a/"));
            assert_eq!(found, Ok((url, Some(expected.to_owned()))), "{user}");
        }
    }

    #[test]
    fn a_url_that_cannot_be_used_is_shown_without_its_password() {
        for base in [
            "node:secret@h:3333",
            "ftp://node:secret@h/",
            "https://node:secret@h:99999/",
            "https://node:secret@h/?x",
            "https://node:secret@h/#x",
            "https://node:secret@",
            "https://node:secret/x@h/",
            "https://:secret@h/",
            "https://n%3ab:secret@h/",
            "https://node:secret%ff@h/",
        ] {
            let error = joined(base).unwrap_err();
            assert!(!error.contains("secret"), "{base}: {error}");
            assert!(error.contains("write http"), "{base}: {error}");
        }
        for base in [
            "",
            "h",
            "h:3333",
            "https://",
            "https://node@h/",
            "https://n:@h/",
            "http://h o/",
        ] {
            assert!(joined(base).is_err(), "{base}");
        }
    }
}
