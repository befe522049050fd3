//! The context of the administrators' commands: the configured store, and the groups in it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::CliError;
use super::needs::Usable;
use crate::config::{Places, Settings, StoreSettings, command_line};
use crate::file;
use crate::lock::codec::DecodeError;
use crate::lock::semaphore::Semaphore;
use crate::lock::{GroupName, GroupState};
use crate::names::NodeNames;
use crate::status::{Condition, GroupView, StoreView};
use crate::store::etcd;
use crate::store::open::open;
use crate::store::{DamagedValue, Store, StoreError};
use crate::text::explain::explain;

/// The store on which a command works, beside any running servers.
pub(super) struct StoreContext {
    pub(super) settings: Settings,
    /// Whether the settings of the groups are valid. If not, some may be missing, or have other slots, and none has policies.
    pub(super) has_valid_groups: bool,
    /// Why a server cannot start or reload with the configuration.
    pub(super) problem: Option<String>,
    pub(super) store: Arc<dyn Store>,
    /// The names of nodes; none if they are not configured, or cannot be used.
    pub(super) names: NodeNames,
    /// The configuration that names the store.
    pub(super) config: PathBuf,
}

/// A group that a command names.
pub(super) struct Target {
    pub(super) name: GroupName,
    /// `None`: the group is not configured, but the store has a value for it.
    pub(super) configured_slots: Option<u64>,
}

/// Verifies that there is an embedded store at `path`. Only a server may create one, also where the file is empty.
pub(super) fn check_exists(path: &Path, config: &Path) -> Result<(), CliError> {
    let problem = match file::call(path, |path| path.metadata()) {
        Ok(Ok(file)) if file.is_file() && file.len() == 0 => "the file is empty",
        Ok(Err(error)) if error.kind() == ErrorKind::NotFound => "no such file",
        // Any other error, such as a missing permission, is reported when the file is opened.
        Ok(_) | Err(_) => return Ok(()),
    };
    Err(CliError::NoStore {
        path: std::path::absolute(path).unwrap_or_else(|_| path.to_owned()),
        problem,
        config: config.to_owned(),
    })
}

/// Loads the names of nodes. A file that cannot be used is a warning: a command works without names.
fn load_names(settings: &Settings, places: &Places) -> NodeNames {
    let Some(path) = settings.node_names_path.clone() else {
        return NodeNames::default();
    };
    NodeNames::load(path).unwrap_or_else(|error| {
        let text = format!("nodes are shown without their names: {}", explain(&error));
        let warning = places.diagnostic(&["service.node_names_path"], text);
        tracing::warn!("{warning}");
        NodeNames::default()
    })
}

/// Runs a command to its end.
pub(super) fn block_on(
    command: impl Future<Output = Result<(), CliError>>,
) -> Result<(), CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(CliError::Runtime)?;
    let result = runtime.block_on(command);
    // A name lookup that hangs does not delay the exit.
    runtime.shutdown_background();
    result
}

// === impl StoreContext ===

impl StoreContext {
    /// Opens the configured store.
    ///
    /// # Errors
    /// If the store cannot be used. An embedded one has to exist: a command that created a new one would work on a
    /// store that no server uses.
    pub(super) fn open(usable: Usable, config: &Path) -> Result<Self, CliError> {
        let Usable {
            loaded,
            has_valid_groups,
            problem,
        } = usable;
        let settings = loaded.settings;
        if let StoreSettings::Embedded { path } = &settings.store {
            check_exists(path, config)?;
        }
        let store = open(&settings.store, settings.transaction_timeout).map_err(|error| {
            let diagnostic = loaded.places.diagnostic(&[error.key()], explain(&error));
            CliError::StoreSetup {
                diagnostic,
                is_denied: error.is_denied(),
            }
        })?;
        let names = load_names(&settings, &loaded.places);
        Ok(StoreContext {
            settings,
            has_valid_groups,
            problem,
            store,
            names,
            config: config.to_owned(),
        })
    }

    /// Names the store and the file that configures it.
    pub(super) fn location(&self) -> String {
        format!(
            "{} (from {})",
            self.settings.store.location(),
            self.config.display()
        )
    }

    /// Describes the store before it is inspected: as far as is known, it works.
    pub(super) fn store_view(&self) -> StoreView {
        StoreView::working(self.settings.store.location())
    }

    /// Returns the command line of another command on the same store.
    pub(super) fn command_line(&self, command: &str, arguments: &[&str]) -> String {
        command_line(&self.config, command, arguments)
    }

    /// Returns the command that ends a condition of a group, after a colon; nothing if there is none.
    pub(super) fn remedy(&self, group: &GroupView, condition: Condition) -> String {
        let remedy = group.remedy(condition, &self.config);
        remedy.map_or_else(String::new, |command| format!(": {command}"))
    }

    /// Explains an error of the store.
    pub(super) fn store_error(&self, error: StoreError) -> CliError {
        self.store_error_with(error, "")
    }

