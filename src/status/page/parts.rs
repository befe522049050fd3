//! The parts that several sections of the page have in common.

use std::fmt::Write as _;
use std::net::IpAddr;

use jiff::Timestamp;
use maud::{Markup, html};

use crate::lock::NodeId;
use crate::status::runbook::address as address_of;
use crate::text::duration::age;
use crate::text::escape::shortened;

/// Renders a link to a section of the runbook.
pub(super) fn runbook(section: &str) -> Markup {
    html! { a.runbook href=(address_of(section)) { "Runbook: " (section) } }
}

/// Returns the id of a section. It is not the [`group_id`] of any group, because it is not in ASCII.
pub(super) fn section_id(section: &str) -> String {
    format!("§{section}")
}

/// Returns the id of a group: its name, escaped as a browser escapes the fragment of an address.
pub(super) fn group_id(name: &str) -> String {
    let mut id = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'!'..=b'~' if !b"\"<>`%".contains(&byte) => id.push(byte.into()),
            // Writing to a String cannot fail.
            _ => drop(write!(id, "%{byte:02X}")),
        }
    }
    id
}

/// Renders a command. The script adds a button that copies it.
pub(super) fn command(command: &str) -> Markup {
    html! { code { (command) } }
}

/// Renders a node: its name if it is known, its address, and its id.
pub(super) fn node(name: Option<&str>, peer: Option<IpAddr>, id: &str) -> Markup {
    let id = shortened(id, NodeId::MAX_BYTES);
    html! {
        @match name {
            Some(name) => { b { (shortened(name, NodeId::MAX_BYTES)) } (address(peer)) br; span.id { (id) } }
            None => { span.id { (id) } (address(peer)) }
        }
    }
}

fn address(peer: Option<IpAddr>) -> Markup {
    html! { @if let Some(peer) = peer { " " span.quiet { (peer) } } }
}

/// Renders a time, which the script shows in the time zone of the reader.
pub(super) fn timestamp(at: Timestamp) -> Markup {
    html! {
        time datetime=(at.strftime("%Y-%m-%dT%H:%M:%SZ")) { (at.strftime("%Y-%m-%d %H:%M:%S UTC")) }
    }
}

/// Renders how long ago a time was, and the time.
pub(super) fn ago(at: Timestamp, now: Timestamp) -> Markup {
    html! { (age(at, now)) " ago " (timestamp(at)) }
}

/// Renders the head of a table.
pub(super) fn head(columns: &[&str]) -> Markup {
    html! { thead { tr { @for column in columns { th scope="col" { (column) } } } } }
}

/// Renders a time of today.
pub(super) fn time_of_day(at: Timestamp) -> Markup {
    html! {
        time.clock datetime=(at.strftime("%Y-%m-%dT%H:%M:%SZ")) { (at.strftime("%H:%M:%S UTC")) }
    }
}

/// Returns a sentence with a capital letter at its beginning.
pub(super) fn capitalized(sentence: &str) -> String {
    let mut letters = sentence.chars();
    let first = letters.next().into_iter().flat_map(char::to_uppercase);
    first.chain(letters).collect()
}

/// Formats a number of things, such as `no slots held` and `2 nodes waiting`.
pub(super) fn count(number: usize, thing: &str, state: &str) -> String {
    match number {
        0 => format!("no {thing}s {state}"),
        1 => format!("1 {thing} {state}"),
        _ => format!("{number} {thing}s {state}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_a_group_is_the_fragment_that_a_browser_makes_of_its_name() {
        for (name, id) in [
            ("workers", "workers"),
            ("a+b/c?d#e'&", "a+b/c?d#e'&"),
            ("my group", "my%20group"),
            ("100%", "100%25"),
            ("büro\"<>`", "b%C3%BCro%22%3C%3E%60"),
        ] {
            assert_eq!(group_id(name), id);
        }
    }
}
