//! `airlock man`: the manual pages, made from the command line's definition. For who packs a release.

use std::path::Path;

use clap::CommandFactory as _;

use super::{Cli, Failure};

pub fn run(folder: &Path) -> Result<(), Failure> {
    clap_mangen::generate_to(Cli::command(), folder)
        .map_err(|error| Failure::Other(format!("{}: {error}", folder.display())))
}
