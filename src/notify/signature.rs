//! The signature of an event, as Standard Webhooks 1.0 defines it: it covers the id, the time of the attempt and the
//! body, so that a receiver can reject an event that somebody else repeats.

use std::path::{Path, PathBuf};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::file::{self, FileError};
use crate::text::explain::Remedy;
use crate::text::permission::command_path;

/// The minimum length of a secret in bytes.
const MIN_SECRET: usize = 16;

/// The secret that this server shares with the receiver.
pub(super) struct Secret(hmac::Key);

/// The reason why a secret cannot be used. The message names the file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretError {
    #[error(transparent)]
    Read(#[from] FileError),
    #[error("{}: contains a secret of {bytes} bytes; at least {MIN_SECRET} are needed", path.display())]
    TooShort { path: PathBuf, bytes: usize },
    #[error("{}: contains the prefix whsec_, but no Base64 behind it", path.display())]
    NotBase64 {
        path: PathBuf,
        source: base64::DecodeError,
    },
}

/// Checks whether the file contains a secret.
///
/// # Errors
/// If it does not.
pub(crate) fn check_secret(path: &Path) -> Result<(), SecretError> {
    Secret::read(path).map(drop)
}

// === impl SecretError ===

impl Remedy for SecretError {
    fn remedy(&self) -> Option<String> {
        match self {
            SecretError::Read(error) => error.remedy(),
            SecretError::TooShort { path, .. } | SecretError::NotBase64 { path, .. } => {
                let path = command_path(path);
                Some(format!(
                    "write a new one, which the receiver needs too: echo \"whsec_$(openssl rand -base64 32)\" > {path}"
                ))
            }
        }
    }
}

// === impl Secret ===

impl Secret {
    /// Reads a secret, without the newline that editors append. With the prefix `whsec_`, as in Standard Webhooks, the
    /// rest is Base64; without it, the text itself is the secret.
    pub(super) fn read(path: &Path) -> Result<Self, SecretError> {
        let text = file::read_text(path)?;
        let text = text.trim_end_matches(['\r', '\n']);
        let secret = match text.strip_prefix("whsec_") {
            None => text.as_bytes().to_vec(),
            Some(encoded) => BASE64_STANDARD.decode(encoded).map_err(|source| {
                let path = path.to_owned();
                SecretError::NotBase64 { path, source }
            })?,
        };
        if secret.len() < MIN_SECRET {
            return Err(SecretError::TooShort {
                path: path.to_owned(),
                bytes: secret.len(),
            });
        }
        Ok(Secret(hmac::Key::new(hmac::HMAC_SHA256, &secret)))
    }

    /// Returns the value of the header `webhook-signature`. `timestamp` is in seconds since 1970.
    pub(super) fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(format!("{id}.{timestamp}.").as_bytes());
        context.update(body);
        format!("v1,{}", BASE64_STANDARD.encode(context.sign()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_standard_webhooks() {
        // Source: the tests of the libraries in github.com/standard-webhooks/standard-webhooks.
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").unwrap();
        let secret = Secret::read(file.path()).unwrap();
        assert_eq!(
            secret.sign(
                "msg_p5jXN8AQM9LWM0D4loKWxJek",
                1_614_265_330,
                br#"{"test": 2432232314}"#
            ),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }
}
