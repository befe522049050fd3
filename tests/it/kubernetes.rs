//! The manifests of contrib/kubernetes: what kubectl makes of them, the schemas of the API, and the server in a pod.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;
use toml::Table;
use yaml_rust2::{Yaml, YamlLoader};

use airlock_test_support::airlock::{
    UNPRIVILEGED_USER, port_in, unprivileged, unprivileged_airlock,
};
use airlock_test_support::client::Client;
use airlock_test_support::etcd::{Etcd, Version};
use airlock_test_support::pki::Ca;
use airlock_test_support::process::Process;
use airlock_test_support::prometheus::contrib;
use airlock_test_support::{eventually, repository};

/// The folders that `kubectl apply -k` applies.
const OVERLAYS: [&str; 2] = ["embedded", "etcd"];

/// The oldest and the newest version of Kubernetes that the manifests are checked for.
const VERSIONS: [&str; 2] = ["1.30.0", "1.37.0"];

/// Runs a tool of tools/requirements.txt in contrib/kubernetes.
fn tool(name: &str, arguments: &[&str]) -> String {
    let program = repository().join("target/tools/python/bin").join(name);
    let mut command = Command::new(&program);
    command.args(arguments).current_dir(contrib("kubernetes"));
    let output = command.output();
    stdout(
        output.unwrap_or_else(|error| {
            panic!("{}: {error}; `make setup` installs it", program.display())
        }),
    )
}

fn stdout(output: Output) -> String {
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{errors}");
    text
}

/// Returns the manifests of an overlay as `kubectl apply -k` sends them.
fn rendered(overlay: &str) -> String {
    tool("kubectl", &["kustomize", overlay])
}

fn yaml(text: &str) -> Vec<Yaml> {
    YamlLoader::load_from_str(text).unwrap()
}

/// Returns the items of a list.
fn items(list: &Yaml) -> std::slice::Iter<'_, Yaml> {
    list.as_vec().unwrap().iter()
}

/// Returns the item of a list with this name.
fn named<'a>(list: &'a Yaml, name: &str) -> &'a Yaml {
    let item = items(list).find(|item| item["name"].as_str() == Some(name));
    item.unwrap_or_else(|| panic!("no {name} in {list:?}"))
}

/// The objects of an overlay.
struct Objects(Vec<Yaml>);

impl Objects {
    fn of(overlay: &str) -> Self {
        Objects(yaml(&rendered(overlay)))
    }

    /// Returns the first object of one of these kinds.
    fn first(&self, kinds: &[&str]) -> &Yaml {
        let mut objects = self.0.iter();
        let found = objects.find(|object| kinds.contains(&object["kind"].as_str().unwrap()));
        found.unwrap_or_else(|| panic!("no {kinds:?}"))
    }

    fn pod(&self) -> &Yaml {
        &self.first(&["StatefulSet", "Deployment"])["spec"]["template"]["spec"]
    }

    fn container(&self) -> &Yaml {
        named(&self.pod()["containers"], "airlock")
    }

    fn config(&self) -> &str {
        self.first(&["ConfigMap"])["data"]["config.toml"]
            .as_str()
            .unwrap()
    }
}

#[test]
fn the_manifests_hold_to_the_schemas_of_kubernetes() {
    let folder = tempfile::tempdir().unwrap();
    let mut files = vec![contrib("kubernetes/namespace.yaml")];
    let mut objects = 1;
    for overlay in OVERLAYS {
        let (file, text) = (folder.path().join(overlay), rendered(overlay));
        fs::write(&file, &text).unwrap();
        files.push(file);
        objects += yaml(&text).len();
    }
    for version in VERSIONS {
        let mut arguments = vec!["--strict", "-k", version];
        arguments.extend(files.iter().map(|file| file.to_str().unwrap()));
        let found = tool("kubernetes-validate", &arguments);
        // A line for each object, and none with a warning.
        assert_eq!(found.matches(" passed ").count(), objects, "{found}");
        assert_eq!(found.lines().count(), objects, "{found}");
    }
}

