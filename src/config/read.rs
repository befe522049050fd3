//! Reads the file, and explains why it cannot be read.

use std::io::ErrorKind;
use std::path::Path;

use super::diagnostic::Diagnostics;
use super::path::{self, PATH_VARIABLE};
use crate::file::{self, FileError, FileProblem};
use crate::text::explain::Remedy as _;

/// Returns the text of the file. `None`: the file cannot be read, which is an error.
pub(super) fn text(diagnostics: &mut Diagnostics, path: &Path) -> Option<String> {
    let bytes = match file::read(path) {
        Ok(bytes) => bytes,
        Err(error) => {
            let (problem, remedy) = (&error.problem, remedy(&error, path));
            let text = format!("cannot read the configuration: {problem}; {remedy}");
            diagnostics.error_at(None, "", text);
            return None;
        }
    };
    match String::from_utf8(bytes) {
        Ok(text) => Some(text),
        Err(error) => {
            let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = 1 + valid.iter().filter(|byte| **byte == b'\n').count();
            let text = "the line is not valid UTF-8; save the file with that encoding";
            diagnostics.error_at(Some(line), "", text);
            None
        }
    }
}

fn remedy(error: &FileError, path: &Path) -> String {
    let kind = match &error.problem {
        FileProblem::Io(error) if error.kind() != ErrorKind::PermissionDenied => "the file",
        FileProblem::NotRegular(_) => "a regular file",
        _ => return error.remedy().unwrap_or_default(),
    };
    match path::variable() {
        Some(variable) if variable == path => {
            format!("correct {PATH_VARIABLE}, or name {kind} with -c/--config")
        }
        _ => format!("name {kind} with -c/--config"),
    }
}
