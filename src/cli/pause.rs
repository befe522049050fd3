//! `airlock pause GROUP`: stops new locks at every server of the store, coreos/airlock included.

use super::CliError;
use super::apply::{ConfirmArgs, apply};
use super::context::StoreContext;
use crate::lock::command::AdminCommand;

/// The arguments of `airlock pause`.
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
    apply(&context, &target, &AdminCommand::Pause, arguments.confirm).await
}
