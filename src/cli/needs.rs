//! The parts of a configuration that a command on the store needs. An error in another part is a warning: at night, a
//! holder can be unlocked also while a new window has a mistake.

use std::path::Path;

use super::output::count;
use super::preflight::{self, Scope};
use crate::config::{self, Checked, ConfigErrors, Loaded};

/// What a command needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Needs {
    /// The store: the command shows the groups as they are stored, or changes only what is stored.
    Store,
    /// The store and the groups, whose settings the command applies.
    Groups,
    /// The gates, which the command asks.
    Gates,
    /// The listeners of the server.
    Listeners,
}

/// A configuration of which the needed part is valid.
pub(super) struct Usable {
    pub(super) loaded: Loaded,
    /// Whether the settings of the groups are valid. If not, some may be missing, or have other slots, and none has policies.
    pub(super) has_valid_groups: bool,
    /// Why a server cannot start or reload with the file.
    pub(super) problem: Option<String>,
}

/// The section with the groups.
const GROUPS: &str = "lock";

/// What a command does not know if the settings of the groups are not valid.
pub(super) const UNKNOWN_POLICIES: &str = "windows, freezes, gates and caps are not known";

/// Loads the configuration, checks the files for the connection to etcd, and logs the warnings.
///
/// # Errors
/// All errors, if one of them is in a part that the command needs.
pub(super) async fn load(path: &Path, needs: Needs) -> Result<Usable, ConfigErrors> {
    let mut checked = config::check(path);
    preflight::check(&mut checked, Scope::Etcd).await;
    usable(checked, needs)
}

/// Returns the configuration, and logs the warnings.
///
/// # Errors
/// All errors, if one of them is in a part that the command needs.
pub(super) fn usable(checked: Checked, needs: Needs) -> Result<Usable, ConfigErrors> {
    for warning in &checked.warnings {
        tracing::warn!("{warning}");
    }
    let errors = checked.errors.clone();
    let mut loaded = checked.into_loaded_for(|section| needs.includes(section))?;
    let has_valid_groups = !errors.iter().any(|error| error.section() == GROUPS);
    for error in &errors {
        tracing::warn!("{error}");
    }
    let mut problem = None;
    if let Some(first) = errors.first() {
        let file = first.file.display().to_string();
        tracing::warn!(
            "{file} has {}: a server cannot start or reload with it; this command does without these values",
            count(errors.len(), "error")
        );
        let invalid = ConfigErrors {
            errors,
            warnings: Vec::new(),
        };
        let places = invalid.places();
        let limit = match has_valid_groups {
            true => String::new(),
            false => format!("; {UNKNOWN_POLICIES}"),
        };
        problem = Some(format!(
            "a server cannot start or reload with {file}: {places}{limit}"
        ));
    }
    if !has_valid_groups {
        loaded.settings.forget_policies();
    }
    Ok(Usable {
        loaded,
        has_valid_groups,
        problem,
    })
}

// === impl Needs ===

impl Needs {
    /// Reports whether a command needs a section of the file; an empty name stands for the whole file.
    fn includes(self, section: &str) -> bool {
        match section {
            "" => true,
            "notify" | "limits" => false,
            "service" | "status" => self == Needs::Listeners,
            GROUPS => matches!(self, Needs::Groups | Needs::Gates),
            _ => matches!(self, Needs::Store | Needs::Groups),
        }
    }
}
