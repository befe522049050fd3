//! The server in a pod: the command of the container, with the files of its volumes as the kubelet lays them out and the
//! secrets that docs/kubernetes.md creates.

use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use reqwest::Certificate;
use reqwest::blocking::Client as Http;
use tempfile::TempDir;
use yaml_rust2::Yaml;

use airlock_test_support::airlock::{
    UNPRIVILEGED_USER, port_in, unprivileged, unprivileged_airlock,
};
use airlock_test_support::client::Client;
use airlock_test_support::etcd::{Etcd, Version};
use airlock_test_support::pki::{Ca, Pair};
use airlock_test_support::process::Process;
use airlock_test_support::prometheus::contrib;
use airlock_test_support::{eventually, repository};

use super::{Objects, items, named, stdout, tool, yaml};

/// Returns the commands of docs/kubernetes.md that begin with `start`.
fn documented(start: &str) -> Vec<String> {
    let text = fs::read_to_string(repository().join("docs/kubernetes.md")).unwrap();
    let text = text.replace("\\\n", " ");
    let lines = text.lines().filter_map(|line| line.strip_prefix("    "));
    let commands: Vec<_> = lines
        .filter(|line| line.starts_with(start))
        .map(str::to_owned)
        .collect();
    assert!(!commands.is_empty(), "no {start}");
    commands
}

fn shell(command: &str, folder: &Path) -> Output {
    let path = tool("kubectl").parent().unwrap().to_owned();
    let path = format!("{}:{}", path.display(), std::env::var("PATH").unwrap());
    Command::new("sh")
        .args(["-ec", command])
        .current_dir(folder)
        .env("PATH", path)
        .output()
        .unwrap()
}

/// The files of an administrator who follows the documentation, and the secrets made of them.
struct Admin {
    folder: TempDir,
    secrets: Vec<Yaml>,
}

impl Admin {
    /// `etcd` is a client certificate for etcd and the path of etcd's CA.
    fn new(etcd: Option<(&Pair, &Path)>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for command in documented("openssl ") {
            stdout(shell(&command, folder.path()));
        }
        let users = format!("workers:{}\n", bcrypt::hash("secret", 4).unwrap());
        fs::write(folder.path().join("htpasswd"), users).unwrap();
        let mut admin = Admin {
            folder,
            secrets: Vec::new(),
        };
        for command in documented("kubectl -n airlock create secret ") {
            if command.contains(" airlock-backup ") || command.contains("--dry-run") {
                continue;
            }
            if command.contains(" airlock-etcd ") {
                let Some((pair, ca)) = etcd else { continue };
                for (from, to) in [
                    (ca, "etcd-ca.crt"),
                    (&pair.cert, "etcd-client.crt"),
                    (&pair.key, "etcd-client.key"),
                ] {
                    fs::copy(from, admin.path(to)).unwrap();
                }
            }
            admin.create(&command);
        }
        admin
    }

