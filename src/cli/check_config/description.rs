//! The description of a server: what it does with the configuration.

use jiff::Timestamp;

use crate::config::{
    GateSettings, GateTarget, GroupSettings, ListenSettings, NotifySettings, Settings,
    StoreSettings,
};
use crate::lock::GroupName;
use crate::lock::window::{Opening, WindowState, Windows};

/// The number of windows that are listed for a group.
const LISTED_WINDOWS: usize = 3;

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
    for (name, group) in &settings.groups {
        lines.extend(group_lines(name, group));
    }
    let gates = settings.gates.iter();
    lines.extend(gates.map(|gate| gate_line(&gate.settings)));
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
        "takes gate {} for open if {condition}{answers}; grants {locks} for each answer, within {} ms",
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

/// Describes a group. The upcoming windows show whether the configured ones are those that were meant.
fn group_lines(name: &GroupName, group: &GroupSettings) -> Vec<String> {
    let locks = match group.slots {
        1 => "1 lock".into(),
        slots => format!("{slots} locks"),
    };
    let now = Timestamp::now();
    let mut lines = vec![format!(
        "grants up to {locks} in group {name} at the same time (slots in the store take precedence)"
    )];
    if group.windows.state(now) != WindowState::Always {
        lines.push(format!(
            "grants them in its reboot windows only, of which the next {LISTED_WINDOWS} are:"
        ));
        lines.extend(upcoming(&group.windows, now));
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

fn upcoming(windows: &Windows, now: Timestamp) -> Vec<String> {
    let openings = windows.upcoming(now, LISTED_WINDOWS);
    let line = |opening: Opening| {
        let (opens, closes) = (opening.opens_text(), opening.closes_text());
        let open = if opening.opens <= now {
            ", open now"
        } else {
            ""
        };
        format!("  {opens} to {closes}{open}")
    };
    openings.into_iter().map(line).collect()
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
