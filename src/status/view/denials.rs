//! The view of rejected clients.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::Serialize;

use crate::denials::{DenialReason, DeniedClient};
use crate::fleet::{Fleet, RejectedClient, ServerId};

/// The view of a rejected client.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct DenialView {
    /// The server that rejected it.
    pub(crate) server: String,
    /// The label of the reason.
    pub(crate) reason: String,
    pub(crate) peer: IpAddr,
    /// The configured group that the client claims to belong to.
    pub(crate) group: Option<String>,
    /// The node that it claimed to be most recently; `None`: only its server may know.
    pub(crate) id: Option<String>,
    /// What else is known about the latest denial. It may contain any character.
    pub(crate) detail: Option<String>,
    pub(crate) first: Timestamp,
    /// The latest denial; `None`: only its server knows.
    pub(crate) last: Option<Timestamp>,
    /// The number of denials; `None`: only its server knows.
    pub(crate) times: Option<u64>,
}

/// Returns the clients that the running servers have rejected, except `own`.
pub(crate) fn of_fleet(fleet: &Fleet, own: Option<&ServerId>) -> Vec<DenialView> {
    let view = |(server, client): (String, &RejectedClient)| DenialView {
        server,
        reason: client.reason.clone(),
        peer: client.peer,
        group: client.group.clone(),
        id: None,
        detail: client.detail.clone(),
        first: client.first,
        last: None,
        times: None,
    };
    fleet.rejected(own).map(view).collect()
}

// === impl DenialView ===

impl DenialView {
    pub(super) fn new(client: DeniedClient, server: &str) -> Self {
        DenialView {
            server: server.to_owned(),
            reason: client.reason.label().to_owned(),
            peer: client.peer,
            group: client.group,
            id: client.id,
            detail: client.detail,
            first: client.first,
            last: Some(client.last),
            times: Some(client.times),
        }
    }

    /// Returns the reason in words, with what else is known.
    pub(crate) fn text(&self) -> String {
        let reason = DenialReason::from_label(&self.reason);
        let words = match reason {
            Some(reason) => reason.as_str(),
            None => &self.reason,
        };
        match (&self.detail, &self.group) {
            (Some(detail), _) => format!("{words}: {detail}"),
            (None, Some(group)) => format!("{words}, group {group}"),
            (None, None) => words.to_owned(),
        }
    }

    /// Reports whether the client is most likely a node that cannot update.
    pub(crate) fn concerns_nodes(&self) -> bool {
        DenialReason::from_label(&self.reason).is_none_or(DenialReason::concerns_nodes)
    }
}
