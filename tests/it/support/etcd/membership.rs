//! Members that join and leave a running cluster, and its restoration from a snapshot.

use std::fs;
use std::path::Path;

use super::ctl::run;
use super::{Etcd, EtcdctlError, Member};

impl Etcd {
    /// Adds a member with an empty data folder and starts it. `kind` is empty or `--learner`.
    pub fn add_member(&mut self, name: &str, kind: &[&str]) -> Result<(), EtcdctlError> {
        let member = self.member(name.to_owned());
        let peer = format!("--peer-urls={}", member.peer_url());
        let added = self.try_ctl_anywhere(&[&["member", "add", name, &peer], kind].concat());
        unless_done_before(added, "Peer URLs already exists")?;
        self.members.push(member);
        let index = self.members.len() - 1;
        self.join(index);
        Ok(())
    }

    /// Removes a member from the cluster by its id, and its data. Returns an error if the cluster keeps it.
    pub fn remove_member(&mut self, index: usize, id: u64) -> Result<(), EtcdctlError> {
        let removed = self.try_ctl_anywhere(&["member", "remove", &format!("{id:x}")]);
        unless_done_before(removed, "member not found")?;
        self.members[index].wipe();
        Ok(())
    }

    /// Adds a removed member again, with an empty data folder and a new id.
    pub fn replace_member(&mut self, index: usize) -> Result<(), EtcdctlError> {
        let (name, peer) = (&self.members[index].name, self.members[index].peer_url());
        let peer = format!("--peer-urls={peer}");
        let added = self.try_ctl_anywhere(&["member", "add", name, &peer]);
        unless_done_before(added, "Peer URLs already exists")?;
        self.join(index);
        Ok(())
    }

    /// Starts a member that the cluster knows already.
    fn join(&mut self, index: usize) {
        let cluster = self.initial_cluster();
        let state = ["--initial-cluster-state", "existing", "--initial-cluster"];
        let state = state.into_iter().map(str::to_owned);
        self.members[index].cluster = state.chain([cluster]).collect();
        self.members[index].spawn();
    }

    /// Saves a snapshot of the data of the first member that responds.
    pub fn save_snapshot(&self, file: &Path) -> Result<(), EtcdctlError> {
        let _ = fs::remove_file(file);
        self.try_ctl_anywhere(&["snapshot", "save", file.to_str().unwrap()])
            .map(drop)
    }

    /// Kills all members and starts them with the data of a snapshot. The id of the cluster depends on its token:
    /// `etcd-cluster`, the default, keeps it.
    pub fn restore_snapshot(&mut self, file: &Path, token: &str) {
        let cluster = self.initial_cluster();
        self.members.iter_mut().for_each(Member::wipe);
        for member in &mut self.members {
            let arguments = [
                ["snapshot", "restore"],
                [file.to_str().unwrap(), "--name"],
                [&*member.name, "--data-dir"],
                [member.data.to_str().unwrap(), "--initial-cluster"],
                [&cluster, "--initial-cluster-token"],
                [token, "--initial-advertise-peer-urls"],
            ];
            let peer = member.peer_url();
            let arguments = [arguments.concat(), vec![&*peer]].concat();
            run(&self.version.etcdutl(), &arguments, "").unwrap();
        }
        self.members.iter_mut().for_each(Member::spawn);
    }
}

/// Takes an error for a success if an earlier attempt with an unknown outcome explains it.
fn unless_done_before(
    result: Result<String, EtcdctlError>,
    explanation: &str,
) -> Result<(), EtcdctlError> {
    match result {
        Err(error) if !error.stderr.contains(explanation) => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}
