//! Text for people: escaping of untrusted strings, durations, and the remedy for a missing permission.

pub(crate) mod duration;
pub(crate) mod escape;
pub(crate) mod permission;
