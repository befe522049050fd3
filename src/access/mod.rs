//! Users and their passwords: who is asking.

mod htpasswd;
mod verifier;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::error::Unspecified;

use crate::config::GroupSettings;
use crate::files::FromFiles;
use crate::store::GroupName;
pub use htpasswd::HtpasswdError;
use htpasswd::Users;
pub use verifier::Busy;
use verifier::Verifier;

/// Who is who. The htpasswd file can be read again at any time.
pub struct Access {
    path: PathBuf,
    verifier: Arc<Verifier>,
}

/// Why nobody can be let in.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    #[error("{0} (service.htpasswd_path)")]
    File(#[from] HtpasswdError),
    #[error("the system has no randomness to give")]
    Random(#[from] Unspecified),
}

/// Whether the file could be used now.
///
/// # Errors
/// Why not.
pub fn check(path: &Path) -> Result<(), HtpasswdError> {
    Users::read(path).map(drop)
}

// === impl Access ===

impl Access {
    /// Reads the users. `waiting_passwords` may wait to be verified.
    ///
    /// # Errors
    /// If the file cannot be used.
    pub fn load(path: PathBuf, waiting_passwords: usize) -> Result<Self, AccessError> {
        let users = Users::read(&path)?;
        let verifier = Verifier::new(users, waiting_passwords)?;
        Ok(Access { path, verifier })
    }

    /// A group that names a user who does not exist is a warning.
    pub fn warn_of_unknown_users(&self, groups: &BTreeMap<GroupName, GroupSettings>) {
        let users = self.verifier.users();
        for (group, settings) in groups {
            let named = settings.users.iter().flatten();
            for user in named.filter(|user| !users.contains(user)) {
                let path = self.path.display();
                tracing::warn!(%group, user = user.as_str(), %path, "the group names a user who is not in the htpasswd file");
            }
        }
    }

    /// Whether the password is the user's.
    ///
    /// # Errors
    /// If too many passwords wait already.
    pub async fn verify(&self, peer: IpAddr, user: &str, password: &str) -> Result<bool, Busy> {
        self.verifier.verify(peer, user, password).await
    }
}

impl FromFiles for Access {
    fn what(&self) -> String {
        "service.htpasswd_path".into()
    }

    fn paths(&self) -> Vec<PathBuf> {
        vec![self.path.clone()]
    }

    fn reload(&self) -> Result<(), String> {
        let users = Users::read(&self.path).map_err(|error| error.to_string())?;
        self.verifier.set_users(users);
        Ok(())
    }
}
