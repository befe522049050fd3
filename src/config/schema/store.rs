//! `[etcd3]` and `[embedded]`.

use super::section::{
    Applies, Kind, Rule, Section, defaults_to, optional, required, section, without_it,
};
use crate::config::diagnostic::{Diagnostics, Located};
use crate::config::field::{Field, NumberRange};
use crate::config::toml::Table;

const TRANSACTION_TIMEOUT_MS: NumberRange = NumberRange::new(10, 600_000);

section! {
    /// The etcd cluster that stores the locks. All servers of a fleet use the same one.
    Etcd3Section, Restart,
    Rule::Together(["client_cert_pub_path", "client_cert_key_path"]),
    Rule::Together(["username", "password_path"]) => {
        /// Members of the cluster, the preferred one first. `http://host:port` is plain; `https://host:port` and a bare
        /// `host:port` use TLS.
        endpoints: Texts = required().example("[\"https://etcd-1.example:2379\", \"https://etcd-2.example:2379\"]")
            .original(),
        /// Id of the [only cluster to use](operations.md#name-the-etcd-cluster): 1 to 16 hexadecimal digits, as etcd logs
        /// it.
        cluster_id: Text = without_it("the cluster of all endpoints that reply at the start")
            .example("\"cdf818194e3a8c32\""),
        /// Time that a request may spend on etcd, in milliseconds.
        transaction_timeout_ms: Integer(TRANSACTION_TIMEOUT_MS) = defaults_to("3000").example("5000").original(),
        /// Client certificate (PEM). Not used with `http://` endpoints.
        client_cert_pub_path: FileUnlessEmpty = optional().example("\"/etc/airlock/etcd-client.pem\"").original(),
        /// Private key of the client certificate (PEM).
        client_cert_key_path: FileUnlessEmpty = optional().example("\"/etc/airlock/etcd-client-key.pem\"").original(),
        /// CAs that have issued the certificates of the cluster (PEM).
        ca_cert_path: FileUnlessEmpty = without_it("the CAs of the system").example("\"/etc/airlock/etcd-ca.pem\""),
        /// User of etcd.
        username: TextUnlessEmpty = optional().example("\"airlock\""),
        /// File that contains the password of the user, and nothing else.
        password_path: FileUnlessEmpty = optional().example("\"/etc/airlock/etcd-password\""),
    }
}

section! {
    /// The embedded store: a file that contains the locks, for a fleet with a single server.
    EmbeddedSection, Restart => {
        /// File that contains the locks. The server creates it in an existing folder of a local filesystem.
        path: Path = required().example("\"/var/lib/airlock/airlock.db\""),
        /// Time that a request may spend on the store, in milliseconds.
        transaction_timeout_ms: Integer(TRANSACTION_TIMEOUT_MS) = defaults_to("3000").example("5000"),
    }
}