    /// Creates a secret with kubectl, but without a cluster.
    fn create(&mut self, command: &str) {
        let output = shell(
            &format!("{command} --dry-run=client -o yaml"),
            self.folder.path(),
        );
        self.secrets.append(&mut yaml(&stdout(output)));
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    fn secret(&self, name: &str, key: &str) -> Vec<u8> {
        let mut secrets = self.secrets.iter();
        let secret = secrets.find(|secret| secret["metadata"]["name"].as_str() == Some(name));
        let value = &secret.unwrap_or_else(|| panic!("no secret {name}"))["data"][key];
        let value = value
            .as_str()
            .unwrap_or_else(|| panic!("no {key} in {name}"));
        BASE64_STANDARD.decode(value).unwrap()
    }

    fn ca(&self) -> Certificate {
        Certificate::from_pem(&fs::read(self.path("ca.pem")).unwrap()).unwrap()
    }
}

/// The volumes of a pod as the kubelet prepares them, below a temporary folder.
struct Pod {
    folder: TempDir,
    objects: Objects,
}

impl Pod {
    fn new(overlay: &str, admin: &Admin) -> Self {
        let pod = Pod {
            folder: tempfile::tempdir().unwrap(),
            objects: Objects::of(overlay),
        };
        let volume = &named(&pod.objects.pod()["volumes"], "airlock")["projected"];
        let mode = u32::try_from(volume["defaultMode"].as_i64().unwrap()).unwrap();
        // The files are behind a link that the kubelet swaps.
        let (folder, data) = (pod.path("etc/airlock"), pod.path("etc/airlock/..1"));
        fs::create_dir_all(&data).unwrap();
        symlink("..1", folder.join("..data")).unwrap();
        let sources = items(&volume["sources"]).map(|source| &source["secret"]);
        for source in sources.filter(|source| !source.is_badvalue()) {
            for item in items(&source["items"]) {
                let [name, key, path] = [&source["name"], &item["key"], &item["path"]]
                    .map(|value| value.as_str().unwrap());
                let (top, _) = path.split_once('/').unwrap();
                if fs::create_dir(data.join(top)).is_ok() {
                    symlink(Path::new("..data").join(top), folder.join(top)).unwrap();
                }
                give(&data.join(path), &admin.secret(name, key), mode);
            }
        }
        // The volume of the store: its group is `fsGroup`.
        fs::create_dir_all(pod.path("var/lib/airlock")).unwrap();
        own(&pod.path("var/lib/airlock"), 0o2775);
        fs::set_permissions(pod.folder.path(), Permissions::from_mode(0o755)).unwrap();
        pod
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// Writes the configuration of the ConfigMap for free ports. `change` replaces what else differs.
    fn configure(&self, change: impl Fn(String) -> String) {
        let here = |path: &str| format!("{}/", self.path(path).display());
        let config = change(self.objects.config().to_owned())
            .replace("port = 3333", "port = 0")
            .replace("port = 2222", "port = 0")
            .replace("/etc/airlock/", &here("etc/airlock"))
            .replace("/var/lib/airlock/", &here("var/lib/airlock"));
        give(
            &self.path("etc/airlock/config.toml"),
            config.as_bytes(),
            0o440,
        );
    }

    /// Returns a command that runs as the user of the pod.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.path("airlock"));
        command
            .args(arguments)
            .arg("-c")
            .arg(self.path("etc/airlock/config.toml"));
        unprivileged(&mut command);
        command
    }

