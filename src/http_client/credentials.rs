//! The secrets with which a client authenticates itself.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::HeaderValue;
use http::header::InvalidHeaderValue;

use crate::file::{self, FileError};
use crate::text::explain::Remedy;

/// The reason why a token or a password cannot be used. The message names the file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretError {
    #[error(transparent)]
    Read(#[from] FileError),
    #[error("{}: is empty", .0.display())]
    Empty(PathBuf),
    #[error("{}: contains a token with a line end or another character that a request cannot contain", .0.display())]
    NotAHeader(PathBuf),
}

/// Reads a secret, without the newline that editors append.
///
/// # Errors
/// If the file cannot be read, or contains none.
pub(crate) fn read_secret(path: &Path) -> Result<String, SecretError> {
    let text = file::read_text(path)?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(SecretError::Empty(path.to_owned())),
        secret => Ok(secret.to_owned()),
    }
}

/// Returns the value of the header `Authorization` for a bearer token.
///
/// # Errors
/// If a request cannot contain the token.
pub(crate) fn bearer(token: &str) -> Result<HeaderValue, InvalidHeaderValue> {
    sensitive(format!("Bearer {token}"))
}

/// Returns the value of the header `Authorization` for a user and a password.
///
/// # Errors
/// Never: Base64 consists of characters that a request can contain.
pub(crate) fn basic(username: &str, password: &str) -> Result<HeaderValue, InvalidHeaderValue> {
    let pair = BASE64_STANDARD.encode(format!("{username}:{password}"));
    sensitive(format!("Basic {pair}"))
}

fn sensitive(value: String) -> Result<HeaderValue, InvalidHeaderValue> {
    let mut value = HeaderValue::try_from(value)?;
    value.set_sensitive(true);
    Ok(value)
}

// === impl SecretError ===

impl Remedy for SecretError {
    fn remedy(&self) -> Option<String> {
        match self {
            SecretError::Read(error) => error.remedy(),
            SecretError::Empty(_) => Some("write the token or the password into it".into()),
            SecretError::NotAHeader(_) => Some("write the token alone into it, in one line".into()),
        }
    }
}
