//! Denials of many clients.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};

use airlock_test_support::airlock::Airlock;
use airlock_test_support::process::{cpu_seconds, resident_bytes};

use super::{denials, denied_clients};

/// Sends a request for an unknown path from a loopback address.
fn scan(to: SocketAddr, from: Ipv4Addr) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((from, 0)).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    let mut stream = TcpStream::from(socket);
    let path = "x".repeat(1000);
    let request = format!("GET /{path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
}

/// Returns the CPU seconds of the server for a request of each address.
fn cost(airlock: &mut Airlock, addresses: impl Iterator<Item = u32>) -> f64 {
    let to = airlock.url().trim_start_matches("http://").parse().unwrap();
    let server = airlock.process().id();
    let (before, mut count) = (cpu_seconds(server), 0);
    for address in addresses {
        scan(to, Ipv4Addr::from_bits(127 << 24 | 1 << 16 | address));
        count += 1;
    }
    (cpu_seconds(server) - before) / f64::from(count)
}

#[test]
fn invariant_8_denials_of_10_000_clients_cost_no_more_than_those_of_one_and_hide_no_other_client() {
    let mut airlock = Airlock::embedded("");
    assert_eq!(airlock.client().lock("nope", "n").status, 400);
    let one = cost(&mut airlock, std::iter::repeat_n(1, 3000));
    let before = resident_bytes(airlock.process().id());
    cost(&mut airlock, 2..7000);
    let many = cost(&mut airlock, 7000..10_000);
    let grown = resident_bytes(airlock.process().id()).saturating_sub(before);
    println!(
        "CPU time of a denial: {one:.6} s for one client, {many:.6} s for many; {grown} bytes more"
    );
    assert!(many < one * 2.0, "{many} s instead of {one} s");
    assert!(grown < 4 << 20, "{grown} bytes");

    assert_eq!(denied_clients(&airlock, "not_found"), Some(255.0));
    assert_eq!(denied_clients(&airlock, "unknown_group"), Some(1.0));
    let listed = denials(&airlock);
    assert_eq!(listed.len(), 256);
    assert_eq!(listed[0]["peer"], "127.1.39.15");
    assert_eq!(listed[255]["reason"], "unknown_group");
}
