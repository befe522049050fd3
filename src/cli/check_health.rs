//! `airlock check-health`: whether the server on this machine answers, for a container's health check.
//!
//! It says nothing of the store: to start the server again does not bring an etcd back. `/readyz` has that.

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use super::Failure;
use crate::config::{ListenSettings, Loaded};

const TIMEOUT: Duration = Duration::from_secs(5);

pub fn run(loaded: Loaded) -> Result<(), Failure> {
    let settings = loaded.settings;
    let listen = settings.status.as_ref().unwrap_or(&settings.service);
    // Only the status listener has /healthz. Where there is none, or it speaks TLS, to be let in is all.
    let asks = settings
        .status
        .as_ref()
        .is_some_and(|listen| listen.tls.is_none());
    check(listen, asks)
        .map_err(|problem| Failure::Unavailable(format!("{}: {problem}", place(listen))))
}

fn check(listen: &ListenSettings, asks: bool) -> Result<(), String> {
    let mut failure = "the address has no IP address".to_owned();
    let addresses = (host(listen), listen.port).to_socket_addrs();
    for address in addresses.map_err(|error| error.to_string())? {
        match TcpStream::connect_timeout(&address, TIMEOUT) {
            Ok(_) if !asks => return Ok(()),
            Ok(stream) => return ask(stream),
            Err(error) => failure = error.to_string(),
        }
    }
    Err(failure)
}

fn ask(mut stream: TcpStream) -> Result<(), String> {
    let mut talk = || {
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        stream
            .write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer)?;
        std::io::Result::Ok(answer)
    };
    match talk() {
        Ok(answer) if answer == *b"HTTP/1.1 200" => Ok(()),
        Ok(answer) => Err(format!("answers {:?}", String::from_utf8_lossy(&answer))),
        Err(error) => Err(error.to_string()),
    }
}

/// Where to reach a listener from its own machine.
fn host(listen: &ListenSettings) -> &str {
    match listen.address.as_str() {
        "" | "0.0.0.0" => "127.0.0.1",
        "::" => "::1",
        address => address,
    }
}

fn place(listen: &ListenSettings) -> String {
    format!("{} port {}", host(listen), listen.port)
}
