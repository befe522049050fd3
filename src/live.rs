//! What the server works by right now: the groups and the limits. A reload replaces it as a whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

use crate::config::{GroupSettings, Limits, SlotsMismatch};
use crate::group::Group;
use crate::store::GroupName;

/// One state of it. What a request began with, it ends with.
#[derive(Clone)]
pub struct Live {
    pub groups: BTreeMap<GroupName, LiveGroup>,
    pub slots_mismatch: SlotsMismatch,
    pub limits: Limits,
}

/// A group, and what the configuration says of it.
#[derive(Clone)]
pub struct LiveGroup {
    pub group: Group,
    pub settings: GroupSettings,
}

/// Where the current one is, and how to hear of the next.
#[derive(Clone)]
pub struct LiveReceiver(watch::Receiver<Arc<Live>>);

// === impl LiveReceiver ===

impl LiveReceiver {
    pub fn new(receiver: watch::Receiver<Arc<Live>>) -> Self {
        LiveReceiver(receiver)
    }

    pub fn get(&self) -> Arc<Live> {
        Arc::clone(&self.0.borrow())
    }

    /// The current one; [`LiveReceiver::changed`] waits for a newer one than this.
    pub fn get_and_mark(&mut self) -> Arc<Live> {
        Arc::clone(&self.0.borrow_and_update())
    }

    /// Waits for the next one. The server keeps the sender as long as it runs; should it not, this waits
    /// for ever.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
