//! What the administrator's commands have in common: the configured store, and the groups in it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Failure;
use crate::admin::NotDone;
use crate::config::{Loaded, Settings, StoreSettings};
use crate::group::Known;
use crate::quote::quoted;
use crate::semaphore::Semaphore;
use crate::store::open::open;
use crate::store::{GroupName, Store};

/// The store that a command works on, beside whatever servers run.
pub struct Desk {
    pub settings: Settings,
    pub store: Arc<dyn Store>,
    config: PathBuf,
}

/// A group that a command was told.
pub struct Target {
    pub name: GroupName,
    /// `None`: it is not in the configuration, but the store has it.
    pub configured_slots: Option<u64>,
}

/// Runs one command to its end.
pub fn block_on(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Other(format!("cannot start the runtime: {error}")))?;
    let result = runtime.block_on(command);
    // A look-up of a name that hangs does not hold up the end.
    runtime.shutdown_background();
    result
}

// === impl Desk ===

impl Desk {
    /// # Errors
    /// If the store cannot be used. An embedded one has to exist: a command that made a new one would
    /// work, on nothing that any server looks at.
    pub fn open(loaded: Loaded, config: &Path) -> Result<Self, Failure> {
        let settings = loaded.settings;
        if let StoreSettings::Embedded { path } = &settings.store
            && !path.exists()
        {
            let file = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            return Err(Failure::Unavailable(format!(
                "{}: no such file (embedded.path in {}); no server has run with it. A relative path \
                 counts from the folder that the command is started in",
                file.display(),
                config.display()
            )));
        }
        let store = open(&settings.store, settings.transaction_timeout)
            .map_err(|error| Failure::Unavailable(error.to_string()))?;
        Ok(Desk {
            settings,
            store,
            config: config.to_owned(),
        })
    }

    /// Which store it is, and who says so.
    pub fn place(&self) -> String {
        let store = match &self.settings.store {
            StoreSettings::Etcd(etcd) => format!("etcd {}", etcd.endpoints.join(" ")),
            StoreSettings::Embedded { path } => format!("file {}", path.display()),
        };
        format!("{store} (from {})", self.config.display())
    }

    /// The group called `name`, if the configuration or the store knows it.
    pub async fn target(&self, name: &str) -> Result<Target, Failure> {
        let configured = self.settings.groups.get(name).map(|group| group.slots);
        let unknown = || {
            let names = self.settings.groups.keys().map(GroupName::as_str);
            Failure::Other(format!(
                "unknown group {}: neither {} nor the store knows it; configured are {}",
                quoted(name),
                self.config.display(),
                names.collect::<Vec<_>>().join(", ")
            ))
        };
        let target = Target {
            name: GroupName::new(name).ok_or_else(unknown)?,
            configured_slots: configured,
        };
        if configured.is_none() {
            let stored = self.store.read(&target.name).await?;
            stored.value.ok_or_else(unknown)?;
            tracing::warn!(
                "group {name} is not in {}, but the store has it",
                self.config.display()
            );
        }
        Ok(target)
    }

    /// All groups of the configuration.
    pub fn configured(&self) -> impl Iterator<Item = Target> {
        self.settings.groups.iter().map(|(name, group)| Target {
            name: name.clone(),
            configured_slots: Some(group.slots),
        })
    }

    /// What the store has for a group.
    pub async fn known(&self, target: &Target) -> Result<Known, Failure> {
        let stored = self.store.read(&target.name).await?;
        Ok(Known::new(stored, target.configured_slots.unwrap_or(0)))
    }

    /// The same where it has to be a semaphore.
    pub async fn semaphore(&self, target: &Target) -> Result<Arc<Semaphore>, Failure> {
        let known = self.known(target).await?;
        known
            .semaphore
            .map_err(|reason| self.damaged(&target.name, &reason.to_string()))
    }

    /// The error about a value that is no semaphore.
    pub fn damaged(&self, group: &GroupName, reason: &str) -> Failure {
        Failure::Other(format!(
            "the value stored at {} cannot be used: {reason} (see docs/operations.md, \"A damaged value\")",
            self.store.place(group)
        ))
    }

    pub fn not_done(&self, group: &GroupName, reason: NotDone) -> Failure {
        match reason {
            NotDone::Refused(reason) => Failure::Other(format!("group {group}: {reason}")),
            NotDone::Damaged(reason) => self.damaged(group, &reason),
            NotDone::Unavailable(reason) => {
                Failure::Unavailable(format!("nothing was changed: {reason}"))
            }
            NotDone::Unknown(reason) => Failure::Unknown(format!(
                "it is not known whether it happened: {reason}; look with: airlock get slots {group}"
            )),
        }
    }
}
