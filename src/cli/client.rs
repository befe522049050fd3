//! `airlock client`: asks a FleetLock server as Zincati does, on nodes without Zincati. It needs neither a configuration
//! nor a store.

mod error;

use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;
use jiff::SignedDuration;
use tokio::time::{Instant, sleep_until};

use super::CliError;
use super::context::block_on;
use super::environment::OrVariable;
use super::moment::parse_duration;
use super::output::report;
use crate::admin::host;
use crate::config::{KeyPair, is_exposed};
use crate::fleetlock_client::{self, AskError, Endpoint, Node, User};
use crate::http_client::HttpClient;
use crate::http_client::credentials::{basic, read_secret};
use crate::lock::NodeId;
use crate::server::Signals;
use crate::text::escape::{quoted, redacted};
use crate::text::explain::explain;
pub(super) use error::ClientCommandError;

/// The bound of the first pause after a server was unavailable, which doubles up to the interval.
const FIRST_PAUSE: Duration = Duration::from_secs(10);

const MAX_DOUBLINGS: u32 = 16;

const EXIT_CODES: &str = "\
Exit codes:
  0         the slot is granted, or released
  1         the server denies it, for now
  2         the command line is invalid
  69        no answer of a FleetLock server, or a failure of it, so the outcome may be unknown; ask again
  77        the server rejects the request, such as the password, or redirects it
  78        a file cannot be used, or the machine has no id
  130, 143  SIGINT or SIGTERM ended the command; the outcome may be unknown

If the reboot is given up, run `airlock client steady-state`, whatever the exit code is: the node may hold a slot.";

/// A request of a node.
#[derive(Debug, Subcommand)]
pub(super) enum Client {
    /// Ask for a slot, before a reboot
    ///
    /// The exit code is 0 only if the server has granted the slot: reboot then, and release it with `airlock client
    /// steady-state` after the reboot. A holder that asks again is granted the slot that it already has, so it is safe to
    /// repeat the command if it is not known whether it has succeeded.
    #[command(after_help = EXIT_CODES)]
    PreReboot(Arguments),
    /// Release the slot, after a reboot
    ///
    /// A node that holds no slot may report as well, so the command belongs into each boot, and after a reboot that was
    /// granted and then given up.
    #[command(after_help = EXIT_CODES)]
    SteadyState(Arguments),
}

/// The arguments of `airlock client`. Each of them can be set in the environment, for units.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The base URL of the server, as of `base_url` in the configuration of Zincati
    ///
    /// It may contain a user and a password, https://user:password@host/, in the environment: other users of the machine
    /// can read the arguments of a command.
    // A text: the message of clap about an invalid URL would contain its password.
    #[arg(long, env = "AIRLOCK_URL", hide_env_values = true)]
    url: String,
    /// The reboot group of the node
    #[arg(long, env = "AIRLOCK_GROUP", hide_env_values = true, default_value = "default",
        value_parser = OrVariable(parse_group))]
    group: String,
    /// The id of the node; without it, the one that `airlock id` prints, as Zincati
    #[arg(long, env = "AIRLOCK_ID", hide_env_values = true, value_parser = OrVariable(str::parse::<NodeId>))]
    id: Option<NodeId>,
    /// Ask again until the slot is granted or released
    ///
    /// The command ends early if the server rejects the request, because asking again does not help.
    #[arg(long)]
    wait: bool,
    /// Wait, and give up after this time, for example 30m or 2h
    ///
    /// The last request is made at the end of this time, so the command may take longer, by up to --timeout.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    wait_at_most: Option<Duration>,
    /// The mean time between two requests of a node that waits
    ///
    /// The time is random, from half to one and a half of it, so that the nodes of a fleet do not ask at the same time.
    /// After an unavailable server, the first pauses are shorter.
    #[arg(long, value_name = "TIME", env = "AIRLOCK_INTERVAL", hide_env_values = true, default_value = "5m",
        value_parser = OrVariable(parse_interval))]
    interval: Duration,
    /// The time that a server has to answer a request
    #[arg(long, value_name = "TIME", env = "AIRLOCK_TIMEOUT", hide_env_values = true, default_value = "1m",
        value_parser = OrVariable(parse_time))]
    timeout: Duration,
    /// The CAs to trust, in PEM format; without it, those of the system
    #[arg(long, value_name = "FILE", env = "AIRLOCK_CA", hide_env_values = true)]
    ca: Option<PathBuf>,
    /// The user of the node, if the server requires a password
    #[arg(
        long,
        value_name = "NAME",
        env = "AIRLOCK_USERNAME",
        hide_env_values = true,
        requires = "password_file"
    )]
    username: Option<String>,
    /// The file with the password of the user
    #[arg(
        long,
        value_name = "FILE",
        env = "AIRLOCK_PASSWORD_FILE",
        hide_env_values = true,
        requires = "username"
    )]
    password_file: Option<PathBuf>,
    /// The certificate of the node, in PEM format, if the server requires one
    #[arg(
        long,
        value_name = "FILE",
        env = "AIRLOCK_CLIENT_CERT",
        hide_env_values = true,
        requires = "client_key"
    )]
    client_cert: Option<PathBuf>,
    /// The private key of the certificate
    #[arg(
        long,
        value_name = "FILE",
        env = "AIRLOCK_CLIENT_KEY",
        hide_env_values = true,
        requires = "client_cert"
    )]
    client_key: Option<PathBuf>,
}

// === impl Client ===

