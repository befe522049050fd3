//! What commands say to stdout. Whoever reads it may stop at any time, as `head` does.

use std::fmt::Display;
use std::io::{self, Write as _};

use super::Failure;

/// Says a line.
///
/// # Errors
/// If nobody reads on, or it cannot be written.
pub fn say(line: impl Display) -> Result<(), Failure> {
    writeln!(io::stdout().lock(), "{line}").map_err(Failure::Output)
}

/// Says a line for those who listen. What a command does, and its exit code, do not depend on that.
pub fn tell(line: impl Display) {
    let _ = say(line);
}
