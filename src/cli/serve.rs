//! `airlock serve`: runs the server.

use std::path::Path;

use tokio::signal::unix::{SignalKind, signal};

use super::CliError;
use super::preflight::{self, Scope};
use crate::config::Places;
use crate::server::rlimit;
use crate::server::{ServeError, Server, Stopped};
use crate::text::explain::explain;

/// Runs the server until a signal ends it.
///
/// # Errors
/// If the server does not start, or ends for another reason.
pub(super) fn run(config: &Path) -> Result<(), CliError> {
    rlimit::check().map_err(ServeError::from)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(CliError::Runtime)?;
    let result = runtime.block_on(async {
        // Before anything that takes time: without a handler, a SIGHUP ends the process.
        let hangups = signal(SignalKind::hangup()).map_err(ServeError::Signals)?;
        let loaded = preflight::load(config, Scope::Files).await?;
        let server = Server::bind(loaded.settings, config.to_owned(), hangups).await;
        let server = server.map_err(|error| startup_error(error, &loaded.places))?;
        Ok(server.run().await?)
    });
    // Blocking calls that hang, such as name lookups, do not delay the exit.
    runtime.shutdown_background();
    match result {
        Ok(Stopped::Drained) => Ok(()),
        // At once: neither the log nor the store delays the exit.
        Ok(Stopped::Aborted(signal)) => std::process::exit(signal.exit_code().into()),
        Err(error) => Err(error),
    }
}

/// Adds the place in the configuration to an error that has one.
fn startup_error(error: ServeError, places: &Places) -> CliError {
    match error.key() {
        Some(key) => CliError::Startup(places.diagnostic(&[&key], explain(&error))),
        None => error.into(),
    }
}

impl From<ServeError> for CliError {
    fn from(error: ServeError) -> Self {
        CliError::Serve(Box::new(error))
    }
}