#[test]
fn the_pods_hold_to_the_restricted_profile_and_differ_only_where_they_have_to() {
    let [embedded, etcd] = OVERLAYS.map(Objects::of);
    let pod = embedded.pod();
    assert_eq!(pod["automountServiceAccountToken"].as_bool(), Some(false));
    assert_eq!(pod["enableServiceLinks"].as_bool(), Some(false));
    let security = &pod["securityContext"];
    assert_eq!(security["runAsNonRoot"].as_bool(), Some(true));
    assert_eq!(security["seccompProfile"], yaml("type: RuntimeDefault")[0]);
    let expected = "{allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}, readOnlyRootFilesystem: true}";
    let security = &embedded.container()["securityContext"];
    assert_eq!(security, &yaml(expected)[0]);

    let common = |overlay: &Yaml, own: &[&str]| {
        let mut hash = overlay.as_hash().unwrap().clone();
        for key in own {
            hash.remove(&Yaml::String((*key).to_owned()));
        }
        hash
    };
    let own = [
        "containers",
        "securityContext",
        "topologySpreadConstraints",
        "volumes",
    ];
    assert_eq!(common(pod, &own), common(etcd.pod(), &own));
    let own = ["lifecycle", "volumeMounts"];
    let [one, other] = [&embedded, &etcd].map(|overlay| common(overlay.container(), &own));
    assert_eq!(one, other);
    let own = ["fsGroupChangePolicy"];
    let [one, other] =
        [&embedded, &etcd].map(|overlay| common(&overlay.pod()["securityContext"], &own));
    assert_eq!(one, other);
}

#[test]
fn ports_and_addresses_are_the_same_in_all_files() {
    let monitor = &yaml(&fs::read_to_string(contrib("kubernetes/podmonitor.yaml")).unwrap())[0];
    for overlay in OVERLAYS {
        let objects = Objects::of(overlay);
        let config: Table = objects.config().parse().unwrap();
        let ports = &objects.container()["ports"];
        for (section, port) in [("service", "fleetlock"), ("status", "status")] {
            let expected = config[section]["port"].as_integer();
            assert_eq!(named(ports, port)["containerPort"].as_i64(), expected);
        }
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            let get = &objects.container()[probe]["httpGet"];
            assert_eq!(get, &yaml("{path: /healthz, port: status}")[0]);
        }
        let service = &objects.first(&["Service"])["spec"];
        assert_eq!(
            named(&service["ports"], "fleetlock")["targetPort"].as_str(),
            Some("fleetlock")
        );
        let pods = &objects.first(&["StatefulSet", "Deployment"])["spec"]["template"]["metadata"]["labels"];
        assert_eq!(&service["selector"], pods);
        assert_eq!(&monitor["spec"]["selector"]["matchLabels"], pods);
        let ingress = &objects.first(&["NetworkPolicy"])["spec"]["ingress"];
        let allowed: Vec<_> = items(ingress)
            .map(|rule| rule["ports"][0]["port"].as_str())
            .collect();
        assert_eq!(allowed, [Some("fleetlock"), Some("status")]);
    }

    let etcd = Objects::of("etcd");
    let config: Table = etcd.config().parse().unwrap();
    let endpoints = config["etcd3"]["endpoints"].as_array().unwrap();
    let hosts: BTreeSet<&str> = endpoints
        .iter()
        .map(|endpoint| {
            endpoint
                .as_str()
                .unwrap()
                .split(&['/', ':'][..])
                .nth(3)
                .unwrap()
        })
        .collect();
    let policy = etcd
        .0
        .iter()
        .find(|object| object["metadata"]["name"].as_str() == Some("airlock-etcd"));
    let blocks = items(&policy.unwrap()["spec"]["egress"][0]["to"]);
    let allowed: BTreeSet<&str> = blocks
        .map(|block| {
            block["ipBlock"]["cidr"]
                .as_str()
                .unwrap()
                .trim_end_matches("/32")
        })
        .collect();
    assert_eq!(hosts, allowed);
}

/// PodMonitor is no part of Kubernetes. The fields and their types are those of version 0.93 of the Prometheus operator.
#[test]
fn the_pod_monitor_names_the_job_and_the_site_that_the_alerts_expect() {
    let text = fs::read_to_string(contrib("kubernetes/podmonitor.yaml")).unwrap();
    let expected = "
        apiVersion: monitoring.coreos.com/v1
        kind: PodMonitor
        metadata: {name: airlock, namespace: airlock}
        spec:
          jobLabel: app.kubernetes.io/name
          selector: {matchLabels: {app.kubernetes.io/name: airlock}}
          podMetricsEndpoints:
            - {port: status, path: /metrics, interval: 15s, relabelings: [{targetLabel: site, replacement: berlin}]}";
    assert_eq!(yaml(&text), yaml(expected));
    let scrape = fs::read_to_string(contrib("prometheus/scrape.yml")).unwrap();
    let job = &yaml(&scrape)[0]["scrape_configs"][0];
    assert_eq!(job["job_name"].as_str(), Some("airlock"));
    assert_eq!(job["scrape_interval"].as_str(), Some("15s"));
    assert_eq!(
        job["static_configs"][0]["labels"]["site"].as_str(),
        Some("berlin")
    );
}

