//! Reboot windows and freezes: the times at which a group grants new locks.
//!
//! They refuse new grants only. A holder that asks again and a steady-state are never refused (invariant 12).

mod calendar;
mod freeze;
mod opening;
mod weekly;
mod windows;

#[cfg(test)]
mod tests;

pub(crate) use calendar::{Calendar, CalendarState, Entry};
pub(crate) use freeze::{Freeze, Freezes};
pub(crate) use opening::Opening;
pub(crate) use weekly::{Window, parse_weekday, weekday_names};
pub(crate) use windows::{WindowState, Windows};
