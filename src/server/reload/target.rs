//! The files that are reloaded.

use std::sync::Arc;

use crate::tls::ServerTls;

/// A file or group of files that is reloaded, as the key of a [`FileWatcher`](crate::reloadable::FileWatcher).
pub(crate) enum ReloadTarget {
    Listener(Arc<ServerTls>),
    Etcd,
    Htpasswd,
    NodeNames,
    Notify,
    Gates,
}

// === impl ReloadTarget ===

impl ReloadTarget {
    /// The value of the label `target`.
    pub(super) fn label(&self) -> &'static str {
        match self {
            ReloadTarget::Listener(tls) => tls.listener(),
            ReloadTarget::Etcd => "etcd3",
            ReloadTarget::Htpasswd => "htpasswd",
            ReloadTarget::NodeNames => "node_names",
            ReloadTarget::Notify => "notify",
            ReloadTarget::Gates => "gates",
        }
    }
}
