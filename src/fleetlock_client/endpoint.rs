//! The requests of the FleetLock protocol.

/// An endpoint of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// Asks for a slot.
    PreReboot,
    /// Releases the slot.
    SteadyState,
}

// === impl Endpoint ===

impl Endpoint {
    /// Returns the path below the base URL.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Endpoint::PreReboot => "v1/pre-reboot",
            Endpoint::SteadyState => "v1/steady-state",
        }
    }

    /// Describes a success.
    pub(crate) fn success(self) -> &'static str {
        match self {
            Endpoint::PreReboot => "the slot is granted",
            Endpoint::SteadyState => "the node holds no slot",
        }
    }

    /// Describes a failure.
    pub(crate) fn failure(self) -> &'static str {
        match self {
            Endpoint::PreReboot => "no slot is granted",
            Endpoint::SteadyState => "the slot is not released",
        }
    }

    /// Describes what may have happened while no response was awaited.
    pub(crate) fn in_doubt(self) -> &'static str {
        match self {
            Endpoint::PreReboot => {
                "if the server has granted the slot meanwhile, `airlock client steady-state` releases it"
            }
            Endpoint::SteadyState => "the slot may still be held",
        }
    }
}
