//! Text for people: errors with their causes and remedies, escaping of untrusted strings, durations, file permissions.

pub(crate) mod duration;
pub(crate) mod escape;
pub(crate) mod explain;
pub(crate) mod permission;
