//! `airlock get slots`: who holds what since when, as a table or as JSON.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Failure;
use super::desk::{Desk, Target};
use super::say::say;
use crate::age::age;
use crate::group::Known;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Only this group
    group: Option<String>,
    /// For programs
    #[arg(long)]
    json: bool,
}

const HEADS: [&str; 6] = ["GROUP", "SLOTS", "HELD", "FREE", "HOLDER", "SINCE"];

pub async fn run(desk: Desk, arguments: &Arguments) -> Result<(), Failure> {
    let targets = match &arguments.group {
        Some(group) => vec![desk.target(group).await?],
        None => desk.configured().collect(),
    };
    let mut groups = Vec::new();
    for target in targets {
        let known = desk.known(&target).await?;
        groups.push((target, known));
    }
    let now = Timestamp::now();
    if arguments.json {
        let groups: Vec<Value> = groups.iter().map(|group| object(group, now)).collect();
        say(json!({ "store": desk.place(), "groups": groups }))?;
    } else {
        say(format_args!("{}\n", desk.place()))?;
        print_table(&groups, now)?;
    }
    let damaged = groups.iter().find_map(|(target, known)| {
        let reason = known.semaphore.as_ref().err()?;
        Some(desk.damaged(&target.name, &reason.to_string()))
    });
    damaged.map_or(Ok(()), Err)
}

fn object((target, known): &(Target, Known), now: Timestamp) -> Value {
    let name = target.name.as_str();
    let configured = target.configured_slots;
    match &known.semaphore {
        Err(reason) => {
            json!({ "group": name, "configured_slots": configured, "error": reason.to_string() })
        }
        Ok(semaphore) => {
            let holders = semaphore.holders.iter().map(|(id, since)| {
                let age = since.map(|since| now.duration_since(since).as_secs().max(0));
                json!({ "id": &**id, "since": since, "age_seconds": age })
            });
            json!({
                "group": name,
                "slots": semaphore.slots,
                "configured_slots": configured,
                "paused": semaphore.slots == 0,
                "held": semaphore.holders.len(),
                "free": semaphore.free(),
                "holders": holders.collect::<Vec<_>>(),
                "acts": &*known.acts,
            })
        }
    }
}

fn print_table(groups: &[(Target, Known)], now: Timestamp) -> Result<(), Failure> {
    let mut rows = vec![HEADS.map(str::to_owned)];
    let mut notes = Vec::new();
    for (target, known) in groups {
        let name = target.name.to_string();
        let Ok(semaphore) = &known.semaphore else {
            rows.push([&*name, "?", "?", "?", "damaged, see below", ""].map(Into::into));
            continue;
        };
        let slots = match semaphore.slots {
            0 => "paused".into(),
            slots => slots.to_string(),
        };
        // Who holds longest is who somebody looks for.
        let mut sorted: Vec<_> = semaphore.holders.iter().collect();
        sorted.sort_by_key(|(_, since)| since.unwrap_or(Timestamp::MAX));
        let mut holders = sorted.into_iter().map(|(id, since)| match since {
            Some(since) => (
                id.to_string(),
                format!("{since:.0} ({} ago)", age(*since, now)),
            ),
            None => (id.to_string(), "unknown".into()),
        });
        let (id, since) = holders.next().unwrap_or(("-".into(), String::new()));
        let held = semaphore.holders.len().to_string();
        rows.push([
            name.clone(),
            slots,
            held,
            semaphore.free().to_string(),
            id,
            since,
        ]);
        let more = holders.map(|(id, since)| {
            let empty = String::new;
            [empty(), empty(), empty(), empty(), id, since]
        });
        rows.extend(more);
        if let Some(configured) = target.configured_slots
            && configured != semaphore.slots
            && semaphore.slots > 0
        {
            notes.push(format!(
                "{name}: the configuration says {configured} slots; to have them: airlock set slots {name} {configured}"
            ));
        }
        if semaphore.slots == 0 {
            let by = known
                .acts
                .iter()
                .rev()
                .find(|act| act.action == crate::act::Action::Pause);
            let by = by.map_or_else(String::new, |act| {
                format!(" by {} {} ago", act.by, age(act.at, now))
            });
            notes.push(format!(
                "{name}: paused{by}; to end it: airlock resume {name}"
            ));
        }
    }
    let widths: [usize; 6] = std::array::from_fn(|column| {
        let lengths = rows.iter().map(|row| row[column].chars().count());
        lengths.max().unwrap_or(0)
    });
    for [group, slots, held, free, holder, since] in &rows {
        let line = format!(
            "{group:<0$}  {slots:>1$}  {held:>2$}  {free:>3$}  {holder:<4$}  {since}",
            widths[0], widths[1], widths[2], widths[3], widths[4],
        );
        say(line.trim_end())?;
    }
    if !notes.is_empty() {
        say(format_args!("\n{}", notes.join("\n")))?;
    }
    Ok(())
}
