//! The Helm chart: renders the same objects as kustomize, has a value for each setting of `serve`, and refuses wrong values.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use clap::{Args as _, CommandFactory, Parser};
use contract::keys;
use e2e::manifest;
use serde_json::{Value, json};
use webhook::serve::Args;

/// Variables of `serve` that the chart sets without a value of the same meaning.
const FIXED: [(&str, &str); 8] = [
    ("COUCHDISCOVER_NAMESPACE", "the namespace of the release"),
    ("COUCHDISCOVER_SERVICE", "the Service's name is fixed"),
    ("COUCHDISCOVER_CONFIG_NAME", "the configuration's name is fixed"),
    ("COUCHDISCOVER_LISTEN", "a flag: webhook.port, webhook.hostNetwork"),
    ("COUCHDISCOVER_PROBE_LISTEN", "a flag: webhook.probePort, webhook.hostNetwork"),
    ("COUCHDISCOVER_CERT_MODE", "a flag: certManager.enabled"),
    ("COUCHDISCOVER_PROVIDE", "a flag: provide"),
    ("COUCHDISCOVER_TLS_", "flags: certManager.enabled"),
];

/// Values in place of a component or an example of kustomize, and the folder with the latter.
const EQUIVALENTS: [(&str, &[&str]); 15] = [
    ("base", &[]),
    ("overlays/aks", &["platform=\"aks\""]),
    ("overlays/openshift", &["platform=\"openshift\""]),
    ("overlays/cert-manager", &["certManager.enabled=true"]),
    ("overlays/client-ca", &["webhook.clientCASecret=\"couchdiscover-webhook-client-ca\""]),
    ("overlays/fail-open", &["webhook.failurePolicy=\"Ignore\""]),
    ("overlays/host-network", &["webhook.hostNetwork=true"]),
    ("overlays/other-port", &["webhook.port=10250"]),
    ("overlays/provide-off", &["provide=false"]),
    ("overlays/scale-down-drain", &["scaleDownDrain=true"]),
    ("overlays/single-replica", &["webhook.replicas=1"]),
    ("examples/own-registry", &["registry=\"registry.example.com\""]),
    ("examples/other-namespace", &[]),
    (
        "examples/ingress",
        &[
            r#"networkPolicy.reviewsFrom=[{"ipBlock":{"cidr":"192.0.2.10/32"}}]"#,
            r#"networkPolicy.probesFrom=[{"ipBlock":{"cidr":"192.0.2.0/24"}},
               {"namespaceSelector":{"matchLabels":{"kubernetes.io/metadata.name":"monitoring"}}}]"#,
        ],
    ),
    (
        "examples/egress",
        &[r#"networkPolicy.egress=[
            {"to":[{"ipBlock":{"cidr":"192.0.2.10/32"}}],"ports":[{"port":6443,"protocol":"TCP"}]},
            {"to":[{"namespaceSelector":{"matchLabels":{"kubernetes.io/metadata.name":"kube-system"}},
                    "podSelector":{"matchLabels":{"k8s-app":"kube-dns"}}}],
             "ports":[{"port":53,"protocol":"UDP"},{"port":53,"protocol":"TCP"}]}]"#],
    ),
];

#[test]
fn every_component_has_an_equivalent_among_the_values() {
    for folder in fs::read_dir(manifests().join("components")).unwrap() {
        let name = folder.unwrap().file_name().into_string().unwrap();
        let overlay = format!("overlays/{name}");
        assert!(EQUIVALENTS.iter().any(|(folder, _)| *folder == overlay), "{name}");
    }
}

#[test]
#[ignore = "needs helm and kubectl"]
fn the_chart_renders_the_same_objects_as_kustomize() {
    for (folder, values) in EQUIVALENTS {
        let namespace = if folder == "examples/other-namespace" { "platform-couch" } else { "couchdiscover" };
        let values = [&["createNamespace=true"], values].concat();
        let theirs = by_identity(&kustomized(folder));
        let ours = by_identity(&rendered(namespace, &values));
        let mut differences = vec![];
        for name in theirs.keys().chain(ours.keys()).collect::<BTreeSet<_>>() {
            let sides = [&theirs, &ours].map(|side| side.get(name).unwrap_or(&Value::Null));
            differ(name, sides[0], sides[1], &mut differences);
        }
        assert!(theirs.len() >= 20, "{folder}: {:?}", theirs.keys());
        assert!(differences.is_empty(), "{folder}:\n{}", differences.join("\n"));
    }
}

