//! `airlock serve --dev`: the configuration and the store of a server that keeps nothing, in a temporary folder.

use std::env;
use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;

use serde_json::json;

use super::CliError;
use super::output::report;
use crate::text::escape::shell_word;

/// The ports that are used if they are free: those of examples/standalone.toml.
const SERVICE_PORT: u16 = 3333;
const STATUS_PORT: u16 = 2222;

/// The number of attempts to remove the folder: the store may create a file meanwhile.
const REMOVALS: usize = 10;

/// A temporary folder with a configuration. It is removed with the value.
pub(super) struct Folder {
    path: PathBuf,
    service_port: u16,
    status_port: u16,
}

// === impl Folder ===

impl Folder {
    /// Creates a folder that only this user can read, and the configuration in it.
    ///
    /// # Errors
    /// If a file or a socket cannot be created.
    pub(super) fn create() -> Result<Self, CliError> {
        let [service_port, status_port] = free_ports().map_err(CliError::DevPorts)?;
        // The printed commands work in every folder.
        let parent = env::temp_dir();
        let parent = std::path::absolute(&parent).unwrap_or(parent);
        let name = format!("airlock-dev-{:016x}", fastrand::u64(..));
        let path = parent.join(name);
        let error = |source| CliError::DevFolder {
            path: parent.clone(),
            source,
        };
        // It fails if there is anything with this name, such as the link of another user.
        let created = DirBuilder::new().mode(0o700).create(&path);
        created.map_err(error)?;
        let folder = Folder {
            path,
            service_port,
            status_port,
        };
        let text = folder.text().map_err(error)?;
        fs::write(folder.config(), text).map_err(error)?;
        Ok(folder)
    }

    /// Returns the path of the configuration.
    pub(super) fn config(&self) -> PathBuf {
        self.path.join("config.toml")
    }

    fn text(&self) -> io::Result<String> {
        let store = self.path.join("airlock.db");
        // A string of JSON is one of TOML.
        let store = json!(store.to_str().ok_or(ErrorKind::InvalidFilename)?);
        Ok(format!(
            "# Written by `airlock serve --dev`, which removes this folder when it ends.\n\n\
             [service]\naddress = \"127.0.0.1\"\nport = {}\ntls = false\n\n\
             [status]\nenabled = true\naddress = \"127.0.0.1\"\nport = {}\n\n\
             [embedded]\npath = {store}\n\n\
             [lock]\ndefault_slots = 2\n",
            self.service_port, self.status_port
        ))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let remove = || match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        };
        let mut removals = (0..REMOVALS).map(|_| remove());
        if removals.all(|removed| removed.is_err()) {
            tracing::warn!("{} cannot be removed; remove it", self.path.display());
        }
    }
}

/// Prints how to use the server.
pub(super) fn greet(folder: &Folder) {
    let program = env::args_os().next();
    let program = program.map_or_else(
        || "airlock".into(),
        |name| name.to_string_lossy().into_owned(),
    );
    let (program, config) = (shell_word(&program), folder.config());
    let config = shell_word(&config.to_string_lossy());
    let (service, status) = (folder.service_port, folder.status_port);
    let curl = |endpoint: &str| {
        format!(
            "  curl -i -H 'fleet-lock-protocol: true' \
             -d '{{\"client_params\": {{\"id\": \"node-1\", \"group\": \"default\"}}}}' \
             http://127.0.0.1:{service}/v1/{endpoint}"
        )
    };
    for line in [
        "Ask for permission to reboot, as a node does, and report that the node is back:",
        &curl("pre-reboot"),
        &curl("steady-state"),
        "Status page:",
        &format!("  http://127.0.0.1:{status}/"),
        "Administrators' commands for this server, in another terminal:",
        &format!("  export AIRLOCK_CONFIG={config}"),
        &format!("  {program} status"),
        "Nothing is kept: the configuration and the locks are removed when the server ends (Ctrl-C).",
    ] {
        report(line);
    }
}

/// Returns free ports of the loopback interface for the service and the status page.
fn free_ports() -> io::Result<[u16; 2]> {
    let listen = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    let free = |preferred| listen(preferred).or_else(|_| listen(0));
    // Both are bound before one of them is released, so that they differ.
    let (service, status) = (free(SERVICE_PORT)?, free(STATUS_PORT)?);
    Ok([service.local_addr()?.port(), status.local_addr()?.port()])
}
