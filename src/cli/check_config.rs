//! `airlock check-config`: the configuration, without starting anything.

#![expect(clippy::print_stdout, reason = "what a command says goes to stdout")]

use std::path::Path;

use super::Failure;
use crate::config;

pub fn run(path: &Path) -> Result<(), Failure> {
    let checked = config::load(path);
    let warnings = checked.as_ref().map_or(&[][..], |loaded| &loaded.warnings);
    for warning in warnings {
        println!("warning: {warning}");
    }
    if let Err(problems) = &checked {
        for problem in &problems.0 {
            println!("error: {problem}");
        }
    }
    let loaded = checked?;
    let groups = loaded.settings.groups.len();
    println!("{}: good, {groups} group(s)", path.display());
    Ok(())
}
