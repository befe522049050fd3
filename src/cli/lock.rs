//! `airlock lock GROUP ID`: locks a slot for a node, inside and outside reboot windows.

use super::CliError;
use super::apply::{ConfirmArgs, apply};
use super::context::StoreContext;
use crate::lock::command::AdminCommand;

/// The arguments of `airlock lock`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The reboot group
    group: String,
    /// The id that the node sends
    id: String,
    #[command(flatten)]
    confirm: ConfirmArgs,
}

/// Runs the command.
pub(super) async fn run(context: StoreContext, arguments: &Arguments) -> Result<(), CliError> {
    let id = arguments.id.parse();
    let id = id.map_err(|error| CliError::InvalidId {
        id: arguments.id.clone(),
        error,
    })?;
    let target = context.target(&arguments.group).await?;
    apply(
        &context,
        &target,
        &AdminCommand::Lock { id },
        arguments.confirm,
    )
    .await
}
