//! `airlock set slots GROUP N`: changes the slots in the store, where they rule.

use super::Failure;
use super::desk::Desk;
use super::order::{Consent, carry_out};
use crate::admin::Order;
use crate::config::StoreSettings;
use crate::store::etcd;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    group: String,
    /// How many nodes may be away at once; ends a pause
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    slots: u64,
    #[command(flatten)]
    consent: Consent,
}

pub async fn run(desk: Desk, arguments: &Arguments) -> Result<(), Failure> {
    let target = desk.target(&arguments.group).await?;
    let slots = arguments.slots;
    if let StoreSettings::Etcd(_) = desk.settings.store
        && let Some(reason) = etcd::too_many_slots(slots)
    {
        return Err(Failure::Other(reason));
    }
    carry_out(
        &desk,
        &target,
        &Order::SetSlots { slots },
        arguments.consent,
    )
    .await?;
    if let Some(configured) = target.configured_slots
        && configured != slots
        && !arguments.consent.dry_run
    {
        tracing::warn!(
            "the configuration still says {configured} for {}: servers warn until it says {slots} too",
            target.name
        );
    }
    Ok(())
}
