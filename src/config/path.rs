//! The path of the configuration file.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

/// The configuration file that is read unless the command line or [`PATH_VARIABLE`] names another one.
pub(crate) const DEFAULT_PATH: &str = "/etc/airlock/config.toml";

/// The variable of the environment that names another file.
pub(crate) const PATH_VARIABLE: &str = "AIRLOCK_CONFIG";

/// Returns the path in [`PATH_VARIABLE`]. An empty variable counts as unset.
pub(super) fn variable() -> Option<OsString> {
    env::var_os(PATH_VARIABLE).filter(|path| !path.is_empty())
}

/// Returns the file that is read unless the command line names another one.
pub(crate) fn default_path() -> PathBuf {
    variable().unwrap_or_else(|| DEFAULT_PATH.into()).into()
}
