//! `airlock resume GROUP`: ends a pause with the configured number of slots.

use super::CliError;
use super::apply::{ConfirmArgs, apply};
use super::context::StoreContext;
use crate::lock::command::AdminCommand;

/// The arguments of `airlock resume`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The reboot group
    group: String,
    #[command(flatten)]
    confirm: ConfirmArgs,
}

/// Runs the command.
pub(super) async fn run(context: StoreContext, arguments: &Arguments) -> Result<(), CliError> {
    let target = context.target(&arguments.group).await?;
    let slots = target
        .configured_slots
        .ok_or_else(|| context.not_configured(&target))?;
    apply(
        &context,
        &target,
        &AdminCommand::Resume { slots },
        arguments.confirm,
    )
    .await
}
