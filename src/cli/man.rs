//! `airlock man`: writes the manual pages, which are generated from the definition of the command line. Packages
//! contain them.

use std::path::Path;

use super::{CliError, help};

/// Writes one manual page for each command into `folder`.
pub(super) fn run(folder: &Path) -> Result<(), CliError> {
    clap_mangen::generate_to(help::command(), folder).map_err(|source| CliError::Write {
        path: folder.to_owned(),
        source,
    })
}
