//! Partitions between the members of a cluster.

use super::Etcd;
use crate::proxy::{Direction, Network, Proxy};

impl Etcd {
    /// Holds back all bytes from one member to another. The opposite direction works.
    ///
    /// SUBTLE: each member dials the others, and both ends of a connection send messages on it: the dialling member
    /// in requests, the other one in responses that never end.
    pub fn block(&self, from: usize, to: usize) {
        // A member names itself by its id, in hexadecimal.
        let [sender, receiver] = [from, to].map(|index| format!("{:x}", self.members[index].id()));
        self.proxy(to)
            .set_for(&sender, Network::Held(Direction::Requests));
        self.proxy(from)
            .set_for(&receiver, Network::Held(Direction::Responses));
    }

    /// Ends all partitions and returns how many bytes they have held back.
    pub fn heal(&self) -> u64 {
        let proxies = self.members.iter().filter_map(|m| m.peers.as_ref());
        proxies.map(Proxy::reset).sum()
    }

    fn proxy(&self, member: usize) -> &Proxy {
        let proxy = self.members[member].peers.as_ref();
        proxy.expect("the cluster was not started with Etcd::partitionable")
    }
}
