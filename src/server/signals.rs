//! The signals that end the process. For the server, the first one asks for an orderly shutdown, and the second one
//! aborts it.

use std::future::pending;
use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// A signal that ends the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Termination {
    Interrupt,
    Terminate,
    Hangup,
}

/// Receives the signals that end the process.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// `None`: SIGHUP does not end the process.
    hangup: Option<Signal>,
}

// === impl Termination ===

impl Termination {
    /// Returns the exit code that a shell reports for a process that this signal ended: 128 plus its number.
    pub(crate) fn exit_code(self) -> u8 {
        match self {
            Termination::Interrupt => 130,
            Termination::Terminate => 143,
            Termination::Hangup => 129,
        }
    }
}

// === impl Signals ===

impl Signals {
    /// Handles the signals from now on.
    ///
    /// # Errors
    /// If the system refuses the handlers.
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: None,
        })
    }

    /// Handles SIGHUP as well from now on, which a terminal sends when it is closed.
    ///
    /// # Errors
    /// If the system refuses the handler.
    pub(crate) fn with_hangup(mut self) -> io::Result<Self> {
        self.hangup = Some(signal(SignalKind::hangup())?);
        Ok(self)
    }

    /// Waits for the next of the signals.
    pub(crate) async fn next(&mut self) -> Termination {
        let hangup = async {
            match &mut self.hangup {
                Some(signal) => signal.recv().await,
                None => pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => Termination::Terminate,
            _ = self.interrupt.recv() => Termination::Interrupt,
            _ = hangup => Termination::Hangup,
        }
    }
}
