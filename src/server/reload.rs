//! The reload: SIGHUP has the server read its files again. A new configuration replaces the current one as a whole, or
//! not at all.

mod metrics;
mod target;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::signal::unix::Signal;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle, spawn_blocking};

use super::groups::GroupFactory;
use super::supervisor::Supervisor;
use super::{rlimit, systemd};
use crate::auth::Authenticator;
use crate::config::{self, ConfigErrors, Settings, command_line};
use crate::coordinator::ServerState;
use crate::reloadable::FileWatcher;
pub(super) use metrics::ReloadMetrics;
pub(super) use target::ReloadTarget;

/// Reloads everything that can change while the server runs.
pub(super) struct Reloader {
    pub(super) hangups: Signal,
    /// The read that is in progress.
    pub(super) reading: Option<JoinHandle<Result<Settings, ConfigErrors>>>,
    pub(super) config: PathBuf,
    /// The settings at the start of the server.
    pub(super) running: Settings,
    pub(super) state: watch::Sender<Arc<ServerState>>,
    pub(super) groups: GroupFactory,
    pub(super) files: Arc<FileWatcher<ReloadTarget>>,
    pub(super) authenticator: Option<Arc<Authenticator>>,
    pub(super) metrics: Arc<ReloadMetrics>,
    /// The reason why the last reload changed nothing.
    pub(super) rejected: watch::Sender<Option<ConfigErrors>>,
}

// === impl Reloader ===

impl Reloader {
    /// Waits for a SIGHUP, reloads the files, and reads the configuration, which may be invalid.
    ///
    /// The filesystem may not respond for seconds, so a thread of its own does this. The caller may drop the future and
    /// wait again; the service manager may then not learn of this reload. A SIGHUP during a reload causes another one after
    /// it.
    ///
    /// # Errors
    /// If the thread panicked.
    pub(super) async fn read(&mut self) -> Result<Result<Settings, ConfigErrors>, JoinError> {
        let reading = if let Some(reading) = &mut self.reading {
            reading
        } else {
            self.hangups.recv().await;
            let files = Arc::clone(&self.files);
            let metrics = Arc::clone(&self.metrics);
            let config = self.config.clone();
            let reading = spawn_blocking(move || {
                files.reload_all(|target, successful| metrics.reloaded(target, successful));
                read_settings(&config)
            });
            let reading = self.reading.insert(reading);
            systemd::reloading().await;
            reading
        };
        let read = reading.await;
        self.reading = None;
        read
    }

    /// Applies what was read. An invalid configuration changes nothing. If etcd was replaced by another cluster, that
    /// one is accepted, unless the configuration has another store: it may forbid the cluster.
    pub(super) fn apply(&self, supervisor: &mut Supervisor, read: Result<Settings, ConfigErrors>) {
        self.metrics.config_reloaded(read.is_ok());
        let rejected = match read {
            Ok(new) => {
                self.replace_settings(supervisor, new);
                None
            }
            Err(invalid) => Some(invalid),
        };
        self.rejected.send_replace(rejected);
    }

    fn replace_settings(&self, supervisor: &mut Supervisor, mut new: Settings) {
        for section in needs_restart(&self.running, &new) {
            tracing::warn!("{section} has changed; restart the server to apply the change");
        }
        if new.store == self.running.store {
            self.groups.store.accept_current();
        }
        new.limits.max_connections = rlimit::raise_nofile_limit(new.limits.max_connections);
        if let Some(authenticator) = &self.authenticator {
            authenticator.warn_of_unknown_users(&new.groups);
        }
        let old = Arc::clone(&self.state.borrow());
        let changes = describe(&old, &new);
        let state = self.groups.state(supervisor, &new, &old.groups);
        self.state.send_replace(Arc::new(state));
        self.metrics.gates_loaded(&self.groups.gates);
        tracing::warn!(changes, "configuration reloaded");
    }
}

/// Reads the settings. Errors and warnings are logged.
fn read_settings(config: &Path) -> Result<Settings, ConfigErrors> {
    let loaded = config::load(config);
    for warning in config::warnings(&loaded) {
        tracing::warn!("{warning}");
    }
    let invalid = match loaded {
        Ok(loaded) => return Ok(loaded.settings),
        Err(invalid) => invalid,
    };
    for error in &invalid.errors {
        tracing::error!("{error}");
    }
    let check = command_line(config, "check-config", &[]);
    tracing::error!(
        "configuration not reloaded, the previous one stays in effect; fix the errors above (`{check}` reports the \
         same), then send SIGHUP again"
    );
    Err(invalid)
}

/// Returns the sections that differ and are used at the start only.
fn needs_restart(running: &Settings, new: &Settings) -> Vec<&'static str> {
    let store = (&running.store, running.transaction_timeout);
    fn service(settings: &Settings) -> impl PartialEq {
        let Settings {
            service,
            htpasswd_path,
            path_prefix,
            trusted_proxies,
            node_names_path,
            ..
        } = settings;
        (
            service,
            htpasswd_path,
            path_prefix,
            trusted_proxies,
            node_names_path,
        )
    }
    [
        ("[service]", service(running) != service(new)),
        (
            "[status]",
            (&running.status, &running.allowed_hosts) != (&new.status, &new.allowed_hosts),
        ),
        (
            "[etcd3] or [embedded]",
            store != (&new.store, new.transaction_timeout),
        ),
        (
            "limits.waiting_requests_per_group",
            running.limits.waiting_requests_per_group != new.limits.waiting_requests_per_group,
        ),
        (
            "limits.max_pending_auth",
            running.limits.max_pending_auth != new.limits.max_pending_auth,
        ),
        ("[notify]", running.notify != new.notify),
    ]
    .into_iter()
    .filter_map(|(section, differs)| differs.then_some(section))
    .collect()
}

/// Describes for the log what a reload changes.
fn describe(old: &ServerState, new: &Settings) -> String {
    let mut changes = Vec::new();
    for (name, settings) in &new.groups {
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
                for (what, has_changed) in [
                    ("windows", old.windows != settings.windows),
                    ("freezes", old.freezes != settings.freezes),
                    (
                        "stall_after_minutes",
                        old.stall_after != settings.stall_after,
                    ),
                    ("settle_minutes", old.settle != settings.settle),
                ] {
                    if has_changed {
                        changes.push(format!("{what} of {name}"));
                    }
                }
                if old.gates != settings.gates {
                    changes.push(format!("gates of {name}"));
                }
            }
        }
    }
    let removed = old
        .groups
        .keys()
        .filter(|name| !new.groups.contains_key(*name));
    changes.extend(removed.map(|name| format!("group {name} removed")));
    if old.caps != new.caps {
        changes.push("caps".into());
    }
    if old.limits != new.limits {
        changes.push("limits".into());
    }
    if changes.is_empty() {
        "no group or limit has changed".into()
    } else {
        changes.join(", ")
    }
}
