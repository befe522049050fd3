//! `airlock pause GROUP`: nobody new gets in, at any server of the store, Airlock's own too.

use super::Failure;
use super::desk::Desk;
use super::order::{Consent, carry_out};
use crate::admin::Order;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    group: String,
    #[command(flatten)]
    consent: Consent,
}

pub async fn run(desk: Desk, arguments: &Arguments) -> Result<(), Failure> {
    let target = desk.target(&arguments.group).await?;
    carry_out(&desk, &target, &Order::Pause, arguments.consent).await
}
