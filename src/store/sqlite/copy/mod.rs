//! Copies of the embedded store: a backup while servers use it, and the restore of one.

mod backup;
mod error;
mod exchange;
mod file;
mod present;
mod restore;

pub(crate) use backup::{backup, unnamed_backup};
pub(crate) use error::CopyError;
pub(crate) use present::Present;
pub(crate) use restore::Restore;

#[cfg(test)]
mod tests;
