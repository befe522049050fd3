//! Authentication: users, and the verification of their passwords.

mod basic;
pub(crate) mod htpasswd;
mod queue;
mod verifier;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::error::Unspecified;

use crate::config::GroupSettings;
use crate::lock::GroupName;
use crate::reloadable::{Reload, ReloadError};
use crate::text::explain::Remedy;
pub(crate) use basic::{BasicCredentials, InvalidCredentials, MAX_PASSWORD};
pub(crate) use htpasswd::HtpasswdError;
use htpasswd::Users;
pub(crate) use queue::QueueFull;
use verifier::Verifier;

/// Verifies users against an htpasswd file, which can be reloaded at any time.
pub(crate) struct Authenticator {
    path: PathBuf,
    verifier: Arc<Verifier>,
}

/// The reason why clients cannot be authenticated.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AuthError {
    #[error(transparent)]
    Htpasswd(#[from] HtpasswdError),
    #[error("the system returned no random numbers")]
    Random(#[from] Unspecified),
}

impl Remedy for AuthError {
    fn remedy(&self) -> Option<String> {
        match self {
            AuthError::Htpasswd(error) => error.remedy(),
            AuthError::Random(_) => None,
        }
    }
}

/// A user that a group names, but the htpasswd file does not contain.
#[derive(Debug)]
pub(crate) struct UnknownUser {
    pub(crate) group: GroupName,
    pub(crate) user: String,
}

/// Reads the file, and returns the users that `groups` name and the file does not contain.
///
/// # Errors
/// If the file cannot be used.
pub(crate) fn check(
    path: &Path,
    groups: &BTreeMap<GroupName, GroupSettings>,
) -> Result<Vec<UnknownUser>, HtpasswdError> {
    let users = Users::read(path)?;
    Ok(unknown_users(&users, groups))
}

// === impl Authenticator ===

impl Authenticator {
    /// Reads the users. At most `max_pending` passwords wait for verification.
    ///
    /// # Errors
    /// If the file cannot be used.
    pub(crate) fn load(path: PathBuf, max_pending: usize) -> Result<Self, AuthError> {
        let users = Users::read(&path)?;
        let verifier = Verifier::new(users, max_pending)?;
        Ok(Authenticator { path, verifier })
    }

    /// Logs a warning for each user that a group names and the file does not contain.
    pub(crate) fn warn_of_unknown_users(&self, groups: &BTreeMap<GroupName, GroupSettings>) {
        for UnknownUser { group, user } in unknown_users(&self.verifier.users(), groups) {
            let path = self.path.display();
            tracing::warn!(%group, user, %path, "the htpasswd file does not contain a user of this group");
        }
    }

    /// Reports whether the password is that of the user.
    ///
    /// # Errors
    /// If too many passwords already wait for verification.
    pub(crate) async fn verify(
        &self,
        peer: IpAddr,
        user: &str,
        password: &str,
    ) -> Result<bool, QueueFull> {
        self.verifier.verify(peer, user, password).await
    }
}

impl Reload for Authenticator {
    fn what(&self) -> String {
        "service.htpasswd_path".into()
    }

    fn paths(&self) -> Vec<PathBuf> {
        vec![self.path.clone()]
    }

    fn reload(&self) -> Result<(), ReloadError> {
        self.verifier.set_users(Users::read(&self.path)?);
        Ok(())
    }
}

fn unknown_users(users: &Users, groups: &BTreeMap<GroupName, GroupSettings>) -> Vec<UnknownUser> {
    let mut unknown = Vec::new();
    for (group, settings) in groups {
        let named = settings.users.iter().flatten();
        unknown.extend(
            named
                .filter(|user| !users.contains(user))
                .map(|user| UnknownUser {
                    group: group.clone(),
                    user: user.clone(),
                }),
        );
    }
    unknown
}
