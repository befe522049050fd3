//! `airlock unlock GROUP ID`: takes the slot from a holder that does not come back.

use std::sync::Arc;

use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp};

use super::Failure;
use super::desk::{Desk, Target};
use super::order::{Consent, carry_out};
use super::say::tell;
use crate::admin::Order;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    group: String,
    /// The holder's id, as `airlock get slots` shows it
    #[arg(required_unless_present = "all_held_longer_than")]
    id: Option<String>,
    /// Instead of one holder all that have held for longer, such as 2h, 90m or 1d
    #[arg(long, value_name = "TIME", conflicts_with = "id", value_parser = duration)]
    all_held_longer_than: Option<SignedDuration>,
    #[command(flatten)]
    consent: Consent,
}

fn duration(text: &str) -> Result<SignedDuration, String> {
    let days = SpanRelativeTo::days_are_24_hours();
    let parsed = text.parse::<Span>().and_then(|span| span.to_duration(days));
    match parsed {
        Ok(duration) if duration.is_positive() => Ok(duration),
        _ => Err("write a length of time such as 2h, 90m or 1d".into()),
    }
}

pub async fn run(desk: Desk, arguments: &Arguments) -> Result<(), Failure> {
    let target = desk.target(&arguments.group).await?;
    let order = match (&arguments.id, arguments.all_held_longer_than) {
        (Some(id), _) => Order::Unlock {
            id: id.as_str().into(),
        },
        (None, Some(longest)) => Order::Release {
            holds: held_longer(&desk, &target, longest).await?,
        },
        (None, None) => return Err(Failure::Other("name a holder".into())),
    };
    carry_out(&desk, &target, &order, arguments.consent).await
}

async fn held_longer(
    desk: &Desk,
    target: &Target,
    longest: SignedDuration,
) -> Result<Vec<(Arc<str>, Timestamp)>, Failure> {
    let semaphore = desk.semaphore(target).await?;
    let now = Timestamp::now();
    let mut holds = Vec::new();
    for (id, since) in &semaphore.holders {
        match since {
            Some(since) if now.duration_since(*since) > longest => {
                holds.push((Arc::clone(id), *since));
            }
            Some(_) => {}
            None => tell(format_args!(
                "{id} stays, since when it holds is unknown; unlock it by its id"
            )),
        }
    }
    Ok(holds)
}
