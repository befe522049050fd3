//! Reads the file, and explains why it cannot be read.

use std::io;
use std::path::Path;

use super::diagnostic::Diagnostics;
use crate::text::permission::permission_remedy;

/// Returns the text of the file. `None`: the file cannot be read, which is an error.
pub(super) fn text(diagnostics: &mut Diagnostics, path: &Path) -> Option<String> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) => {
            let remedy = remedy(path, &error);
            let text = format!("cannot read the configuration: {error}; {remedy}");
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

fn remedy(path: &Path, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => permission_remedy(path),
        _ => "name the file with -c/--config".into(),
    }
}
