//! The endpoints of the FleetLock protocol.

/// The requests that a node sends.
#[derive(Clone, Copy, Debug)]
pub(super) enum Endpoint {
    /// `POST /v1/pre-reboot`: the node asks to reboot, and locks a slot.
    PreReboot,
    /// `POST /v1/steady-state`: the node is up again, and releases its slot.
    SteadyState,
}

// === impl Endpoint ===

impl Endpoint {
    /// The value of the label `endpoint`.
    pub(super) fn label(self) -> &'static str {
        match self {
            Endpoint::PreReboot => "pre_reboot",
            Endpoint::SteadyState => "steady_state",
        }
    }
}
