//! `airlock set slots GROUP N`: changes the slots in the store, where they rule.

use super::Failure;
use super::desk::Desk;
use super::order::{Consent, carry_out};
use crate::admin::Order;
use crate::config::StoreSettings;
use crate::store::etcd::MAX_HOLDERS;

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
        && slots > MAX_HOLDERS
    {
        return Err(Failure::Other(format!(
            "so many holders do not fit into one value of etcd, of which a request has at most 1.5 MiB: \
             set {MAX_HOLDERS} or less, and more groups"
        )));
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