/// The volumes of a pod as the kubelet prepares them, below a temporary folder.
struct Pod {
    folder: TempDir,
    objects: Objects,
}

impl Pod {
    /// `secret` returns the content of a key of a secret.
    fn new(overlay: &str, secret: impl Fn(&str, &str) -> Vec<u8>) -> Self {
        let pod = Pod {
            folder: tempfile::tempdir().unwrap(),
            objects: Objects::of(overlay),
        };
        let volume = &named(&pod.objects.pod()["volumes"], "airlock")["projected"];
        let mode = u32::try_from(volume["defaultMode"].as_i64().unwrap()).unwrap();
        // The folder is writable for the kubelet, and the files are behind a link that it swaps.
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
                give(&data.join(path), &secret(name, key), mode);
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

    /// Starts the command of the container with the configuration of the ConfigMap, on free ports. `change` replaces what
    /// differs in the configuration.
    fn start(&self, change: impl Fn(String) -> String) -> Process {
        let here = |path: &str| format!("{}/", self.path(path).display());
        let config = change(self.objects.config().to_owned())
            .replace("port = 3333", "port = 0")
            .replace("port = 2222", "port = 0")
            .replace("/etc/airlock/", &here("etc/airlock"))
            .replace("/var/lib/airlock/", &here("var/lib/airlock"));
        let path = self.path("etc/airlock/config.toml");
        give(&path, config.as_bytes(), 0o440);

        let mut check = unprivileged_airlock(self.folder.path());
        check.args(["check-config", "--strict", "-c"]).arg(&path);
        stdout(eventually("the copy to be executable", || {
            check.output().ok()
        }));

        let command: Vec<&str> = items(&self.objects.container()["command"])
            .map(|word| word.as_str().unwrap())
            .collect();
        assert_eq!(command[0], "/usr/local/bin/airlock");
        let mut server = Command::new(self.path("airlock"));
        server.args(&command[1..]).arg("-c").arg(&path).env_clear();
        unprivileged(&mut server);
        Process::start(server, &self.path("log"))
    }
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

/// Asks a server as the kubelet and as a node do.
fn assert_grants(server: &Process, ca: &Ca) {
    let port =
        |service: &str| eventually("the server to listen", || port_in(&server.log(), service));
    let health = format!("http://127.0.0.1:{}/healthz", port("status service"));
    assert_eq!(reqwest::blocking::get(health).unwrap().status(), 200);
    let root = reqwest::Certificate::from_pem(&fs::read(ca.path()).unwrap()).unwrap();
    let http = || reqwest::blocking::Client::builder().tls_certs_only([root.clone()]);
    let url = |user: &str| format!("https://{user}127.0.0.1:{}", port("main service"));
    let stranger = Client::over(url(""), http());
    assert_eq!(stranger.lock("workers", "node-1").status, 401);
    let node = Client::over(url("node:secret@"), http());
    assert!(node.lock("workers", "node-1").granted());
    assert!(node.unlock("workers", "node-1").granted());
}

#[test]
fn a_pod_with_the_embedded_store_grants_a_lock() {
    let ca = Ca::new("ca");
    let pod = Pod::new("embedded", secrets(&ca));
    assert_grants(&pod.start(|config| config), &ca);
    assert!(pod.path("var/lib/airlock/airlock.db").is_file());
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
    let pod = Pod::new("etcd", secrets(&ca));
    let server = pod.start(|config| {
        let other = config
            .lines()
            .filter(|line| !line.starts_with("endpoints = "));
        let endpoints = format!("[etcd3]\nendpoints = {:?}", etcd.endpoints());
        other
            .collect::<Vec<_>>()
            .join("\n")
            .replace("[etcd3]", &endpoints)
    });
    assert_grants(&server, &ca);
}

/// Returns the content of the secrets that docs/kubernetes.md creates.
fn secrets(ca: &Ca) -> impl Fn(&str, &str) -> Vec<u8> {
    let pair = ca.issue("server", &["127.0.0.1"]);
    let ca = ca.path();
    move |secret, key| match (secret, key) {
        ("airlock-users", "htpasswd") => {
            format!("node:{}\n", bcrypt::hash("secret", 4).unwrap()).into()
        }
        ("airlock-tls" | "airlock-etcd", "tls.crt") => fs::read(&pair.cert).unwrap(),
        ("airlock-tls" | "airlock-etcd", "tls.key") => fs::read(&pair.key).unwrap(),
        ("airlock-etcd", "ca.crt") => fs::read(&ca).unwrap(),
        other => panic!("the documentation creates no {other:?}"),
    }
}
