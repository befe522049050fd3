//! The calendar of a group: when it grants new locks in the next 30 days.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::config::GroupSettings;
use crate::lock::GroupName;
use crate::lock::window::{Calendar, Entry, Freeze, Opening};

/// The maximum number of openings, and of freezes, that are listed for a group.
const MAX_LISTED: usize = 10;

/// Returns the calendar of a group with windows or freezes; nothing for another one.
pub(super) fn lines(group: &GroupSettings, now: Timestamp) -> Vec<String> {
    let calendar = group.calendar();
    let end = now + Calendar::HORIZON;
    let has_freezes = group.freezes.0.iter().any(|freeze| freeze.until > now);
    let rule = match (!group.windows.0.is_empty(), has_freezes) {
        (false, false) => return Vec::new(),
        (true, false) => "in its reboot windows only",
        (true, true) => "in its reboot windows only, and not during its freezes",
        (false, true) => "at any time, but not during its freezes",
    };
    let mut lines = vec![format!("grants them {rule}; in the next 30 days:")];
    let (mut openings, mut freezes) = (0, 0);
    for entry in calendar.entries(now, end) {
        let (number, line) = match entry {
            Entry::Open(opening) => (&mut openings, opening_line(&opening, now)),
            Entry::Frozen(freeze) => (&mut freezes, freeze_line(&freeze, now)),
        };
        *number += 1;
        if *number <= MAX_LISTED {
            lines.push(format!("  {line}"));
        }
    }
    let more = |number: usize| number.saturating_sub(MAX_LISTED);
    match (more(openings), more(freezes)) {
        (0, 0) => {}
        (openings, 0) => lines.push(format!("  and {openings} more")),
        (openings, freezes) => {
            lines.push(format!("  and {openings} more, and {freezes} more freezes"))
        }
    }
    let next = calendar.openings(now).next().filter(|_| openings == 0);
    let next = next.map(|opening| opening_line(&opening, now));
    let frozen = group
        .freezes
        .next(end)
        .map(|freeze| freeze_line(freeze, now));
    lines.extend(
        next.into_iter()
            .chain(frozen)
            .map(|line| format!("  later: {line}")),
    );
    lines
}

/// Tells which freezes have no effect any more, and names their groups unless all groups have them.
pub(super) fn past_freezes(
    groups: &BTreeMap<GroupName, GroupSettings>,
    now: Timestamp,
) -> Vec<String> {
    let mut past: Vec<(&Freeze, Vec<&str>)> = Vec::new();
    for (name, group) in groups {
        for freeze in group.freezes.0.iter().filter(|freeze| freeze.until <= now) {
            match past.iter_mut().find(|(known, _)| *known == freeze) {
                Some((_, names)) => names.push(name.as_str()),
                None => past.push((freeze, vec![name.as_str()])),
            }
        }
    }
    let line = |(freeze, names): (&Freeze, Vec<&str>)| {
        let of = match &names[..] {
            all if all.len() == groups.len() => String::new(),
            [name] => format!(" of group {name}"),
            names => format!(" of groups {}", names.join(", ")),
        };
        let (until, reason) = (freeze.end_text(), reason(freeze));
        format!("ignores the freeze{of} until {until}{reason}, which is past")
    };
    past.into_iter().map(line).collect()
}

fn opening_line(opening: &Opening, now: Timestamp) -> String {
    let opens = opening.opens_text();
    let closes = match opening.closes {
        Some(_) => format!("to {}", opening.closes_text()),
        None => format!("until {}", opening.closes_text()),
    };
    let open = if opening.opens <= now {
        ", open now"
    } else {
        ""
    };
    format!("{opens} {closes}{open}")
}

fn freeze_line(freeze: &Freeze, now: Timestamp) -> String {
    let (from, until) = (freeze.start_text(), freeze.end_text());
    let active = if freeze.is_active(now) {
        ", active now"
    } else {
        ""
    };
    format!("frozen {from} to {until}{}{active}", reason(freeze))
}

