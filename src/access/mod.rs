//! Users and their passwords: who is asking, and which groups they may lock.

mod htpasswd;
mod verifier;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use aws_lc_rs::error::Unspecified;

use crate::config::GroupSettings;
use crate::files::FromFiles;
use crate::store::GroupName;
pub use htpasswd::HtpasswdError;
use htpasswd::Users;
pub use verifier::Busy;
use verifier::Verifier;

/// Who may do what. The htpasswd file can be read again at any time.
pub struct Access {
    path: PathBuf,
    verifier: Arc<Verifier>,
    allowed: RwLock<Allowed>,
}

/// The users of the groups that not every user may lock.
type Allowed = BTreeMap<GroupName, BTreeSet<String>>;

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
    pub fn load(
        path: PathBuf,
        groups: &BTreeMap<GroupName, GroupSettings>,
        waiting_passwords: usize,
    ) -> Result<Self, AccessError> {
        let users = Users::read(&path)?;
        let access = Access {
            path,
            verifier: Verifier::new(users, waiting_passwords)?,
            allowed: RwLock::default(),
        };
        access.set_groups(groups);
        Ok(access)
    }

    /// Takes over who may lock which group. Users who do not exist are a warning.
    pub fn set_groups(&self, groups: &BTreeMap<GroupName, GroupSettings>) {
        let allowed: Allowed = groups
            .iter()
            .filter_map(|(name, group)| Some((name.clone(), group.users.clone()?)))
            .collect();
        *self.allowed.write().unwrap_or_else(PoisonError::into_inner) = allowed;
        self.warn_of_unknown_users();
    }

    /// Whether the password is the user's.
    ///
    /// # Errors
    /// If too many passwords wait already.
    pub async fn verify(&self, peer: IpAddr, user: &str, password: &str) -> Result<bool, Busy> {
        self.verifier.verify(peer, user, password).await
    }

    /// Whether a user who is let in may lock and unlock the group.
    pub fn may_lock(&self, user: &str, group: &GroupName) -> bool {
        let allowed = self.allowed.read().unwrap_or_else(PoisonError::into_inner);
        allowed.get(group).is_none_or(|users| users.contains(user))
    }

    fn warn_of_unknown_users(&self) {
        let users = self.verifier.users();
        let allowed = self.allowed.read().unwrap_or_else(PoisonError::into_inner);
        for (group, names) in &*allowed {
            for user in names.iter().filter(|user| !users.contains(user)) {
                let path = self.path.display();
                tracing::warn!(%group, user = user.as_str(), %path, "the group names a user who is not in the htpasswd file");
            }
        }
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
        self.warn_of_unknown_users();
        Ok(())
    }
}
