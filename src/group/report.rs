//! What the commits of a group have changed, for people and programs: in the log, in the metrics, and as events.
//!
//! The task of the group reports, because a client can disconnect before its reply.

use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use prometheus::Histogram;
use tracing::field;

use crate::lock::GroupName;
use crate::lock::history::CompletedHold;
use crate::lock::holders::Client;
use crate::names::NodeNames;
use crate::notify::{Event, Notifier};

/// Reports grants and releases.
#[derive(Clone, Default)]
pub(crate) struct Reporter {
    /// The names of nodes, which take precedence over stored ones.
    pub(crate) names: Arc<NodeNames>,
    /// `None`: no events are sent.
    pub(crate) notifier: Option<Notifier>,
}

// === impl Reporter ===

impl Reporter {
    /// Reports that a node became a holder at `at`.
    pub(super) fn granted(&self, group: &GroupName, id: &Arc<str>, client: &Client, at: Timestamp) {
        let Client { peer, name } = client;
        let node = name.as_deref();
        tracing::info!(%group, id = &**id, peer = peer.map(field::display), name = node, "lock granted");
        if let Some(notifier) = &self.notifier {
            notifier.send(Event::Granted {
                group: group.clone(),
                id: Arc::clone(id),
                name: name.clone(),
                peer: *peer,
                at,
            });
        }
    }

    /// Reports that a node at `peer` has released its slot.
    pub(super) fn released(
        &self,
        group: &GroupName,
        hold: &CompletedHold,
        peer: Option<IpAddr>,
        hold_seconds: &Histogram,
    ) {
        let held = hold.duration();
        if let Some(held) = held {
            hold_seconds.observe(held.as_secs_f64());
        }
        let held_seconds = held.map(|held| held.as_secs());
        let name = self.names.name(&hold.id).or_else(|| hold.name.clone());
        let (id, node) = (&*hold.id, name.as_deref());
        tracing::info!(%group, id, peer = peer.map(field::display), name = node, held_seconds, "lock released");
        if let Some(notifier) = &self.notifier {
            notifier.send(Event::Released {
                group: group.clone(),
                id: Arc::clone(&hold.id),
                name,
                peer,
                since: hold.from,
                at: hold.until,
                by: None,
            });
        }
    }
}
