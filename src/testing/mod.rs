//! Test helpers that several modules share.

mod mutation;

pub(crate) use mutation::mutated;