impl Client {
    /// Runs the command.
    ///
    /// # Errors
    /// If the server has not granted or released the slot.
    pub(super) fn run(&self) -> Result<(), CliError> {
        let (endpoint, arguments) = match self {
            Client::PreReboot(arguments) => (Endpoint::PreReboot, arguments),
            Client::SteadyState(arguments) => (Endpoint::SteadyState, arguments),
        };
        let node = arguments.node(endpoint)?;
        block_on(async {
            let mut signals = Signals::listen().map_err(CliError::Runtime)?;
            tokio::select! {
                result = ask(&node, endpoint, arguments) => result?,
                signal = signals.next() => {
                    return Err(ClientCommandError::Interrupted { endpoint, signal }.into());
                }
            }
            report(format_args!(
                "{}: group {}, id {}",
                endpoint.success(),
                quoted(&node.group),
                quoted(&node.id)
            ));
            Ok(())
        })
    }
}

// === impl Arguments ===

impl Arguments {
    /// Reads the files.
    fn node(&self, endpoint: Endpoint) -> Result<Node, ClientCommandError> {
        let (url, user) = fleetlock_client::join(&self.url, endpoint.path())?;
        let user = match (user, self.user()?) {
            (Some(_), Some(_)) => return Err(ClientCommandError::TwoPasswords),
            (user, from_file) => user.or(from_file),
        };
        if user.is_some() && is_exposed(&url) {
            tracing::warn!(
                "the password is sent in plain text; use https:// if the server has TLS"
            );
        }
        let authorization = user
            .map(|user| basic(&user.name, &user.password))
            .transpose()?;
        let pair = self.client_cert.clone().zip(self.client_key.clone());
        let pair = pair.map(|(cert_path, key_path)| KeyPair {
            cert_path,
            key_path,
        });
        // The other half is for the response.
        let connect_timeout = Some(self.timeout / 2);
        Ok(Node {
            client: HttpClient::load(self.ca.as_deref(), pair.as_ref(), connect_timeout)?,
            url,
            authorization,
            group: self.group.clone(),
            id: match &self.id {
                Some(id) => id.to_string(),
                None => host::machine_id()?.zincati_id(),
            },
            timeout: self.timeout,
        })
    }

    /// Returns the user with the password in a file.
    fn user(&self) -> Result<Option<User>, ClientCommandError> {
        // The command line has both or neither.
        let (Some(name), Some(path)) = (&self.username, &self.password_file) else {
            return Ok(None);
        };
        if name.contains(':') {
            return Err(ClientCommandError::Username);
        }
        Ok(Some(User {
            name: name.clone(),
            password: read_secret(path)?,
        }))
    }
}

/// Returns the pause of a node that waits, after this many failures in a row to reach the server.
fn pause(interval: Duration, failures: u32) -> Duration {
    let mean = match failures.checked_sub(1) {
        Some(doublings) => FIRST_PAUSE * 2_u32.pow(doublings.min(MAX_DOUBLINGS)),
        None => interval,
    };
    mean.min(interval).mul_f64(0.5 + fastrand::f64())
}

/// Asks the server, once or until it grants or releases the slot. Prints the reason of the wait each time that it changes.
async fn ask(
    node: &Node,
    endpoint: Endpoint,
    arguments: &Arguments,
) -> Result<(), ClientCommandError> {
    let waits = arguments.wait || arguments.wait_at_most.is_some();
    let end = arguments.wait_at_most.map(|limit| Instant::now() + limit);
    let mut failures = 0_u32;
    let mut reported = String::new();
    loop {
        let Err(error) = node.ask().await else {
            return Ok(());
        };
        let is_last = !waits || end.is_some_and(|end| end <= Instant::now());
        if is_last || !error.is_temporary() {
            let url = redacted(&node.url.to_string()).into_owned();
            return Err(ClientCommandError::Asked {
                endpoint,
                url,
                error,
            });
        }
        failures = match error {
            AskError::Denied(_) => 0,
            _ => failures.saturating_add(1),
        };
        let reason = explain(&error);
        if reason != reported {
            report(format_args!("{}, waiting: {reason}", endpoint.failure()));
            reported = reason;
        }
        let next = Instant::now() + pause(arguments.interval, failures);
        // The last request is made when the time is over.
        sleep_until(end.map_or(next, |end| next.min(end))).await;
    }
}

fn parse_group(text: &str) -> Result<String, &'static str> {
    let expected = "expected 1 to 253 bytes without control and format characters";
    let name: NodeId = text.parse().map_err(|_| expected)?;
    Ok(name.to_string())
}

fn parse_time(text: &str) -> Result<Duration, &'static str> {
    let length = parse_duration(text)?;
    Duration::try_from(length).map_err(|_| "the time is too long")
}

/// A shorter one would make the nodes of a fleet a burden of the server.
const MIN_INTERVAL: SignedDuration = SignedDuration::from_secs(1);

fn parse_interval(text: &str) -> Result<Duration, &'static str> {
    match parse_duration(text)? {
        length if length < MIN_INTERVAL => Err("expected at least 1s"),
        _ => parse_time(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_spread_around_the_interval_and_shorter_at_first_after_a_failure() {
        for (failures, interval, mean) in [
            (0, 300, 300),
            (1, 300, 10),
            (2, 300, 20),
            (5, 300, 160),
            (6, 300, 300),
            (u32::MAX, 300, 300),
            (1, 1, 1),
        ] {
            let pauses = [(); 400].map(|()| pause(Duration::from_secs(interval), failures));
            let (shortest, longest) = (pauses.iter().min().unwrap(), pauses.iter().max().unwrap());
            let mean = Duration::from_secs(mean);
            assert!(
                (mean / 2..mean * 5 / 8).contains(shortest),
                "{shortest:?} of {mean:?}"
            );
            assert!(
                (mean * 11 / 8..mean * 3 / 2).contains(longest),
                "{longest:?} of {mean:?}"
            );
        }
    }
}