fn reason(freeze: &Freeze) -> String {
    let reason = freeze.reason.as_ref();
    reason.map_or_else(String::new, |reason| format!(" ({reason})"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config;

    /// Returns the calendar of the default group on 2026-11-30 (Monday) at noon.
    fn calendar(lock: &str) -> Vec<String> {
        let text = format!("[service]\ntls = false\n[embedded]\npath = \"/x\"\n{lock}");
        let settings = config::parse(Path::new("c.toml"), &text).unwrap().settings;
        let now = "2026-11-30T12:00:00Z".parse().unwrap();
        let mut all = lines(settings.groups.values().next().unwrap(), now);
        all.extend(past_freezes(&settings.groups, now));
        all
    }

    #[test]
    fn windows_and_freezes_are_listed_in_order() {
        let text = "[[lock.windows]]\ndays = [\"Mon\"]\nweeks = [2, -1]\nstart_time = \"11:00\"\nlength_minutes = 120\n\
                    [[lock.freezes]]\nfrom = 2026-12-20\nuntil = 2027-01-06\ntime_zone = \"Europe/Berlin\"\n\
                    reason = \"year-end\"\n\
                    [[lock.freezes]]\nfrom = 2027-04-01\nuntil = 2027-04-01\n\
                    [[lock.freezes]]\nfrom = 2025-12-20\nuntil = 2026-01-06\nreason = \"last year\"\n\
                    [[lock.groups]]\nname = \"g\"\n\
                    [[lock.groups]]\nname = \"h\"\n[[lock.groups.freezes]]\nfrom = 2026-11-01\nuntil = 2026-11-02\n";
        assert_eq!(
            calendar(text),
            [
                "grants them in its reboot windows only, and not during its freezes; in the next 30 days:",
                "  Mon 2026-11-30 11:00 UTC to Mon 2026-11-30 13:00 UTC, open now",
                "  Mon 2026-12-14 11:00 UTC to Mon 2026-12-14 13:00 UTC",
                "  frozen Sun 2026-12-20 00:00 Europe/Berlin (Sat 23:00 UTC) to Thu 2027-01-07 00:00 Europe/Berlin \
                 (Wed 23:00 UTC) (year-end)",
                "  later: frozen Thu 2027-04-01 00:00 UTC to Fri 2027-04-02 00:00 UTC",
                "ignores the freeze of groups default, g until Wed 2026-01-07 00:00 UTC (last year), which is past",
                "ignores the freeze of group h until Tue 2026-11-03 00:00 UTC, which is past",
            ]
        );
    }

    #[test]
    fn a_group_without_windows_is_open_until_further_notice() {
        assert_eq!(
            calendar("[[lock.freezes]]\nfrom = 2026-11-30\nuntil = 2026-12-01\n"),
            [
                "grants them at any time, but not during its freezes; in the next 30 days:",
                "  frozen Mon 2026-11-30 00:00 UTC to Wed 2026-12-02 00:00 UTC, active now",
                "  Wed 2026-12-02 00:00 UTC until further notice",
            ]
        );
        assert_eq!(calendar(""), Vec::<String>::new());
    }

    #[test]
    fn an_opening_after_the_next_30_days_is_listed_if_there_is_no_earlier_one() {
        assert_eq!(
            calendar(
                "[[lock.windows]]\ndays = [\"Mon\"]\nweeks = [5]\nstart_time = \"11:00\"\nlength_minutes = 60\n"
            ),
            [
                "grants them in its reboot windows only; in the next 30 days:",
                "  later: Mon 2027-03-29 11:00 UTC to Mon 2027-03-29 12:00 UTC",
            ]
        );
    }

    #[test]
    fn at_most_ten_openings_and_ten_freezes_are_listed() {
        let days = "days = [\"Mon\", \"Tue\", \"Wed\", \"Thu\", \"Fri\", \"Sat\", \"Sun\"]";
        let windows =
            format!("[[lock.windows]]\n{days}\nstart_time = \"11:00\"\nlength_minutes = 60\n");
        let freezes: String = (10..24)
            .map(|day| {
                format!(
                    "[[lock.freezes]]\nfrom = 2026-12-{day}T01:00\nuntil = 2026-12-{day}T02:00\n"
                )
            })
            .collect();
        let lines = calendar(&windows);
        assert_eq!((lines.len(), lines[11].as_str()), (12, "  and 20 more"));
        let lines = calendar(&format!("{windows}{freezes}"));
        assert_eq!(
            (lines.len(), lines[21].as_str()),
            (22, "  and 20 more, and 4 more freezes")
        );
    }
}
