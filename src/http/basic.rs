//! Basic authentication (RFC 7617): the user and the password in a request's head.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, header};

/// What a client says who it is. Not to be shown.
pub struct Credentials {
    pub user: String,
    pub password: String,
}

// === impl Credentials ===

impl Credentials {
    /// `None` if there are none, or not in a form that anybody could have verified.
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let (value, None) = (values.next()?, values.next()) else {
            // Two could be read differently by a proxy and by us.
            return None;
        };
        let (scheme, encoded) = value.to_str().ok()?.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
        let (user, password) = decoded.split_once(':')?;
        Some(Credentials {
            user: user.to_owned(),
            password: password.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(values: &[&str]) -> Option<(String, String)> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, value.parse().unwrap());
        }
        let Credentials { user, password } = Credentials::from_headers(&headers)?;
        Some((user, password))
    }

    #[test]
    fn the_password_begins_after_the_first_colon() {
        let expected = Some(("node".to_owned(), "a:b".to_owned()));
        assert_eq!(read(&["Basic bm9kZTphOmI="]), expected);
        assert_eq!(read(&["basic  bm9kZTphOmI="]), expected);
    }

    #[test]
    fn anything_else_is_nobody() {
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
            assert_eq!(read(values), None, "{values:?}");
        }
    }

    proptest! {
        #[test]
        fn any_header_is_somebody_or_nobody(value: Vec<u8>, word in "(?i:basic) ?[A-Za-z0-9+/=:]*") {
            for value in [value.as_slice(), word.as_bytes()] {
                let Ok(value) = http::HeaderValue::from_bytes(value) else {
                    continue;
                };
                let mut headers = HeaderMap::new();
                headers.append(header::AUTHORIZATION, value);
                let _ = Credentials::from_headers(&headers);
            }
        }

        #[test]
        fn any_name_and_password_are_read_as_they_were_sent(user in "[^:]*", password: String) {
            let word = STANDARD.encode(format!("{user}:{password}"));
            prop_assert_eq!(read(&[&format!("Basic {word}")]), Some((user, password)));
        }
    }
}
