//! The description of a server: what it does with the configuration.

use jiff::{SignedDuration, Timestamp};

use super::calendar;
use crate::cli::output::count;
use crate::config::{
    CapSettings, GateSettings, GateTarget, GroupSettings, ListenSettings, NotifySettings, Settings,
    StoreSettings,
};
use crate::lock::GroupName;

/// Describes a server with these settings, in sentences without their subject.
pub(super) fn lines(settings: &Settings) -> Vec<String> {
    let mut lines = vec![format!("listens for nodes at {}", url(&settings.service))];
    if let Some(path) = &settings.htpasswd_path {
        lines.push(format!(
            "requires the name and password of a user in {}",
            path.display()
        ));
    }
    if let Some(path) = &settings.node_names_path {
        lines.push(format!("shows the names of nodes in {}", path.display()));
    }
    lines.push(match &settings.status {
        Some(listen) => format!("serves the status page and the metrics at {}", url(listen)),
        None => "serves no status page and no metrics (status.enabled is false)".into(),
    });
    lines.push(match &settings.store {
        StoreSettings::Etcd(etcd) => format!(
            "stores locks in etcd at {}, under com.coreos.airlock/groups/",
            etcd.endpoints.join(", ")
        ),
        StoreSettings::Embedded { path } => format!("stores locks in the file {}", path.display()),
    });
    let now = Timestamp::now();
    let mut calendars: Vec<(Vec<String>, &GroupName)> = Vec::new();
    for (name, group) in &settings.groups {
        lines.extend(group_lines(name, group));
        // The calendar shows whether the configured windows and freezes are those that were meant.
        let calendar = calendar::lines(group, now);
        let mut known = calendars.iter().filter(|_| !calendar.is_empty());
        match known.find(|(known, _)| *known == calendar) {
            Some((_, first)) => {
                lines.push(format!("grants them at the same times as in group {first}"))
            }
            None => {
                lines.extend(calendar.iter().cloned());
                calendars.push((calendar, name));
            }
        }
    }
    lines.extend(settings.caps.iter().flat_map(cap_lines));
    let gates = settings.gates.iter();
    lines.extend(gates.map(|gate| gate_line(&gate.settings)));
    lines.extend(calendar::past_freezes(&settings.groups, now));
    lines.extend(settings.notify.as_ref().map(notify_line));
    lines
}

fn gate_line(gate: &GateSettings) -> String {
    let url = gate.target.shown();
    let condition = match &gate.target {
        GateTarget::Http(_) => format!("{url} responds with a 2xx status"),
        GateTarget::Prometheus { query, .. } => format!("{url} has no result for {query}"),
    };
    let answers = match gate.open_after_successes {
        1 => String::new(),
        successes => format!(", {successes} times in a row"),
    };
    let locks = match gate.allows {
        1 => "one lock".into(),
        locks => format!("up to {locks} locks"),
    };
    format!(
        "counts gate {} as open if {condition}{answers}; grants {locks} for each answer, within {} ms",
        gate.name,
        gate.max_age.as_millis()
    )
}

fn notify_line(notify: &NotifySettings) -> String {
    let events: Vec<&str> = notify.events.iter().map(|kind| kind.name()).collect();
    let signature = match &notify.secret_path {
        Some(path) => format!("signed with the secret in {}", path.display()),
        None => "without a signature".into(),
    };
    format!(
        "sends events ({}) to {}, {signature}",
        events.join(", "),
        notify.receiver()
    )
}

/// Describes a group, without its calendar.
fn group_lines(name: &GroupName, group: &GroupSettings) -> Vec<String> {
    let mut lines = vec![format!(
        "grants up to {} in group {name} at the same time (slots in the store take precedence)",
        locks(group.slots)
    )];
    if let Some(after) = group.stall_after {
        let minutes = minutes(after);
        lines.push(format!(
            "grants none while a node has held a lock for more than {minutes}"
        ));
    }
    if let Some(time) = group.settle {
        let minutes = minutes(time);
        lines.push(format!(
            "grants none for {minutes} after a node has released its lock"
        ));
    }
    if !group.gates.is_empty() {
        let names: Vec<&str> = group.gates.iter().map(|gate| &*gate.name).collect();
        let gates = if names.len() == 1 { "gate" } else { "gates" };
        lines.push(format!(
            "grants them only while {gates} {} {} open",
            names.join(", "),
            if names.len() == 1 { "is" } else { "are" }
        ));
    }
    lines
}

fn cap_lines(cap: &CapSettings) -> Vec<String> {
    let name = &cap.name;
    let groups: Vec<&str> = cap.groups.iter().map(GroupName::as_str).collect();
    let groups = groups.join(", ");
    let held = cap.max_held.map(|max| {
        let locks = locks(max);
        format!("grants up to {locks} in the groups {groups} together (cap {name})")
    });
    let limited = cap.max_groups.map(|max| {
        let number = match max {
            1 => "only one".into(),
            max => format!("up to {max}"),
        };
        format!("grants locks in {number} of the groups {groups} at the same time (cap {name})")
    });
    held.into_iter().chain(limited).collect()
}

fn locks(number: u64) -> String {
    count(usize::try_from(number).unwrap_or(usize::MAX), "lock")
}

fn minutes(time: SignedDuration) -> String {
    count(
        usize::try_from(time.as_mins()).unwrap_or(usize::MAX),
        "minute",
    )
}

/// Returns the URL of a listener, with the address on which it listens.
fn url(listen: &ListenSettings) -> String {
    let scheme = if listen.tls.is_some() {
        "https"
    } else {
        "http"
    };
    let address = match listen.address.as_str() {
        "" => "0.0.0.0",
        address => address,
    };
    if address.contains(':') {
        format!("{scheme}://[{address}]:{}/", listen.port)
    } else {
        format!("{scheme}://{address}:{}/", listen.port)
    }
}
