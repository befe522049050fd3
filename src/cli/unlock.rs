//! `airlock unlock GROUP ID`: unlocks a holder that will not release its slot.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::CliError;
use super::apply::{ConfirmArgs, apply};
use super::context::{StoreContext, Target};
use super::moment::parse_duration;
use super::nodes::describe_holder;
use super::output::report;
use crate::lock::command::AdminCommand;

const USAGE: &str = "\
airlock unlock [OPTIONS] <GROUP> <ID>
       airlock unlock [OPTIONS] <GROUP> --held-longer-than <TIME>";

/// The arguments of `airlock unlock`.
#[derive(Debug, clap::Args)]
#[command(override_usage = USAGE)]
pub(super) struct Arguments {
    /// The reboot group
    group: String,
    /// The id of the holder, as `airlock get slots` prints it
    #[arg(required_unless_present = "held_longer_than")]
    id: Option<String>,
    /// Unlock all holders that have held their slot for longer than this, for example 2h, 90m or 1d
    #[arg(long, value_name = "TIME", conflicts_with = "id", value_parser = parse_duration)]
    held_longer_than: Option<SignedDuration>,
    #[command(flatten)]
    confirm: ConfirmArgs,
}

/// Runs the command.
pub(super) async fn run(context: StoreContext, arguments: &Arguments) -> Result<(), CliError> {
    let target = context.target(&arguments.group).await?;
    let command = match arguments.held_longer_than {
        Some(limit) => AdminCommand::UnlockHeldSince {
            holds: held_longer_than(&context, &target, limit).await?,
        },
        // The command line requires an id in this case.
        None => AdminCommand::Unlock {
            id: arguments.id.as_deref().unwrap_or_default().into(),
        },
    };
    apply(&context, &target, &command, arguments.confirm).await
}

/// Returns the holders that have held their slot for longer than `limit`, with the time of their grant.
async fn held_longer_than(
    context: &StoreContext,
    target: &Target,
    limit: SignedDuration,
) -> Result<Vec<(Arc<str>, Timestamp)>, CliError> {
    let semaphore = context.semaphore(target).await?;
    let now = Timestamp::now();
    let mut holds = Vec::new();
    for (id, hold) in semaphore.holders.iter() {
        match hold.since {
            Some(since) if now.duration_since(since) > limit => {
                holds.push((Arc::clone(id), since));
            }
            Some(_) => {}
            None => report(format_args!(
                "{} stays locked, because its lock time is unknown; unlock it by its id",
                describe_holder(&context.names, id, hold)
            )),
        }
    }
    Ok(holds)
}
