//! `airlock serve`: runs the server.

use std::path::{Path, PathBuf};

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::CliError;
use super::dev;
use super::preflight::{self, Scope};
use crate::config::{Loaded, Places};
use crate::server::rlimit;
use crate::server::{ServeError, Server, Signals, Stopped};
use crate::text::explain::explain;

/// The arguments of `airlock serve`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Try a server without a configuration: plain HTTP on the loopback interface, and a store that is not kept
    ///
    /// The command prints how to ask the server for a lock, the address of its status page, and the administrators'
    /// commands for it. It uses the ports 3333 and 2222 if they are free, and others if not. AIRLOCK_CONFIG has no
    /// effect.
    #[arg(long)]
    pub(super) dev: bool,
}

/// Runs the server until a signal ends it.
///
/// # Errors
/// If the server does not start, or ends for another reason.
pub(super) fn run(config: &Path, arguments: &Arguments) -> Result<(), CliError> {
    rlimit::check().map_err(ServeError::from)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(CliError::Runtime)?;
    // It is removed after the server has ended, and before this process exits.
    let mut folder = None;
    let result = runtime.block_on(async {
        // Before anything that takes time: without a handler, a SIGHUP ends the process.
        let hangups = signal(SignalKind::hangup()).map_err(ServeError::Signals)?;
        let server = if arguments.dev {
            // A signal during the start must not leave the folder behind. A terminal that is closed ends the server,
            // because the name of the folder is printed there.
            let signals = Signals::listen().and_then(Signals::with_hangup);
            let signals = signals.map_err(ServeError::Signals)?;
            let folder = folder.insert(dev::Folder::create()?);
            let server = bind(folder.config(), hangups, Some(signals)).await?;
            dev::greet(folder);
            server
        } else {
            bind(config.to_owned(), hangups, None).await?
        };
        Ok(server.run().await?)
    });
    // Blocking calls that hang, such as name lookups, do not delay the exit.
    runtime.shutdown_background();
    drop(folder);
    match result {
        Ok(Stopped::Drained) => Ok(()),
        // At once: neither the log nor the store delays the exit.
        Ok(Stopped::Aborted(signal)) => std::process::exit(signal.exit_code().into()),
        Err(error) => Err(error),
    }
}

/// Loads the configuration, and binds the addresses. Without `signals`, they are handled once the configuration is
/// loaded.
async fn bind(
    config: PathBuf,
    hangups: Signal,
    signals: Option<Signals>,
) -> Result<Server, CliError> {
    let Loaded {
        settings, places, ..
    } = preflight::load(&config, Scope::Files).await?;
    let signals = signals.map_or_else(Signals::listen, Ok);
    let signals = signals.map_err(ServeError::Signals)?;
    let server = Server::bind(settings, config, hangups, signals).await;
    server.map_err(|error| startup_error(error, &places))
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
