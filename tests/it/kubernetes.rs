//! The manifests of contrib/kubernetes: what kubectl makes of them, the schemas of the API, and the server in a pod.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use toml::Table;
use yaml_rust2::{Yaml, YamlLoader};

use airlock_test_support::prometheus::contrib;
use airlock_test_support::repository;

/// The folders that `kubectl apply -k` applies, and that start servers.
const OVERLAYS: [&str; 2] = ["embedded", "etcd"];

/// The oldest and the newest version of Kubernetes that the manifests are checked for.
const VERSIONS: [&str; 2] = ["1.30.0", "1.37.0"];

/// Returns the path of a tool of tools/requirements.txt.
fn tool(name: &str) -> PathBuf {
    let path = repository().join("target/tools/python/bin").join(name);
    let missing = format!("no {}; `make setup` installs it", path.display());
    assert!(path.is_file(), "{missing}");
    path
}

/// Runs a tool in contrib/kubernetes.
fn run(name: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(tool(name));
    command.args(arguments).current_dir(contrib("kubernetes"));
    stdout(command.output().unwrap())
}

fn stdout(output: Output) -> String {
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{errors}");
    text
}

/// Returns the manifests of an overlay as `kubectl apply -k` sends them.
fn rendered(overlay: &str) -> String {
    run("kubectl", &["kustomize", overlay])
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
    for overlay in OVERLAYS.into_iter().chain(["restore"]) {
        let (file, text) = (folder.path().join(overlay), rendered(overlay));
        fs::write(&file, &text).unwrap();
        files.push(file);
        objects += yaml(&text).len();
    }
    for version in VERSIONS {
        let mut arguments = vec!["--strict", "-k", version];
        arguments.extend(files.iter().map(|file| file.to_str().unwrap()));
        let found = run("kubernetes-validate", &arguments);
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
fn the_restore_stops_the_server_and_uses_its_image_and_configuration() {
    let (restore, embedded) = (Objects::of("restore"), Objects::of("embedded"));
    let job = &restore.first(&["Job"])["spec"]["template"];
    let server = restore.first(&["StatefulSet"]);
    assert_eq!(server["spec"]["replicas"].as_i64(), Some(0));
    assert_eq!(
        job["spec"]["securityContext"],
        embedded.pod()["securityContext"]
    );
    let container = named(&job["spec"]["containers"], "airlock");
    for key in ["image", "resources", "securityContext"] {
        assert_eq!(container[key], embedded.container()[key], "{key}");
    }
    let volumes = &job["spec"]["volumes"];
    let config = &named(volumes, "config")["configMap"]["name"];
    assert_eq!(config, &embedded.first(&["ConfigMap"])["metadata"]["name"]);
    let claims = &server["spec"]["volumeClaimTemplates"][0]["metadata"]["name"];
    let claim = format!("{}-airlock-0", claims.as_str().unwrap());
    let used = &named(volumes, "data")["persistentVolumeClaim"]["claimName"];
    assert_eq!(used.as_str(), Some(&*claim));
    // The service must not send requests to the job.
    let selector = &server["spec"]["selector"]["matchLabels"];
    assert_ne!(&job["metadata"]["labels"], selector);
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

mod pod;