    /// Explains an error of the store that prevented a change.
    pub(super) fn change_error(&self, error: StoreError) -> CliError {
        self.store_error_with(error, "; nothing was changed")
    }

    fn store_error_with(&self, error: StoreError, effect: &str) -> CliError {
        let (problem, hint) = match (&self.settings.store, &error) {
            (StoreSettings::Embedded { .. }, _) => ("cannot use the store", None),
            (StoreSettings::Etcd(_), StoreError::Rejected(_) | StoreError::NoSpace(_)) => {
                ("the store rejects the request", None)
            }
            // The message of any other error contains its remedy.
            (StoreSettings::Etcd(_), StoreError::Unreachable(_) | StoreError::Unknown(_)) => (
                "cannot reach the store",
                etcd::is_down(&error)
                    .then_some("check that etcd is running, and that etcd3.endpoints names it"),
            ),
        };
        CliError::Store {
            message: format!(
                "{problem} ({}, from {}){effect}",
                self.settings.store.location(),
                self.config.display()
            ),
            hint,
            error,
        }
    }

    /// Finds the group called `name` in the configuration or in the store.
    pub(super) async fn target(&self, name: &str) -> Result<Target, CliError> {
        let configured = self.settings.groups.get(name).map(|group| group.slots);
        let target = Target {
            name: GroupName::new(name).ok_or_else(|| self.unknown_group(name))?,
            configured_slots: configured,
        };
        if configured.is_none() {
            let stored = self.store.read(&target.name).await;
            let stored = stored.map_err(|error| self.store_error(error))?;
            stored.value.ok_or_else(|| self.unknown_group(name))?;
            if self.has_valid_groups {
                tracing::warn!(
                    "group {name} is not configured in {}, but the store has a value for it",
                    self.config.display()
                );
            }
        }
        Ok(target)
    }

    /// Reports whether the configuration or the store has a group called `name`.
    pub(super) async fn is_group(&self, name: &str) -> Result<bool, CliError> {
        let Some(group) = GroupName::new(name) else {
            return Ok(false);
        };
        if self.settings.groups.contains_key(&group) {
            return Ok(true);
        }
        let stored = self.store.read(&group).await;
        let stored = stored.map_err(|error| self.store_error(error))?;
        Ok(stored.value.is_some())
    }

    /// Returns the error about a name that is neither that of a group nor that of a known node.
    pub(super) fn unknown_subject(&self, name: &str) -> CliError {
        CliError::UnknownSubject {
            name: name.to_owned(),
            configured: self.settings.groups.keys().cloned().collect(),
        }
    }

    fn unknown_group(&self, name: &str) -> CliError {
        CliError::UnknownGroup {
            name: name.to_owned(),
            config: self.config.clone(),
            configured: self.settings.groups.keys().cloned().collect(),
        }
    }

    /// Returns the error for a command that needs the configured slots of a group that is not configured.
    pub(super) fn not_configured(&self, target: &Target) -> CliError {
        CliError::NotConfigured {
            group: target.name.clone(),
            config: self.config.clone(),
        }
    }

    /// Returns all configured groups.
    pub(super) fn configured(&self) -> impl Iterator<Item = Target> {
        self.settings.groups.iter().map(|(name, group)| Target {
            name: name.clone(),
            configured_slots: Some(group.slots),
        })
    }

    /// Reports whether the slots of a group are known, from the store or from valid settings.
    pub(super) fn knows_slots(&self, state: &GroupState) -> bool {
        self.has_valid_groups || state.stored.value.is_some()
    }

    /// Reads the state of a group.
    pub(super) async fn state(&self, target: &Target) -> Result<GroupState, CliError> {
        let stored = self.store.read(&target.name).await;
        let stored = stored.map_err(|error| self.store_error(error))?;
        let slots = target.configured_slots.unwrap_or(0);
        Ok(GroupState::new(stored, slots))
    }

    /// Reads the semaphore of a group.
    ///
    /// # Errors
    /// If the stored value is damaged, or cannot be read.
    pub(super) async fn semaphore(&self, target: &Target) -> Result<Arc<Semaphore>, CliError> {
        let state = self.state(target).await?;
        self.semaphore_of(target, state)
    }

    /// Returns the semaphore of a state of a group.
    ///
    /// # Errors
    /// If the stored value is damaged.
    pub(super) fn semaphore_of(
        &self,
        target: &Target,
        state: GroupState,
    ) -> Result<Arc<Semaphore>, CliError> {
        state
            .semaphore
            .map_err(|reason| self.damaged(target, reason))
    }

    /// Returns the error about a stored value that cannot be used.
    pub(super) fn damaged(&self, target: &Target, reason: DecodeError) -> CliError {
        let location = self.store.location(&target.name);
        CliError::damaged(&target.name, DamagedValue { location, reason })
    }
}
