//! The policies that are evaluated on the stored value, and the reasons why a new grant is refused.
//!
//! Policies only refuse new grants (invariant 12): a holder that asks again and a release never get here.

mod conditions;
mod evaluation;
mod refusal;

#[cfg(test)]
mod tests;

pub use conditions::{Cap, CapView, Conditions, Facts, Gates, Stall, Terms};
pub(crate) use evaluation::Evaluation;
pub use refusal::{CapLimit, CapReached, Refusal, Stalled};
