//! The Helm chart and the manifests, rendered by helm itself and checked against Kubernetes' own schemas.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tollgate_tests::{Findings, Node, repository};

/// The oldest version of Kubernetes that the chart names, and the newest whose schemas are at hand.
const VERSIONS: [&str; 2] = ["1.30", "1.37"];

/// Everything that can be switched on.
const ALL: [&str; 5] = [
    "serviceMonitor.enabled=true",
    "tls.secret=edge-certificate",
    "env[0].name=TOLLGATE_TRUSTED_IPS",
    "env[0].value=10.0.0.0/8",
    "imagePullSecrets[0].name=registry",
];

/// The folder that `./dev test` has installed helm and the schemas into.
fn tools() -> PathBuf {
    let folder = std::env::var_os("TOLLGATE_TEST_KUBERNETES");
    PathBuf::from(folder.expect("TOLLGATE_TEST_KUBERNETES is not set; run ./dev test, which installs helm"))
}

fn helm(arguments: &[&str], values: &[&str]) -> Output {
    let mut command = Command::new(tools().join("helm/helm"));
    command.args(arguments).current_dir(repository().join("conf/packages/helm"));
    values.iter().for_each(|value| {
        command.args(["--set", value]);
    });
    command.output().unwrap()
}

fn rendered(values: &[&str]) -> String {
    let output = helm(&["template", "tollgate", "tollgate", "--namespace", "tollgate"], values);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn objects(manifests: &str) -> Vec<Value> {
    let documents = manifests.split("---\n").map(|document| serde_yaml::from_str(document).unwrap());
    documents.filter(|object: &Value| !object.is_null()).collect()
}

fn object(objects: &[Value], kind: &str, name: &str) -> Value {
    let found = objects.iter().find(|object| object["kind"] == kind && object["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("there is no {kind} {name}")).clone()
}

/// Strictly: fields that the schema does not have are errors.
fn is_valid(manifests: &str, version: &str) -> Result<(), String> {
    let mut file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
    file.write_all(manifests.as_bytes()).unwrap();
    let output = Command::new(tools().join("python/bin/kubernetes-validate"))
        .args(["--strict", "--quiet", "--kubernetes-version", version])
        .arg(file.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    // The operator's own kind is checked by its own definition.
    let problems: Vec<_> = said.lines().filter(|line| !line.contains("schema for kind ServiceMonitor ")).collect();
    if problems.is_empty() { Ok(()) } else { Err(problems.join("\n")) }
}

fn is_a_service_monitor(object: &Value) -> Result<(), String> {
    let mut check = Command::new("node")
        .arg(tools().join("service_monitor.mjs"))
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("node, which ./dev test installs");
    check.stdin.take().unwrap().write_all(object.to_string().as_bytes()).unwrap();
    let output = check.wait_with_output().unwrap();
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

#[test]
fn the_chart_is_clean_and_renders_valid_objects() {
    let mut findings = Findings::new();
    let lint = helm(&["lint", "--strict", "tollgate"], &ALL);
    findings.check("helm lint", if lint.status.success() { Ok(()) } else { Err(format!("{lint:?}")) });
    let switched_off = ["autoscaling", "podDisruptionBudget", "networkPolicy", "migration"];
    let switched_off = switched_off.map(|name| format!("{name}.enabled=false"));
    let switched_off: Vec<&str> = switched_off.iter().map(String::as_str).collect();
    let manifests = [rendered(&[]), rendered(&ALL), rendered(&switched_off)].concat();
    for version in VERSIONS {
        findings.check(version, is_valid(&manifests, version));
    }
    let chart = fs::read_to_string(repository().join("conf/packages/helm/tollgate/Chart.yaml")).unwrap();
    let chart: Value = serde_yaml::from_str(&chart).unwrap();
    for version in ["version", "appVersion"] {
        findings.compare(version, &json!(env!("CARGO_PKG_VERSION")), &chart[version]);
    }
    let monitor = object(&objects(&rendered(&ALL)), "ServiceMonitor", "tollgate");
    findings.check("the ServiceMonitor", is_a_service_monitor(&monitor));
}

#[test]
fn checks_of_objects_find_faults() {
    let fault = rendered(&[]).replace("minReplicas", "leastReplicas");
    assert!(is_valid(&fault, VERSIONS[1]).unwrap_err().contains("leastReplicas"));
    let mut monitor = object(&objects(&rendered(&ALL)), "ServiceMonitor", "tollgate");
    monitor["spec"]["endpoints"][0]["interval"] = json!("often");
    assert!(is_a_service_monitor(&monitor).unwrap_err().contains("interval"));
}

#[test]
fn the_manifests_are_the_chart_with_its_defaults() {
    let monitor = ["--show-only", "templates/servicemonitor.yaml", "--set", "serviceMonitor.enabled=true"];
    let mut findings = Findings::new();
    for (file, more) in [("tollgate.yaml", &[][..]), ("service-monitor.yaml", &monitor)] {
        let file = format!("conf/packages/kubernetes/{file}");
        let render = [&["template", "tollgate", "tollgate", "--namespace", "tollgate"], more].concat();
        let output = helm(&render, &[]);
        assert!(output.status.success(), "{output:?}");
        let same = fs::read(repository().join(&file)).unwrap() == output.stdout;
        let how =
            format!("(cd conf/packages/helm && ../../../target/kubernetes/helm/helm {}) >{file}", render.join(" "));
        findings.check(&file, if same { Ok(()) } else { Err(format!("differs from the chart; write it by {how}")) });
    }
}

#[test]
fn a_release_has_what_operators_rely_on() {
    let objects = objects(&rendered(&ALL));
    let kinds: BTreeSet<_> = objects.iter().map(|object| object["kind"].as_str().unwrap()).collect();
    let expected = [
        "ConfigMap",
        "Deployment",
        "HorizontalPodAutoscaler",
        "Job",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "Service",
        "ServiceMonitor",
    ];
    // No Secret: they are referred to.
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), expected);
    let deployment = object(&objects, "Deployment", "tollgate");
    let job = object(&objects, "Job", "tollgate-migration");
    let mut findings = Findings::new();
    let url = json!({"name": "TOLLGATE_DATABASE_URL",
        "valueFrom": {"secretKeyRef": {"name": "tollgate-database", "key": "url"}}});
    for (row, pod) in [("Deployment", &deployment["spec"]["template"]), ("Job", &job["spec"]["template"])] {
        let (pod, container) = (&pod["spec"], &pod["spec"]["containers"][0]);
        findings.compare(row, &url, &container["env"][0]);
        let security = json!({"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]}});
        findings.compare(row, &security, &container["securityContext"]);
        findings.compare(
            row,
            &json!([true, 65532]),
            &json!([pod["securityContext"]["runAsNonRoot"], pod["securityContext"]["runAsUser"]]),
        );
        findings.compare(row, &json!(false), &pod["automountServiceAccountToken"]);
        findings.compare(row, &json!(false), &pod["enableServiceLinks"]);
    }
    findings.compare("migration", &json!(["migrate", "up"]), &job["spec"]["template"]["spec"]["containers"][0]["args"]);
    findings.compare("hooks", &json!("pre-install,pre-upgrade"), &job["metadata"]["annotations"]["helm.sh/hook"]);
    let scaler = object(&objects, "HorizontalPodAutoscaler", "tollgate");
    findings.compare("autoscaling", &json!("cpu"), &scaler["spec"]["metrics"][0]["resource"]["name"]);
    let budget = object(&objects, "PodDisruptionBudget", "tollgate");
    findings.compare("disruptions", &json!(1), &budget["spec"]["maxUnavailable"]);
    // What is selected is what the Deployment runs; the migration's pods are none of it.
    let labels = &deployment["spec"]["template"]["metadata"]["labels"];
    for (kind, path) in [
        ("NetworkPolicy", "/spec/podSelector/matchLabels"),
        ("PodDisruptionBudget", "/spec/selector/matchLabels"),
        ("Service", "/spec/selector"),
    ] {
        let selector = object(&objects, kind, "tollgate").pointer(path).unwrap().as_object().unwrap().clone();
        let selects = |labels: &Value| selector.iter().all(|(name, value)| labels[name] == *value);
        let migration = &job["spec"]["template"]["metadata"]["labels"];
        findings.compare(kind, &(true, false), &(selects(labels), selects(migration)));
    }
}

#[test]
fn a_node_that_ends_has_time_to_drain() {
    let objects = objects(&rendered(&[]));
    let pod = &object(&objects, "Deployment", "tollgate")["spec"]["template"]["spec"];
    let settings = settings(&objects);
    let drain = settings["proxy"]["drain_timeout"].as_str().unwrap().trim_end_matches('s').parse::<u64>().unwrap();
    let waits = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64().unwrap();
    assert!(pod["terminationGracePeriodSeconds"].as_u64().unwrap() > drain + waits);
}

fn settings(objects: &[Value]) -> Value {
    let text = object(objects, "ConfigMap", "tollgate")["data"]["tollgate.yaml"].as_str().unwrap().to_owned();
    serde_yaml::from_str(&text).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_runs_with_the_chart_s_settings_and_its_probes_find_it() {
    let objects = objects(&rendered(&ALL));
    let mut settings = settings(&objects);
    let deployment = object(&objects, "Deployment", "tollgate");
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    let mut findings = Findings::new();
    let ports: Vec<_> =
        container["ports"].as_array().unwrap().iter().map(|port| port["containerPort"].clone()).collect();
    findings.compare("ports", &vec![json!(8000), json!(8443), json!(8007)], &ports);
    findings.compare("profile", &json!("bcp"), &settings["oauth2_default_profile"]);
    findings.compare("status", &json!("0.0.0.0:8007"), &settings["status"]["listen"]);
    // The node's own: ports and folder are the test's.
    settings.as_object_mut().unwrap().remove("status");
    let node = Node::on_sqlite();
    fs::write(node.directory().join("chart.yaml"), settings.to_string()).unwrap();
    let _running = node.start(&["run", "--config", "chart.yaml"]).await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut paths: Vec<_> = ["startupProbe", "livenessProbe", "readinessProbe"]
        .map(|probe| container[probe]["httpGet"].clone())
        .iter()
        .map(|probe| {
            findings.compare("a probe's port", &json!("status"), &probe["port"]);
            probe["path"].as_str().unwrap().to_owned()
        })
        .collect();
    let monitor = object(&objects, "ServiceMonitor", "tollgate");
    paths.push(monitor["spec"]["endpoints"][0]["path"].as_str().unwrap().to_owned());
    for path in paths {
        let response = client.get(format!("http://{}{path}", node.listeners[3].1)).send().await.unwrap();
        findings.compare(&path, &200, &response.status().as_u16());
    }
}
