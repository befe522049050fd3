//! `airlock resume GROUP`: ends a pause, with the slots that the configuration says.

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
    let Some(slots) = target.configured_slots else {
        let group = &target.name;
        return Err(Failure::Other(format!(
            "group {group} is not configured, so its slots are not known; say them with: \
             airlock set slots {group} N"
        )));
    };
    carry_out(&desk, &target, &Order::Resume { slots }, arguments.consent).await
}
