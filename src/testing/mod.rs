//! Test helpers that several modules share.

mod mutation;
mod unicode;

pub(crate) use mutation::mutated;
pub(crate) use unicode::control_and_format_characters;
