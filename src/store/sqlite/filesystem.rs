//! The filesystem under the store. SQLite needs locks and shared memory that all processes on the file see, which
//! network filesystems do not provide reliably, and locks have to outlast a restart of the machine.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// The names of filesystems, by the magic number that `statfs` returns.
///
/// Source: linux/magic.h, statfs(2), and the headers of Lustre and AFS.
type Names = [(u64, &'static str)];

const NETWORK: &Names = &[
    (0x6969, "NFS"),
    (0x517b, "SMB"),
    (0xfe53_4d42, "SMB"),
    (0xff53_4d42, "CIFS"),
    (0x00c3_6400, "Ceph"),
    (0x5346_414f, "AFS"),
    (0x6b41_4653, "AFS"),
    (0x7375_7245, "Coda"),
    (0x564c, "NCP"),
    (0x0102_1997, "9p"),
    (0x0bd0_0bd0, "Lustre"),
    (0x1983_0326, "BeeGFS"),
    (0x4750_4653, "GPFS"),
    (0x786f_4256, "a shared folder of VirtualBox"),
];

const IN_MEMORY: &Names = &[(0x0102_1994, "tmpfs"), (0x8584_58f6, "ramfs")];

const OTHERS: &Names = &[
    (0xef53, "ext2, ext3, or ext4"),
    (0x5846_5342, "XFS"),
    (0x9123_683e, "Btrfs"),
    (0xf2f5_2010, "F2FS"),
    (0x2fc1_2fc1, "ZFS"),
    (0x794c_7630, "overlayfs"),
];

/// The magic number of all filesystems in user space, local ones among them.
const FUSE: u64 = 0x6573_5546;

/// FUSE filesystems whose files are on other machines, by their type in the table of mounts, without `fuse.`.
const NETWORK_FUSE: &[&str] = &[
    "beegfs",
    "blobfuse",
    "blobfuse2",
    "ceph",
    "ceph-fuse",
    "curlftpfs",
    "davfs",
    "davfs2",
    "gcsfuse",
    "glusterfs",
    "goofys",
    "juicefs",
    "moosefs",
    "mfs",
    "mount-s3",
    "mountpoint-s3",
    "rclone",
    "s3fs",
    "seaweedfs",
    "smbnetfs",
    "sshfs",
];

/// Returns the network filesystem that contains `folder`; `None`: it is a local one, or cannot be determined.
pub(super) fn network_filesystem(folder: &Path) -> Option<String> {
    let magic = magic(folder).ok()?;
    let mount_type = || {
        let device = folder.metadata().ok()?.dev();
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        mount_type(&mounts, device).map(str::to_owned)
    };
    refused(magic, mount_type)
}

/// Returns the magic number of the filesystem that contains `place`.
pub(super) fn magic(place: &Path) -> rustix::io::Result<u64> {
    let magic = rustix::fs::statfs(place)?.f_type;
    // The type of the field differs between platforms; a magic number has 32 bits.
    Ok(u64::try_from(magic).unwrap_or_default() & 0xffff_ffff)
}

/// Returns the name of the filesystem if it is in memory.
pub(super) fn in_memory(magic: u64) -> Option<&'static str> {
    name_in(IN_MEMORY, magic)
}

/// Returns the name of another common filesystem.
pub(super) fn other(magic: u64) -> Option<&'static str> {
    name_in(OTHERS, magic)
}

fn name_in(names: &Names, magic: u64) -> Option<&'static str> {
    let found = names.iter().find(|(known, _)| *known == magic);
    found.map(|(_, name)| *name)
}

/// Decides on a filesystem. `mount_type` returns its type in the table of mounts.
fn refused(magic: u64, mount_type: impl FnOnce() -> Option<String>) -> Option<String> {
    if magic == FUSE {
        let mount_type = mount_type()?;
        let name = mount_type.strip_prefix("fuse.")?;
        return NETWORK_FUSE.contains(&name).then(|| mount_type.clone());
    }
    name_in(NETWORK, magic).map(str::to_owned)
}

/// Returns the type of the filesystem with the number `device` in a table of mounts.
///
/// Source: proc_pid_mountinfo(5).
fn mount_type(mounts: &str, device: u64) -> Option<&str> {
    let device = format!(
        "{}:{}",
        rustix::fs::major(device),
        rustix::fs::minor(device)
    );
    mounts.lines().find_map(|line| {
        let (mount, source) = line.split_once(" - ")?;
        let is_this = mount.split(' ').nth(2) == Some(&device);
        source.split(' ').next().filter(|_| is_this)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_filesystems_are_refused_and_local_ones_are_not() {
        for (magic, expected) in [
            (0xef53, None),      // ext2, ext3, ext4
            (0x5846_5342, None), // XFS
            (0x9123_683e, None), // Btrfs
            (0x0102_1994, None), // tmpfs
            (0x794c_7630, None), // overlayfs
            (0x2fc1_2fc1, None), // ZFS
            (0xf2f5_2010, None), // F2FS
            (0x6a65_6a63, None), // virtiofs
            (0x6969, Some("NFS")),
            (0xff53_4d42, Some("CIFS")),
            (0xfe53_4d42, Some("SMB")),
            (0x517b, Some("SMB")),
            (0x0102_1997, Some("9p")),
            (0x00c3_6400, Some("Ceph")),
            (0x0bd0_0bd0, Some("Lustre")),
        ] {
            let found = refused(magic, || panic!("only FUSE needs the table of mounts"));
            assert_eq!(found.as_deref(), expected, "{magic:#x}");
        }
        for (mount_type, expected) in [
            ("fuse.glusterfs", Some("fuse.glusterfs")),
            ("fuse.sshfs", Some("fuse.sshfs")),
            ("fuse.s3fs", Some("fuse.s3fs")),
            ("fuse.fuse-overlayfs", None),
            ("fuseblk", None),
            ("fuse", None),
        ] {
            let found = refused(FUSE, || Some(mount_type.to_owned()));
            assert_eq!(found.as_deref(), expected, "{mount_type}");
        }
        assert_eq!(refused(FUSE, || None), None);
    }

    #[test]
    fn the_type_of_a_mount_is_found_by_its_device() {
        let mounts = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n\
                      40 22 0:50 / /mnt/a rw shared:2 master:3 - fuse.sshfs host:/ rw,user_id=0\n";
        assert_eq!(mount_type(mounts, rustix::fs::makedev(8, 1)), Some("ext4"));
        assert_eq!(
            mount_type(mounts, rustix::fs::makedev(0, 50)),
            Some("fuse.sshfs")
        );
        assert_eq!(mount_type(mounts, rustix::fs::makedev(9, 9)), None);
    }

    #[test]
    fn the_temporary_folder_is_on_a_local_filesystem() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(network_filesystem(folder.path()), None);
    }
}
