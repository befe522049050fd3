//! Basic authentication (RFC 7617): the user and the password in the headers of a request.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, header};

/// The maximum length of a password in bytes. bcrypt ignores all further bytes.
pub(crate) const MAX_PASSWORD: usize = 72;

/// The user and the password of a request, not verified yet. Neither is logged: a client may have confused the two.
pub(crate) struct BasicCredentials {
    pub(crate) user: String,
    pub(crate) password: String,
}

/// The reason why a request has no credentials that can be verified. It depends on the request alone, so it reveals
/// nothing about users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InvalidCredentials {
    /// The `Authorization` header is absent, repeated, or malformed.
    Missing,
    /// The password is empty.
    EmptyPassword,
    /// The password contains a NUL, which ends it in other implementations of bcrypt.
    NulInPassword,
    /// The password is longer than [`MAX_PASSWORD`].
    LongPassword,
}

// === impl BasicCredentials ===

impl BasicCredentials {
    /// Extracts the credentials from the `Authorization` header.
    ///
    /// # Errors
    /// If there are none, or bcrypt would accept other passwords in place of this one.
    pub(crate) fn from_headers(headers: &HeaderMap) -> Result<Self, InvalidCredentials> {
        let credentials = Self::decode(headers).ok_or(InvalidCredentials::Missing)?;
        match credentials.password.as_bytes() {
            [] => Err(InvalidCredentials::EmptyPassword),
            password if password.contains(&0) => Err(InvalidCredentials::NulInPassword),
            password if password.len() > MAX_PASSWORD => Err(InvalidCredentials::LongPassword),
            _ => Ok(credentials),
        }
    }

    fn decode(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let (value, None) = (values.next()?, values.next()) else {
            // A proxy and this server could choose different ones.
            return None;
        };
        let (scheme, encoded) = value.to_str().ok()?.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
        let (user, password) = decoded.split_once(':')?;
        Some(BasicCredentials {
            user: user.to_owned(),
            password: password.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzzing;
    use proptest::prelude::*;

    fn parse(values: &[&str]) -> Result<(String, String), InvalidCredentials> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, value.parse().unwrap());
        }
        let BasicCredentials { user, password } = BasicCredentials::from_headers(&headers)?;
        Ok((user, password))
    }

    fn encoded(user: &str, password: &str) -> String {
        format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
    }

    #[test]
    fn the_password_begins_after_the_first_colon() {
        let expected = Ok(("node".to_owned(), "a:b".to_owned()));
        assert_eq!(parse(&["Basic bm9kZTphOmI="]), expected);
        assert_eq!(parse(&["basic  bm9kZTphOmI="]), expected);
    }

    #[test]
    fn absent_repeated_and_malformed_headers_are_no_credentials() {
        for values in [
            &[][..],
            &["Basic"],
            &["Basic "],
            &["Basic ?"],
            &["Basic bm9kZQ=="],
            &["Basic /zo="],
            &["Bearer bm9kZTphOmI="],
            &["Basic bm9kZTphOmI=", "Basic bm9kZTphOmI="],
        ] {
            assert_eq!(
                parse(values),
                Err(InvalidCredentials::Missing),
                "{values:?}"
            );
        }
    }

    #[test]
    fn a_password_that_bcrypt_does_not_tell_from_others_is_refused() {
        use InvalidCredentials::{EmptyPassword, LongPassword, NulInPassword};
        let long = "é".repeat(36);
        for (password, expected) in [
            ("", Err(EmptyPassword)),
            ("\0", Err(NulInPassword)),
            ("secret\0", Err(NulInPassword)),
            (&format!("{long}x"), Err(LongPassword)),
            (&long, Ok(("node".to_owned(), long.clone()))),
        ] {
            let header = encoded("node", password);
            assert_eq!(parse(&[&header]), expected, "{password:?}");
        }
    }

    proptest! {
        #[test]
        fn any_header_is_parsed_without_a_panic(value: Vec<u8>, word in "(?i:basic) ?[A-Za-z0-9+/=:]*") {
            for value in [value.as_slice(), word.as_bytes()] {
                fuzzing::basic(value);
            }
        }

        #[test]
        fn any_user_and_password_are_parsed_as_they_were_sent(
            user in "[^:]*",
            password in "[^\0]{1,18}",
        ) {
            let header = encoded(&user, &password);
            prop_assert_eq!(parse(&[&header]), Ok((user, password)));
        }
    }
}
