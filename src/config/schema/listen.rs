//! `[service]` and `[status]`.

use super::section::{Applies, Kind, Rule, Section, defaults_to, optional, section, without_it};
use crate::config::diagnostic::{Diagnostics, Located};
use crate::config::field::Field;
use crate::config::toml::Table;

section! {
    /// The listener for nodes, which serves FleetLock. TLS is on unless `tls` is `false`.
    ServiceSection, Restart, Rule::RequiredUnlessFalse("tls", ["tls_cert_path", "tls_key_path"]) => {
        /// IP address or host name to listen on. `0.0.0.0` and `::` stand for all addresses, of IPv4 and IPv6. A host name
        /// is resolved when the server starts.
        address: Text = defaults_to("\"0.0.0.0\"").example("\"192.0.2.1\"").original(),
        /// Port to listen on. 0 stands for any free port, which the log shows.
        port: Port = defaults_to("9090").example("3333").original(),
        /// Whether the listener serves HTTPS. `false` serves plain HTTP.
        tls: Boolean = defaults_to("true").example("false").original(),
        /// Certificate chain of the server (PEM).
        tls_cert_path: FileUnlessEmpty = optional().example("\"/etc/airlock/cert.pem\""),
        /// Private key of the certificate (PEM).
        tls_key_path: FileUnlessEmpty = optional().example("\"/etc/airlock/key.pem\""),
        /// CAs of client certificates (PEM). Only clients with a certificate of one of them are accepted. Needs TLS.
        client_ca_path: File = without_it("clients need no certificate")
            .example("\"/etc/airlock/client-ca.pem\""),
        /// htpasswd file with the users and their passwords (bcrypt). Only these users are accepted.
        htpasswd_path: File = without_it("clients need no password")
            .example("\"/etc/airlock/htpasswd\""),
        /// Path below which FleetLock is served, too, for nodes with a `base_url` such as `https://host/fleetlock/`:
        /// letters, digits, and `-._~/`.
        path_prefix: Text = optional().example("\"/fleetlock\""),
        /// Proxies, as addresses or networks, that [say which client](security.md#behind-a-proxy) they forward.
        trusted_proxies: Texts = defaults_to("[]").example("[\"192.0.2.10\", \"2001:db8::/64\"]"),
        /// File with the [names of nodes](operations.md#give-names-to-nodes), which are shown beside their ids.
        node_names_path: File = without_it("only ids are shown")
            .example("\"/etc/airlock/node-names.txt\""),
    }
}

section! {
    /// The listener for administrators and monitoring, which serves the status page, health checks, and metrics.
    StatusSection, Restart => {
        /// Whether the server has this listener.
        enabled: Boolean = defaults_to("false").example("true").original(),
        /// IP address or host name to listen on, as in `[service]`.
        address: Text = without_it("all addresses").example("\"127.0.0.1\"").original(),
        /// Port to listen on. 0 stands for any free port, which the log shows; a listener that is enabled should have a
        /// fixed one.
        port: Port = defaults_to("0").example("2222").original(),
        /// Whether the listener serves HTTPS.
        tls: Boolean = defaults_to("false").example("true").original(),
        /// Certificate chain of the listener (PEM).
        tls_cert_path: FileUnlessEmpty = without_it("that of `[service]`")
            .example("\"/etc/airlock/status-cert.pem\""),
        /// Private key of the certificate (PEM).
        tls_key_path: FileUnlessEmpty = without_it("that of `[service]`")
            .example("\"/etc/airlock/status-key.pem\""),
        /// [Host names](security.md#protect-the-status-listener), without a port, that requests may be for. IP addresses
        /// and `localhost` are always allowed.
        allowed_hosts: Texts = without_it("all").example("[\"airlock.example\"]"),
    }
}
