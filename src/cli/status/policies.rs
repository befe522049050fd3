//! The gates and the caps, one line each.

use jiff::Timestamp;

use crate::cli::output::shown;
use crate::status::{CapUsage, GateServerView, GateView, gates_of_group};
use crate::status::{GroupView, StatusView};
use crate::text::duration::age;

/// The maximum number of groups and of servers in a line.
const MAX_LISTED: usize = 5;

/// Returns the sections about gates and caps; nothing if there are none.
pub(super) fn lines(view: &StatusView) -> Vec<String> {
    let mut lines = Vec::new();
    if !view.gates.is_empty() {
        lines.extend([String::new(), "Gates:".to_owned()]);
        let of_gate = |gate| format!("  {}{}", gate_line(gate, view.now), groups(&gate.groups));
        lines.extend(view.gates.iter().map(of_gate));
    }
    if !view.caps.is_empty() {
        lines.extend([String::new(), "Caps:".to_owned()]);
        lines.extend(view.caps.iter().map(|cap| {
            let names: Vec<_> = cap.groups.iter().map(|group| &group.name).collect();
            format!("  {}{}", cap_line(cap), groups(&names))
        }));
    }
    lines
}

/// Returns the lines about the gates and the caps of one group.
pub(super) fn of_group(view: &StatusView, group: &GroupView) -> Vec<String> {
    let gates = gates_of_group(&view.gates, &group.name);
    let gates = gates.map(|gate| format!("GATE     {}", gate_line(gate, view.now)));
    let caps = view.caps.iter().filter(|cap| cap.includes(&group.name));
    let caps = caps.map(|cap| format!("CAP      {}", cap_line(cap)));
    gates.chain(caps).collect()
}

fn gate_line(gate: &GateView, now: Timestamp) -> String {
    if gate.servers.is_empty() {
        return format!(
            "{}: not known, because no running server has published it",
            gate.name
        );
    }
    if !gate.servers_disagree {
        let since = gate.since();
        let since = since.map_or_else(String::new, |since| format!(" for {}", age(since, now)));
        let reason = gate.reason();
        let reason = reason.map_or_else(String::new, |reason| format!(": {reason}"));
        return format!("{}: {}{since}{reason}", gate.name, gate.state.as_str());
    }
    let servers = gate.servers.iter().take(MAX_LISTED);
    let of_server = |server: &GateServerView| {
        let (state, at) = (server.state.as_str(), shown(&server.server));
        match &server.reason {
            Some(reason) => format!("{state} at {at} ({reason})"),
            None => format!("{state} at {at}"),
        }
    };
    let servers: Vec<String> = servers.map(of_server).collect();
    let more = more(gate.servers.len());
    format!(
        "{}: the servers disagree: {}{more}",
        gate.name,
        servers.join(", ")
    )
}

fn cap_line(cap: &CapUsage) -> String {
    format!("{}: {}", shown(&cap.name), cap.usage())
}

/// Names groups.
fn groups<T: AsRef<str>>(names: &[T]) -> String {
    let listed = names.iter().take(MAX_LISTED);
    let listed: Vec<_> = listed.map(|name| shown(name.as_ref())).collect();
    let noun = if names.len() == 1 { "group" } else { "groups" };
    match names.is_empty() {
        true => String::new(),
        false => format!("; {noun} {}{}", listed.join(", "), more(names.len())),
    }
}

fn more(number: usize) -> String {
    match number.saturating_sub(MAX_LISTED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    }
}
