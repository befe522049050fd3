//! `airlock lock GROUP ID`: takes a slot for a node by hand, as its pre-reboot would, windows or not.

use super::Failure;
use super::desk::Desk;
use super::order::{Consent, carry_out};
use crate::admin::Order;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    group: String,
    /// The node's id, as it sends it
    id: String,
    #[command(flatten)]
    consent: Consent,
}

pub async fn run(desk: Desk, arguments: &Arguments) -> Result<(), Failure> {
    let id = arguments.id.parse();
    let id = id.map_err(|reason| Failure::Other(format!("{reason}")))?;
    let target = desk.target(&arguments.group).await?;
    carry_out(&desk, &target, &Order::Lock { id }, arguments.consent).await
}