    /// Checks the configuration, and starts the command of the container.
    fn start(&self) -> Process {
        drop(unprivileged_airlock(self.folder.path()));
        let mut check = self.command(&["check-config", "--strict"]);
        stdout(eventually("the copy to be executable", || {
            check.output().ok()
        }));
        let words = words(self.objects.container());
        Process::start(self.command(&words[1..]), &self.path("log"))
    }
}

/// Returns the command of a container.
fn words(container: &Yaml) -> Vec<&str> {
    let words: Vec<&str> = items(&container["command"])
        .map(|word| word.as_str().unwrap())
        .collect();
    assert_eq!(words[0], "/usr/local/bin/airlock");
    words
}

/// Creates a file that the group of the pod can read.
fn give(path: &Path, content: &[u8], mode: u32) {
    fs::write(path, content).unwrap();
    own(path, mode);
}

fn own(path: &Path, mode: u32) {
    if fs::metadata("/proc/self").unwrap().uid() == 0 {
        chown(path, None, Some(UNPRIVILEGED_USER)).unwrap();
    }
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn port(server: &Process, service: &str) -> u16 {
    eventually("the server to listen", || port_in(&server.log(), service))
}

/// Asks a server as the kubelet and as a node do.
fn assert_grants(server: &Process, admin: &Admin) {
    let health = format!(
        "http://127.0.0.1:{}/healthz",
        port(server, "status service")
    );
    assert_eq!(reqwest::blocking::get(health).unwrap().status(), 200);
    let port = port(server, "main service");
    let client = |user: &str| {
        let http = Http::builder().tls_certs_only([admin.ca()]);
        let http = http.resolve("airlock.example", SocketAddr::from(([127, 0, 0, 1], port)));
        Client::over(format!("https://{user}airlock.example:{port}"), http)
    };
    assert_eq!(client("").lock("workers", "node-1").status, 401);
    let node = client("workers:secret@");
    assert!(node.lock("workers", "node-1").granted());
    assert!(node.unlock("workers", "node-1").granted());
}

#[test]
fn a_pod_with_the_embedded_store_grants_a_lock_and_is_restored_from_its_backup() {
    let mut admin = Admin::new(None);
    let pod = Pod::new("embedded", &admin);
    pod.configure(|config| config);
    let mut server = pod.start();
    assert_grants(&server, &admin);

    let curl = documented("curl ").remove(0);
    let curl = curl.replace("3333", &port(&server, "main service").to_string());
    let curl = curl.replace("--user workers", "--user workers:secret --silent");
    assert!(stdout(shell(&curl, admin.folder.path())).starts_with("HTTP/2 200"));

    let backup = documented("kubectl -n airlock exec statefulset/airlock -- airlock backup");
    let (_, command) = backup[0].split_once(" -- airlock ").unwrap();
    let (arguments, file) = command.split_once(" >").unwrap();
    let arguments: Vec<&str> = arguments.split(' ').collect();
    let output = pod.command(&arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    fs::write(admin.path(file), output.stdout).unwrap();
    server.kill();
    fs::remove_file(pod.path("var/lib/airlock/airlock.db")).unwrap();

    admin.create(&documented("kubectl -n airlock create secret generic airlock-backup")[0]);
    fs::create_dir(pod.path("backup")).unwrap();
    give(
        &pod.path("backup/airlock.db"),
        &admin.secret("airlock-backup", "airlock.db"),
        0o440,
    );
    let restore = Objects::of("restore");
    let job = &restore.first(&["Job"])["spec"]["template"]["spec"];
    let mut words = words(named(&job["containers"], "airlock"));
    let file = pod.path("backup/airlock.db");
    assert_eq!(
        std::mem::replace(&mut words[2], file.to_str().unwrap()),
        "/backup/airlock.db"
    );
    stdout(pod.command(&words[1..]).output().unwrap());

    let slots = stdout(pod.command(&["get", "slots", "workers"]).output().unwrap());
    assert!(
        slots.contains("paused") && slots.contains(" test "),
        "{slots}"
    );
}

#[test]
fn a_pod_with_etcd_grants_a_lock() {
    let ca = Ca::new("ca");
    let trusted = ca.path();
    let arguments = [
        "--client-cert-auth",
        "--trusted-ca-file",
        trusted.to_str().unwrap(),
    ];
    let etcd = Etcd::secure(
        Version::ALL[0],
        &ca.issue("etcd", &["127.0.0.1"]),
        &arguments,
    );
    let admin = Admin::new(Some((&ca.issue("airlock", &[]), &ca.path())));
    let pod = Pod::new("etcd", &admin);
    pod.configure(|config| {
        let other = config
            .lines()
            .filter(|line| !line.starts_with("endpoints = "));
        let endpoints = format!("[etcd3]\nendpoints = {:?}", etcd.endpoints());
        other
            .collect::<Vec<_>>()
            .join("\n")
            .replace("[etcd3]", &endpoints)
    });
    assert_grants(&pod.start(), &admin);
}

#[test]
fn prometheus_reads_the_documented_job_and_the_operator_gets_all_alerts() {
    let text = fs::read_to_string(repository().join("docs/kubernetes.md")).unwrap();
    let (_, job) = text.split_once("```yaml\n").unwrap();
    // Debian builds Prometheus without this kind of discovery.
    let discovery = "kubernetes_sd_configs:
      - role: pod
        namespaces:
          names: [airlock]";
    let job = job.split_once("```").unwrap().0;
    assert!(job.contains(discovery), "{job}");
    let job = job.replace(discovery, "static_configs: [{targets: [\"127.0.0.1:1\"]}]");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("prometheus.yml");
    fs::write(&file, job).unwrap();
    let mut check = Command::new("promtool");
    check.args(["check", "config", "--syntax-only"]).arg(&file);
    stdout(
        check
            .output()
            .expect("promtool cannot be started; `make setup` installs what is missing"),
    );

    let command = documented("{ printf")
        .remove(0)
        .replace("kubectl apply -f -", "cat");
    let rule = &yaml(&stdout(shell(&command, &repository())))[0];
    assert_eq!(rule["kind"].as_str(), Some("PrometheusRule"));
    let rules = fs::read_to_string(contrib("prometheus/airlock.rules.yml")).unwrap();
    assert_eq!(rule["spec"], yaml(&rules)[0]);
}

#[test]
fn kubectl_knows_the_documented_commands_and_options() {
    for command in documented("kubectl ") {
        let own = command.split(" -- ").next().unwrap();
        let own = own.split(" |").next().unwrap();
        stdout(shell(&format!("{own} --help"), &repository()));
    }
}
