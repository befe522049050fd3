//! `airlock override GROUP --for TIME`: grants locks in spite of reboot windows, freezes and gates.

use jiff::{SignedDuration, Timestamp};

use super::CliError;
use super::apply::{ConfirmArgs, apply};
use super::context::StoreContext;
use super::moment::parse_duration;
use crate::lock::command::AdminCommand;
use crate::lock::semaphore::whole_seconds;

const USAGE: &str = "\
airlock override [OPTIONS] <GROUP> --for <TIME>
       airlock override [OPTIONS] <GROUP> --end";

/// The maximum duration of an override: longer ones are forgotten, and belong in the configuration.
const MAX: SignedDuration = SignedDuration::from_hours(7 * 24);

/// The arguments of `airlock override`.
#[derive(Debug, clap::Args)]
#[command(override_usage = USAGE)]
pub(super) struct Arguments {
    /// The reboot group
    group: String,
    /// The time until the override ends, for example 2h or 90m; at most 7d
    #[arg(
        long = "for",
        value_name = "TIME",
        required_unless_present = "end",
        value_parser = parse_length
    )]
    length: Option<SignedDuration>,
    /// End an override now
    #[arg(long, conflicts_with = "length")]
    end: bool,
    #[command(flatten)]
    confirm: ConfirmArgs,
}

/// Runs the command.
pub(super) async fn run(context: StoreContext, arguments: &Arguments) -> Result<(), CliError> {
    let target = context.target(&arguments.group).await?;
    let command = match arguments.length {
        Some(length) => AdminCommand::Override {
            until: whole_seconds(Timestamp::now() + length),
        },
        None => AdminCommand::EndOverride,
    };
    let settings = context.settings.groups.get(&target.name);
    if let (AdminCommand::Override { .. }, Some(settings)) = (&command, settings)
        && settings.windows.0.is_empty()
        && settings.freezes.0.is_empty()
        && settings.gates.is_empty()
    {
        tracing::warn!(
            "group {} has no windows, freezes or gates in {}, so there is nothing to override",
            target.name,
            context.config.display()
        );
    }
    apply(&context, &target, &command, arguments.confirm).await
}

fn parse_length(text: &str) -> Result<SignedDuration, &'static str> {
    let length = parse_duration(text)?;
    match length <= MAX {
        true => Ok(length),
        false => Err(
            "an override lasts at most 7d; change the windows, freezes or gates in the configuration instead",
        ),
    }
}
