//! The users of etcd.

use std::path::Path;

use etcd_client::{Client, ConnectOptions, Error};

use super::Etcd;
use crate::pki::secret;

/// The user that may do everything, and its password, as etcdctl takes them.
pub const ROOT: &str = "root:root-secret";

/// The user of a server, and its password.
pub const USER: (&str, &str) = ("airlock", "secret");

/// The documented permission of the server's user.
pub const ALL_GROUPS: &str = "--prefix=true readwrite com.coreos.airlock/groups/";

impl Etcd {
    /// Creates [`ROOT`], and [`USER`] with a role that has these permissions.
    pub fn create_users(&self, permissions: &[&str]) {
        let (name, password) = USER;
        let ctl = |command: &str| self.ctl(&command.split(' ').collect::<Vec<_>>());
        ctl(&format!("user add {ROOT}"));
        ctl("user grant-role root root");
        ctl(&format!("user add {name}:{password}"));
        ctl("role add airlock");
        ctl(&format!("user grant-role {name} airlock"));
        for permission in permissions {
            ctl(&format!("role grant-permission airlock {permission}"));
        }
    }

    /// Creates the same users, and has etcd require a user from now on.
    pub fn require_users(&self, permissions: &[&str]) {
        self.create_users(permissions);
        self.ctl(&["auth", "enable"]);
    }
}

/// Connects to etcd, which may be unreachable, as a user with a password, unless authentication is disabled.
pub async fn connect_as(
    endpoints: &[String],
    (name, password): (&str, &str),
) -> Result<Client, Error> {
    let user = ConnectOptions::new().with_user(name, password);
    match Client::connect(endpoints, Some(user)).await {
        Err(error) if error.to_string().contains("authentication is not enabled") => {
            Client::connect(endpoints, None).await
        }
        result => result,
    }
}

/// Returns the keys of the configuration for [`USER`], with `password` in a file in `folder`.
pub fn keys_of_user(folder: &Path, password: &str) -> String {
    let path = folder.join("password");
    secret(&path, &format!("{password}\n"));
    format!("username = {:?}\npassword_path = {path:?}\n", USER.0)
}