/// Helm writes its release into the namespace before it installs anything, so a chart cannot contain it.
#[test]
#[ignore = "needs helm and kubectl"]
fn only_the_namespace_is_missing_by_default() {
    let mut base = by_identity(&kustomized("base"));
    assert!(base.remove("Namespace couchdiscover").is_some());
    let chart = by_identity(&rendered("couchdiscover", &[]));
    assert_eq!(chart.keys().collect::<Vec<_>>(), base.keys().collect::<Vec<_>>());
}

#[test]
#[ignore = "needs helm and kubectl"]
fn install_yaml_is_what_kustomize_renders_and_each_image_has_the_version() {
    let output = Command::new(manifests().join("render-install")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let objects = manifest::objects(&text).unwrap();
    assert_eq!(objects, kustomized("base"));
    let deployment = objects.iter().find(|object| object["kind"] == "Deployment").unwrap();
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(container["image"], format!("couchdiscover-webhook:{version}"));
    let agent = container["env"].as_array().unwrap().iter();
    let agent = agent.into_iter().find(|one| one["name"] == "COUCHDISCOVER_AGENT_IMAGE").unwrap();
    assert_eq!(agent["value"], format!("couchdiscover-agent:{version}"));
}

#[test]
fn every_setting_of_serve_is_a_value_and_no_other_variable_is_set() {
    let chart = format!("{}{}", read("templates/_helpers.tpl"), read("templates/deployment.yaml"));
    let words = |prefix: &str| {
        let words = chart.split(|letter: char| !letter.is_ascii_uppercase() && letter != '_');
        words.filter(|word| word.starts_with(prefix)).map(str::to_owned).collect::<BTreeSet<_>>()
    };
    let set: BTreeSet<String> = words("COUCHDISCOVER_").into_iter().chain(words("LOG_")).collect();
    let known: BTreeSet<String> = variables().into_keys().collect();
    assert!(known.len() > 25 && set.is_subset(&known), "{:?}", set.difference(&known));
    let missing: Vec<_> = known.difference(&set).filter(|variable| !is_fixed(variable)).collect();
    assert!(missing.is_empty(), "without a value: {missing:?}");
}

#[test]
fn the_chart_names_only_keys_of_the_contract() {
    for file in
        ["values.yaml", "templates/NOTES.txt", "templates/mutating-webhook.yaml", "templates/policy.yaml"]
    {
        let text = read(file);
        let prefix = format!("{}/", keys::DOMAIN);
        let named = text.split(&prefix).skip(1).map(|rest| {
            let end = rest.find(|letter: char| !letter.is_ascii_lowercase() && letter != '-');
            format!("{prefix}{}", &rest[..end.unwrap_or(rest.len())])
        });
        for key in named {
            let is_known = key == keys::INJECT || keys::STATEFULSET_ANNOTATIONS.contains(&&*key);
            assert!(is_known, "{file} names {key}");
        }
    }
}

#[test]
fn the_versions_of_chart_and_programs_are_equal() {
    let chart = &manifest::objects(&read("Chart.yaml")).unwrap()[0];
    for version in ["version", "appVersion"] {
        assert_eq!(chart[version], env!("CARGO_PKG_VERSION"), "{version}");
    }
}

#[test]
fn each_value_has_a_type_and_a_description() {
    let schema: Value = serde_json::from_str(&read("values.schema.json")).unwrap();
    let values = &manifest::objects(&read("values.yaml")).unwrap()[0];
    is_described("", values, &schema);
}

/// Checks that a value's schema describes it and, if it is an object with fixed names, each of its fields and no other.
fn is_described(path: &str, value: &Value, schema: &Value) {
    assert!(schema["description"].as_str().is_some_and(|text| text.len() > 5), "'{path}'");
    let Some(properties) = schema["properties"].as_object() else {
        let allows = |kind: &str| schema["type"] == kind || schema["type"].to_string().contains(kind);
        let kind = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(_) => "integer",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        return assert!(allows(kind), "'{path}' is {value}, and the schema has {}", schema["type"]);
    };
    assert_eq!(schema["additionalProperties"], false, "'{path}'");
    let mut described: BTreeSet<&String> = properties.keys().collect();
    // Helm passes it to every chart below another one.
    described.retain(|name| *name != "global");
    let fields = value.as_object().unwrap();
    assert_eq!(fields.keys().collect::<BTreeSet<_>>(), described, "'{path}'");
    for (name, field) in fields {
        is_described(&format!("{path}.{name}"), field, &properties[name]);
    }
}

#[test]
fn serve_accepts_exactly_the_choices_of_the_schema() {
    let schema: Value = serde_json::from_str(&read("values.schema.json")).unwrap();
    for (value, flag) in [
        ("/agent/image/pullPolicy", "--agent-image-pull-policy"),
        ("/agent/logLevel", "--agent-log-level"),
        ("/agent/logFormat", "--agent-log-format"),
        ("/agent/sidecar", "--sidecar"),
        ("/agent/readiness", "--readiness"),
        ("/agent/erlangCookie", "--erlang-cookie"),
        ("/webhook/logLevel", "--log-level"),
        ("/webhook/logFormat", "--log-format"),
    ] {
        let place = format!("{}/enum", value.replace('/', "/properties/"));
        let choices = schema.pointer(&place).unwrap_or_else(|| panic!("{value}"));
        let choices: Vec<&str> = choices.as_array().unwrap().iter().filter_map(Value::as_str).collect();
        for choice in choices.iter().filter(|choice| !choice.is_empty()) {
            let parsed = Args::try_parse_from(["serve", flag, choice]);
            assert!(parsed.is_ok(), "{value}={choice}: {}", parsed.unwrap_err());
        }
        // The message lists what is accepted.
        let refused = Args::try_parse_from(["serve", flag, "motorcycle"]).unwrap_err().to_string();
        for choice in choices.iter().filter(|choice| !choice.is_empty()) {
            assert!(refused.contains(choice), "{value}={choice}: {refused}");
        }
    }
}

#[test]
#[ignore = "needs helm and kubectl"]
fn every_value_reaches_serve() {
    let all = [
        r#"agent.image={"repository":"agents","tag":"9","digest":"","pullPolicy":"Always"}"#,
        r#"agent.imagePullSecrets=["one","two"]"#,
        r#"agent.resources={"requests":{"cpu":"7m","memory":"20Mi"},"limits":{"cpu":"70m","memory":"40Mi"}}"#,
        r#"agent.logLevel="debug""#,
        r#"agent.logFormat="json""#,
        r#"agent.sidecar="native""#,
        r#"agent.readiness="off""#,
        r#"agent.erlangCookie="flag""#,
        r#"agent.clusterDomain="example.org""#,
        r#"webhook.clientCASecret="callers""#,
        r#"webhook.extraSANs=["a.example.org","b.example.org"]"#,
        r#"webhook.drainDelay="7s""#,
        "webhook.maxInflight=77",
        r#"webhook.logLevel="warn""#,
        r#"webhook.logFormat="text""#,
        "webhook.port=9443",
        "webhook.probePort=9080",
        "provide=false",
        "certManager.enabled=true",
    ];
    let objects = rendered("couch", &all);
    let deployment = objects.iter().find(|object| object["kind"] == "Deployment").unwrap();
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    let flags = variables();
    let mut arguments: Vec<String> =
        container["args"].as_array().unwrap().iter().map(|one| one.as_str().unwrap().to_owned()).collect();
    for variable in container["env"].as_array().unwrap() {
        let flag = &flags[variable["name"].as_str().unwrap()];
        let value = variable["value"].as_str().unwrap_or("couch");
        arguments.push(format!("--{flag}={value}"));
    }
    for (variable, flag) in flags.iter().filter(|(variable, _)| !is_fixed(variable)) {
        let flag = format!("--{flag}=");
        assert!(arguments.iter().any(|argument| argument.starts_with(&flag)), "{variable}: {arguments:?}");
    }
    let args = Args::try_parse_from(&arguments).unwrap();
    assert_eq!(args.injection.defaults.contradiction(), None);
    let settings = args.injection.settings();
    assert_eq!((&*settings.agent_image, &*settings.cluster_domain), ("agents:9", "example.org"));
    assert_eq!((args.listen.port(), args.probe_listen.port(), args.max_inflight), (9443, 9080, 77));
    assert_eq!(args.extra_san, ["a.example.org", "b.example.org"]);
    assert_eq!(args.server_name(), "couchdiscover-webhook.couch.svc");
}

#[test]
#[ignore = "needs helm and kubectl"]
fn a_wrong_value_is_refused_and_the_message_names_it() {
    for (namespace, value, message) in [
        ("couchdiscover", "webhok.replicas=1", "'webhok' not allowed"),
        (
            "couchdiscover",
            "agent.readiness=\"never\"",
            "'/agent/readiness': value must be one of '', 'joined', 'off'",
        ),
        ("couchdiscover", "webhook.replicas=\"two\"", "'/webhook/replicas': got string, want integer"),
        (
            "couchdiscover",
            "agent.resources.limits.memory=\"64MB\"",
            "'/agent/resources/limits/memory': '64MB'",
        ),
        ("couchdiscover", "webhook.image.digest=\"latest\"", "'/webhook/image/digest': 'latest'"),
        (
            "couchdiscover",
            "webhook.port=8080",
            "webhook.port and webhook.probePort are both 8080. Fix: --set",
        ),
        (
            "default",
            "provide=true",
            "namespace 'default', which is then left out of the injection. Fix: helm install",
        ),
    ] {
        let output = helm(&template(namespace, &[value]));
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && text.contains(message), "{value}: {text}");
    }
    let mut lint = vec!["lint".to_owned(), chart(), "--strict".to_owned()];
    lint.extend(["--namespace".to_owned(), "couchdiscover".to_owned()]);
    let output = helm(&lint);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
#[ignore = "needs helm and kubectl"]
fn the_pod_of_helm_test_runs_the_webhooks_image_and_its_arguments_are_those_of_check() {
    let objects = manifest::objects(&manifest_text("couchdiscover", &[], &[])).unwrap();
    let image = |kind: &str| {
        let object = objects.iter().find(|object| object["kind"] == kind).unwrap();
        let pod = if kind == "Pod" { object } else { &object["spec"]["template"] };
        pod["spec"]["containers"][0].clone()
    };
    assert_eq!(image("Pod")["image"], image("Deployment")["image"]);
    let arguments = image("Pod")["args"].as_array().unwrap().clone();
    let arguments = arguments.iter().map(|argument| argument.as_str().unwrap());
    let check = cli::check::Args::augment_args(clap::Command::new("check"));
    check.try_get_matches_from(arguments).unwrap();
}

#[test]
#[ignore = "needs helm and kubectl"]
fn images_have_a_registry_and_a_digest_takes_precedence_over_the_tag() {
    let digest = format!("sha256:{}", "0f".repeat(32));
    let value = format!("webhook.image.digest=\"{digest}\"");
    let text = manifest_text("couchdiscover", &["registry=\"registry.example.com/team/\"", &value], &[]);
    let version = env!("CARGO_PKG_VERSION");
    for image in [
        format!("image: registry.example.com/team/couchdiscover-webhook@{digest}\n"),
        format!("value: \"registry.example.com/team/couchdiscover-agent:{version}\"\n"),
    ] {
        assert!(text.contains(&image), "{image}");
    }
}

/// `true` if the chart sets this variable otherwise than by a value of the same meaning.
fn is_fixed(variable: &str) -> bool {
    FIXED.iter().any(|(fixed, _)| variable.starts_with(fixed))
}

/// The names of serve's variables, with their flags. Options for tests are hidden.
fn variables() -> BTreeMap<String, String> {
    let command = Args::command();
    let documented = command.get_arguments().filter(|argument| !argument.is_hide_set());
    let named = documented.filter_map(|argument| {
        let variable = argument.get_env()?.to_str().unwrap().to_owned();
        Some((variable, argument.get_long().unwrap().to_owned()))
    });
    named.collect()
}

/// Adds a line for each field that differs.
fn differ(path: &str, kustomize: &Value, helm: &Value, differences: &mut Vec<String>) {
    if let (Some(left), Some(right)) = (kustomize.as_object(), helm.as_object()) {
        for field in left.keys().chain(right.keys()).collect::<BTreeSet<_>>() {
            differ(&format!("{path}.{field}"), &kustomize[field], &helm[field], differences);
        }
    } else if kustomize != helm {
        differences.push(format!("{path}\n  kustomize: {kustomize}\n  helm:      {helm}"));
    }
}

/// The objects by kind and name.
fn by_identity(objects: &[Value]) -> BTreeMap<String, Value> {
    let mut identified = BTreeMap::new();
    for object in objects {
        let mut object = object.clone();
        // kustomize gives a namespace to the policies, which have none; the API server ignores it.
        if object["kind"].as_str().unwrap().starts_with("ValidatingAdmissionPolicy") {
            object["metadata"].as_object_mut().unwrap().shift_remove("namespace");
        }
        let name =
            format!("{} {}", object["kind"].as_str().unwrap(), object["metadata"]["name"].as_str().unwrap());
        let before = identified.insert(name, normal(object));
        assert_eq!(before, None, "rendered twice");
    }
    identified
}

/// A value with lists of named elements sorted, and without line breaks: kustomize doubles those of folded expressions.
fn normal(value: Value) -> Value {
    match value {
        Value::String(text) => json!(text.split_whitespace().collect::<Vec<_>>().join(" ")),
        Value::Array(list) => {
            let mut list: Vec<Value> = list.into_iter().map(normal).collect();
            if list.iter().all(|element| element["name"].is_string()) {
                list.sort_by_key(|element| element["name"].to_string());
            }
            Value::Array(list)
        }
        Value::Object(fields) => fields.into_iter().map(|(name, field)| (name, normal(field))).collect(),
        other @ (Value::Null | Value::Bool(_) | Value::Number(_)) => other,
    }
}

fn kustomized(folder: &str) -> Vec<Value> {
    let output = program("kubectl").arg("kustomize").arg(manifests().join(folder)).output().unwrap();
    assert!(output.status.success(), "{folder}: {}", String::from_utf8_lossy(&output.stderr));
    manifest::objects(&String::from_utf8(output.stdout).unwrap()).unwrap()
}

/// The objects of the chart, without those of `helm test`.
fn rendered(namespace: &str, values: &[&str]) -> Vec<Value> {
    manifest::objects(&manifest_text(namespace, values, &["--skip-tests"])).unwrap()
}

fn manifest_text(namespace: &str, values: &[&str], more: &[&str]) -> String {
    let mut arguments = template(namespace, values);
    arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
    let output = helm(&arguments);
    assert!(output.status.success(), "{values:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn template(namespace: &str, values: &[&str]) -> Vec<String> {
    let fixed = ["template", "couchdiscover", &chart(), "--namespace", namespace].map(str::to_owned);
    let values = values.iter().flat_map(|value| ["--set-json".to_owned(), (*value).to_owned()]);
    fixed.into_iter().chain(values).collect()
}

fn helm(arguments: &[String]) -> Output {
    program("helm").args(arguments).output().expect("tests/envtest/build builds helm into KUBEBUILDER_ASSETS")
}

/// A program of `KUBEBUILDER_ASSETS`, or of the path.
#[expect(clippy::disallowed_methods, reason = "the variable that such tests use by convention")]
fn program(name: &str) -> Command {
    let built = std::env::var_os("KUBEBUILDER_ASSETS").map(|folder| PathBuf::from(folder).join(name));
    Command::new(built.filter(|path| path.is_file()).unwrap_or_else(|| name.into()))
}

fn manifests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../manifests")
}

fn chart() -> String {
    manifests().join("chart").to_str().unwrap().to_owned()
}

fn read(file: &str) -> String {
    fs::read_to_string(manifests().join("chart").join(file)).unwrap()
}
