//! SIGHUP: the configuration is read again and replaces the live one as a whole, or not at all.
//!
//! A file that is wrong changes nothing. What cannot change while the server runs is named in a warning.

use std::collections::BTreeMap;
use std::path::Path;

use crate::config::{self, GroupSettings, Settings};
use crate::live::Live;
use crate::store::GroupName;

/// The new settings, or `None` if the file is wrong. Whatever there is to say is logged.
pub fn read(path: &Path, running: &Settings) -> Option<Settings> {
    let loaded = config::load(path);
    for warning in config::warnings(&loaded) {
        tracing::warn!("{warning}");
    }
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(problems) => {
            for error in &problems.errors {
                tracing::error!("{error}");
            }
            tracing::error!(
                "the configuration was not reloaded: the old one stays in force; \
                 `airlock check-config` shows the same, then send SIGHUP again"
            );
            return None;
        }
    };
    for section in needs_restart(running, &loaded.settings) {
        tracing::warn!("{section} has changed, which takes effect when the server is restarted");
    }
    Some(loaded.settings)
}

/// The sections that are used at the start only, where they differ.
fn needs_restart(running: &Settings, new: &Settings) -> Vec<&'static str> {
    let store = (&running.store, running.transaction_timeout);
    [
        (
            "[service]",
            (&running.service, &running.htpasswd_path) != (&new.service, &new.htpasswd_path),
        ),
        ("[status]", running.status != new.status),
        (
            "[etcd3] or [embedded]",
            store != (&new.store, new.transaction_timeout),
        ),
        (
            "limits.waiting_requests_per_group",
            running.limits.waiting_requests_per_group != new.limits.waiting_requests_per_group,
        ),
        (
            "limits.waiting_passwords",
            running.limits.waiting_passwords != new.limits.waiting_passwords,
        ),
    ]
    .into_iter()
    .filter_map(|(section, differs)| differs.then_some(section))
    .collect()
}

/// What a reload changes, in words for the log.
pub fn describe(old: &Live, new: &BTreeMap<GroupName, GroupSettings>) -> String {
    let mut changes = Vec::new();
    for (name, settings) in new {
        match old.groups.get(name).map(|old| &old.settings) {
            None => changes.push(format!("group {name} added")),
            Some(old) => {
                if old.slots != settings.slots {
                    changes.push(format!(
                        "slots of {name} {} -> {}",
                        old.slots, settings.slots
                    ));
                }
                if old.users != settings.users {
                    changes.push(format!("users of {name}"));
                }
                if old.windows != settings.windows {
                    changes.push(format!("windows of {name}"));
                }
            }
        }
    }
    let removed = old.groups.keys().filter(|name| !new.contains_key(*name));
    changes.extend(removed.map(|name| format!("group {name} removed")));
    if changes.is_empty() {
        "no group has changed".into()
    } else {
        changes.join(", ")
    }
}
