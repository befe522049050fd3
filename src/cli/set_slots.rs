//! `airlock set slots GROUP N`: changes the number of slots in the store, which takes precedence over the configuration.

use super::CliError;
use super::apply::{ConfirmArgs, apply};
use super::context::StoreContext;
use crate::lock::command::AdminCommand;
use crate::lock::semaphore::Semaphore;

/// The arguments of `airlock set slots`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The reboot group
    group: String,
    /// The number of nodes that may hold a slot at the same time; ends a pause
    #[arg(value_parser = parse_slots, allow_negative_numbers = true)]
    slots: u64,
    #[command(flatten)]
    confirm: ConfirmArgs,
}

fn parse_slots(text: &str) -> Result<u64, &'static str> {
    match text.parse() {
        Ok(0) => Err("a group has 1 slot or more; `airlock pause GROUP` stops new locks"),
        Ok(slots) if slots <= Semaphore::MAX_SLOTS => Ok(slots),
        Ok(_) => Err("a group has at most 9223372036854775807 slots"),
        Err(_) => Err("expected a whole number, 1 or more"),
    }
}

/// Runs the command.
pub(super) async fn run(context: StoreContext, arguments: &Arguments) -> Result<(), CliError> {
    let target = context.target(&arguments.group).await?;
    let slots = arguments.slots;
    context.settings.store.check_slots(slots)?;
    apply(
        &context,
        &target,
        &AdminCommand::SetSlots { slots },
        arguments.confirm,
    )
    .await?;
    if let Some(configured) = target.configured_slots
        && configured != slots
        && !arguments.confirm.dry_run
    {
        let plural = if configured == 1 { "" } else { "s" };
        tracing::warn!(
            "{} still has {configured} slot{plural} for group {}; change it there too, or servers log a warning every \
             minute",
            context.config.display(),
            target.name
        );
    }
    Ok(())
}
