//! The manifests of a cluster admin: valid YAML that refers to existing files, objects, flags and keys.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::path::{Path, PathBuf};

use clap::{CommandFactory, Parser};
use contract::{keys, objects, ports};
use e2e::control_plane::CONFIGURATION;
use e2e::manifest;
use serde_json::{Value, json};
use webhook::serve::{Args, CertMode, Provide};

#[test]
fn every_file_contains_kubernetes_objects_as_yaml() {
    for file in files(&root()) {
        if file.extension().is_some_and(|extension| extension == "yaml") && !has_no_objects(&file) {
            let objects = manifest::objects(&fs::read_to_string(&file).unwrap()).unwrap();
            assert!(!objects.is_empty(), "{}", file.display());
            for object in objects {
                assert!(object["apiVersion"].is_string() && object["kind"].is_string(), "{}", file.display());
            }
        }
    }
}

#[test]
fn every_kustomization_refers_to_existing_files_and_the_base_applies_all_of_its_files() {
    let mut count = 0;
    for file in files(&root()) {
        if file.file_name().is_some_and(|name| name == "kustomization.yaml") {
            count += 1;
            let folder = file.parent().unwrap();
            let kustomization = one(&file);
            let named = ["resources", "components"].map(|list| kustomization[list].as_array().cloned());
            for path in named.into_iter().flatten().flatten() {
                let target = folder.join(path.as_str().unwrap());
                let target = if target.is_dir() { target.join("kustomization.yaml") } else { target };
                assert!(target.is_file(), "{} names {path}", file.display());
            }
            for patch in kustomization["patches"].as_array().into_iter().flatten() {
                let text = match patch["path"].as_str() {
                    Some(file) => fs::read_to_string(folder.join(file)).unwrap(),
                    None => patch["patch"].as_str().unwrap().to_owned(),
                };
                assert_eq!(manifest::objects(&text).unwrap().len(), 1);
            }
        }
    }
    assert!(count > 10, "the base, and each component with its overlay: {count}");

    let base = root().join("base");
    let mut applied: Vec<String> = strings(&one(&base.join("kustomization.yaml"))["resources"]);
    let mut existing: Vec<String> =
        files(&base).iter().map(|file| file.file_name().unwrap().to_str().unwrap().to_owned()).collect();
    existing.retain(|name| name != "kustomization.yaml" && name.ends_with(".yaml"));
    applied.sort();
    existing.sort();
    assert_eq!(applied, existing);
}

#[test]
fn each_component_has_an_overlay_of_its_name() {
    for folder in fs::read_dir(root().join("components")).unwrap() {
        let name = folder.unwrap().file_name().into_string().unwrap();
        let overlay = one(&root().join("overlays").join(&name).join("kustomization.yaml"));
        assert_eq!(overlay["resources"], json!(["../../base"]), "{name}");
        assert_eq!(overlay["components"], json!([format!("../../components/{name}")]));
    }
}

#[test]
fn the_deployment_uses_flags_variables_and_ports_of_the_server() {
    let deployment = base("deployment.yaml");
    let container = webhook_of(&deployment);
    let args = parsed(&container["args"], &[]);
    assert_eq!(args.server_name(), "couchdiscover-webhook.couchdiscover.svc");
    let known: Vec<_> =
        Args::command().get_arguments().filter_map(|argument| Some(argument.get_env()?.to_owned())).collect();
    for variable in container["env"].as_array().unwrap() {
        let name = variable["name"].as_str().unwrap();
        assert!(known.iter().any(|env| env == name), "{name} is not a variable of serve");
    }
    let settings = args.injection.settings();
    assert_eq!(variable(&container, "COUCHDISCOVER_AGENT_IMAGE")["value"], settings.agent_image);
    assert_eq!(container["image"], format!("couchdiscover-webhook:{}", settings.version));
    assert_eq!(
        ports_of(&container),
        [("https".to_owned(), args.listen.port()), ("probes".to_owned(), args.probe_listen.port())]
    );
    assert_eq!(ports_of(&container)[0].1, ports::WEBHOOK);
    assert_eq!(container["readinessProbe"]["httpGet"], json!({ "path": ports::READYZ, "port": "probes" }));
    assert_eq!(container["livenessProbe"]["httpGet"], json!({ "path": ports::LIVEZ, "port": "probes" }));
    let grace = deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"].as_u64().unwrap();
    // The server completes pending requests for up to 10 s after the delay.
    assert!(grace >= args.drain_delay.as_secs() + 10 + 5, "a grace period of {grace} s is too short");
}

#[test]
fn selectors_and_ports_match_the_webhooks_pods() {
    let deployment = base("deployment.yaml");
    let labels = &deployment["spec"]["template"]["metadata"]["labels"];
    let selector = &deployment["spec"]["selector"]["matchLabels"];
    // The pods have further labels, by which meshes leave them out.
    for (key, value) in selector.as_object().unwrap() {
        assert_eq!(&labels[key], value);
    }
    let labels = selector;
    for constraint in deployment["spec"]["template"]["spec"]["topologySpreadConstraints"].as_array().unwrap()
    {
        assert_eq!(&constraint["labelSelector"]["matchLabels"], labels);
    }
    let service = base("service.yaml");
    assert_eq!(&service["spec"]["selector"], labels);
    assert_eq!(&base("disruption-budget.yaml")["spec"]["selector"]["matchLabels"], labels);
    assert_eq!(&base("network-policy.yaml")["spec"]["podSelector"]["matchLabels"], labels);
    let egress = one(&root().join("examples/egress/network-policy.yaml"));
    assert_eq!(&egress["spec"]["podSelector"]["matchLabels"], labels);

    let args = Args::try_parse_from(["serve"]).unwrap();
    assert_eq!(service["metadata"]["name"], args.service);
    let target = &one_of(CONFIGURATION)["webhooks"][0]["clientConfig"]["service"];
    assert_eq!(target["port"], service["spec"]["ports"][0]["port"]);
    let names: Vec<String> = ports_of(&webhook_of(&deployment)).into_iter().map(|(name, _)| name).collect();
    assert!(names.contains(&service["spec"]["ports"][0]["targetPort"].as_str().unwrap().to_owned()));
    for rule in base("network-policy.yaml")["spec"]["ingress"][0]["ports"].as_array().unwrap() {
        assert!(names.contains(&rule["port"].as_str().unwrap().to_owned()), "{rule}");
    }
}

#[test]
fn all_namespaced_objects_of_the_base_are_in_the_webhooks_namespace() {
    let namespace = Args::try_parse_from(["serve"]).unwrap().namespace;
    let mut subjects = 0;
    for file in files(&root().join("base")) {
        for object in manifest::objects(&fs::read_to_string(&file).unwrap()).unwrap() {
            let kind = object["kind"].as_str().unwrap();
            if CLUSTER_SCOPED.contains(&kind) {
                assert!(object["metadata"]["namespace"].is_null(), "{kind}");
            } else {
                assert_eq!(object["metadata"]["namespace"], namespace, "{kind}");
            }
            for subject in object["subjects"].as_array().into_iter().flatten() {
                subjects += 1;
                assert_eq!(subject["namespace"], namespace);
                assert_eq!(subject["name"], base("service-account.yaml")["metadata"]["name"]);
            }
        }
    }
    assert!(subjects > 0);
    assert_eq!(base("namespace.yaml")["metadata"]["name"], namespace);
    let account = &base("deployment.yaml")["spec"]["template"]["spec"]["serviceAccountName"];
    assert_eq!(account, &base("service-account.yaml")["metadata"]["name"]);
    let class = &base("deployment.yaml")["spec"]["template"]["spec"]["priorityClassName"];
    assert_eq!(class, &base("priority-class.yaml")["metadata"]["name"]);
}

#[test]
fn the_policy_matches_the_same_objects_as_the_webhook() {
    let objects = manifest::objects(&read("base/policy.yaml")).unwrap();
    let [policy, binding] = &*objects else { panic!("{objects:?}") };
    assert_eq!(binding["spec"]["policyName"], policy["metadata"]["name"]);
    let constraints = &policy["spec"]["matchConstraints"];
    let webhook = &one_of(CONFIGURATION)["webhooks"][0];
    assert_eq!(constraints["resourceRules"], webhook["rules"]);
    assert_eq!(constraints["namespaceSelector"], webhook["namespaceSelector"]);
    assert_eq!(constraints["matchPolicy"], webhook["matchPolicy"]);
    assert_eq!(constraints["objectSelector"]["matchLabels"], json!({ keys::INJECT: keys::INJECT_ENABLED }));
    assert!(policy["spec"]["matchConditions"].to_string().contains(&webhook_condition(webhook)));
    let validation = policy["spec"]["validations"][0].to_string();
    assert!(validation.contains(&format!("'{}'", objects::AGENT_CONTAINER)), "{validation}");
    let keys = policy["spec"].to_string();
    assert!(keys.matches(keys::DOMAIN).count() == keys.matches(keys::INJECT).count(), "no other key: {keys}");
}

#[test]
fn the_webhook_may_bind_only_the_agents_role() {
    let objects = manifest::objects(&read("base/webhook-role.yaml")).unwrap();
    let rules: Vec<Value> =
        objects.iter().flat_map(|object| object["rules"].as_array().cloned().unwrap_or_default()).collect();
    let binds: Vec<&Value> =
        rules.iter().filter(|rule| strings(&rule["verbs"]).contains(&"bind".to_owned())).collect();
    let [bind] = &*binds else { panic!("{rules:?}") };
    assert_eq!(bind["resourceNames"], json!([objects::AGENT_CLUSTER_ROLE]));
    for rule in &rules {
        for list in ["verbs", "resources", "apiGroups"] {
            assert!(!strings(&rule[list]).contains(&"*".to_owned()), "{rule}");
        }
        let reads = strings(&rule["verbs"]).iter().any(|verb| verb == "get" || verb == "list");
        if reads && strings(&rule["resources"]).contains(&"secrets".to_owned()) {
            assert!(rule["resourceNames"].is_array(), "the webhook may read all Secrets: {rule}");
        }
    }
}

#[test]
fn components_set_flags_of_the_server_and_the_matching_ports() {
    for (component, ports) in [
        ("cert-manager", None),
        ("other-port", Some((10250, None))),
        ("host-network", Some((10260, Some(10261)))),
    ] {
        let operations = operations(component);
        let value = |path: &str| {
            let place = format!("/spec/template/spec/containers/0/{path}");
            operations.iter().filter(move |one| one["path"] == place).map(|one| one["value"].clone())
        };
        let added: Vec<String> = value("args/-").map(|value| value.as_str().unwrap().to_owned()).collect();
        let args = parsed(&json!(["serve"]), &added);
        if let Some((https, probes)) = ports {
            assert_eq!(args.listen.port(), https);
            assert_eq!(value("ports/0/containerPort").collect::<Vec<_>>(), [json!(https)]);
            let probes: Vec<u16> = probes.into_iter().collect();
            assert!(probes.iter().all(|port| args.probe_listen.port() == *port));
            assert_eq!(value("ports/1/containerPort").collect::<Vec<_>>(), probes);
        } else {
            assert_eq!(args.cert_mode, CertMode::Files);
            let [container] = &*merged_containers(component) else { panic!("{component}") };
            let folder = container["volumeMounts"][0]["mountPath"].as_str().unwrap();
            assert!(args.tls_cert.unwrap().starts_with(folder) && args.tls_key.unwrap().starts_with(folder));
        }
    }
}

#[test]
fn the_ca_of_callers_is_mounted_where_the_server_reads_it() {
    let [container] = &*merged_containers("client-ca") else { panic!() };
    let [flag] = &*container["env"].as_array().unwrap().clone() else { panic!("{container}") };
    let known = Args::command();
    let known = known.get_arguments().find(|argument| argument.get_id() == "client_ca").unwrap();
    assert_eq!(flag["name"], known.get_env().unwrap().to_str().unwrap());
    let folder = container["volumeMounts"][0]["mountPath"].as_str().unwrap();
    assert_eq!(flag["value"], format!("{folder}/ca.crt"));
    let text = read("components/client-ca/kustomization.yaml");
    let args = Args::try_parse_from(["serve"]).unwrap();
    assert!(
        text.contains(&format!("- name: {}\n", args.server_name())),
        "the user of the API server's kubeconfig"
    );
    assert!(text.contains("secret generic couchdiscover-webhook-client-ca --from-file=ca.crt"));
    assert!(text.contains("secretName: couchdiscover-webhook-client-ca\n"));
}

#[test]
fn the_certificate_is_valid_for_the_server_name_and_mounted_by_the_deployment() {
    let objects = manifest::objects(&read("components/cert-manager/certificate.yaml")).unwrap();
    let certificates: Vec<&Value> = objects.iter().filter(|one| one["kind"] == "Certificate").collect();
    let certificate =
        certificates.iter().find(|one| one["metadata"]["name"] == "couchdiscover-webhook").unwrap();
    let args = Args::try_parse_from(["serve"]).unwrap();
    // Rendered in the tests with a real API server, which have kubectl.
    let name = "$(COUCHDISCOVER_SERVICE).$(COUCHDISCOVER_NAMESPACE).svc";
    assert_eq!(certificate["spec"]["dnsNames"], json!([name]));
    assert_eq!(args.server_name(), "couchdiscover-webhook.couchdiscover.svc");
    let text = read("components/cert-manager/kustomization.yaml");
    assert!(text.contains(&format!("secretName: {}", certificate["spec"]["secretName"].as_str().unwrap())));
    for certificate in certificates {
        let name = &certificate["spec"]["issuerRef"]["name"];
        assert!(
            objects.iter().any(|one| one["kind"] == "Issuer" && one["metadata"]["name"] == *name),
            "{name}"
        );
    }
}

/// With certificates from files there is no Secret with an authority that the webhook must read.
#[test]
fn certificates_from_files_remove_the_permission_to_read_the_authoritys_secret() {
    let kustomization = one(&root().join("components/cert-manager/kustomization.yaml"));
    let patches = kustomization["patches"].as_array().unwrap().iter();
    let patches = patches.map(|patch| one_of(patch["patch"].as_str().unwrap()));
    let removed: Vec<_> =
        patches.filter(|patch| patch["$patch"] == "delete").map(|patch| identity(&patch)).collect();
    let roles = manifest::objects(&read("base/webhook-role.yaml")).unwrap();
    let mut left = roles.iter().filter(|object| !removed.contains(&identity(object)));
    assert_eq!(
        left.clone().count() + removed.len(),
        roles.len(),
        "the removed objects are in the base: {removed:?}"
    );
    assert!(roles.iter().any(reads_secrets) && !left.any(reads_secrets));
}

#[test]
fn each_component_removes_the_roles_that_it_makes_superfluous() {
    let removed = |component: &str| {
        let kustomization = one(&root().join("components").join(component).join("kustomization.yaml"));
        let patches = kustomization["patches"].as_array().unwrap().iter();
        let patches = patches.map(|patch| one_of(patch["patch"].as_str().unwrap()));
        patches.filter(|patch| patch["$patch"] == "delete").map(|patch| identity(&patch)).collect::<Vec<_>>()
    };
    let roles = manifest::objects(&read("base/webhook-role.yaml")).unwrap();
    let both = [removed("cert-manager"), removed("provide-off")].concat();
    assert!(both.iter().all(|one| roles.iter().any(|role| identity(role) == *one)), "{both:?}");
    let left = roles.iter().filter(|role| !both.contains(&identity(role)));
    let rules: Vec<_> = left.flat_map(|role| role["rules"].as_array().cloned().unwrap_or_default()).collect();
    let left: Vec<_> =
        rules.iter().map(|rule| (strings(&rule["resources"]), strings(&rule["verbs"]))).collect();
    let only = |resource: &str, verbs: &[&str]| {
        (vec![resource.to_owned()], verbs.iter().map(|verb| (*verb).to_owned()).collect::<Vec<_>>())
    };
    assert_eq!(
        left,
        [
            only("mutatingwebhookconfigurations", &["get", "list", "watch"]),
            only("statefulsets", &["get"]),
            only("leases", &["get"]),
        ]
    );
    let flags = operations("provide-off");
    let flags: Vec<_> = flags.iter().map(|one| one["value"].as_str().unwrap().to_owned()).collect();
    assert_eq!(parsed(&json!(["serve"]), &flags).provide, Provide::Off);
}

#[test]
fn the_policy_of_the_webhooks_account_names_what_the_webhook_creates() {
    let objects = manifest::objects(&read("base/webhook-policy.yaml")).unwrap();
    let [policy, binding] = &*objects else { panic!("{objects:?}") };
    assert_eq!(
        binding["spec"],
        json!({ "policyName": policy["metadata"]["name"], "validationActions": ["Deny"] })
    );
    let (text, args) = (policy["spec"].to_string(), Args::try_parse_from(["serve"]).unwrap());
    let account = base("service-account.yaml")["metadata"]["name"].as_str().unwrap().to_owned();
    for word in [
        format!("'system:serviceaccount:{}:{account}'", args.namespace),
        format!("endsWith('{}')", objects::companion("")),
        format!("'{}'", objects::CA_SECRET),
        format!("'{}'", objects::AGENT_CLUSTER_ROLE),
        format!("['{}', '{}']", objects::SYSTEM_NAMESPACES.join("', '"), args.namespace),
    ] {
        assert!(text.contains(&word), "{word} in {text}");
    }
}

#[test]
fn the_policy_of_the_agents_recognises_their_role() {
    let objects = manifest::objects(&read("base/agent-policy.yaml")).unwrap();
    let [policy, binding] = &*objects else { panic!("{objects:?}") };
    assert_eq!(
        binding["spec"],
        json!({ "policyName": policy["metadata"]["name"], "validationActions": ["Deny"] })
    );
    let text = policy["spec"].to_string();
    assert!(text.contains(&format!("endsWith('{}')", objects::companion(""))), "{text}");
    assert!(text.contains(&format!("group('{}').resource('agents')", keys::DOMAIN)), "{text}");
    let role = base("agent-role.yaml");
    let rule = |resource: &str| {
        let mut rules = role["rules"].as_array().unwrap().iter();
        rules.find(|rule| rule["resources"] == json!([resource])).unwrap().clone()
    };
    assert_eq!(
        rule("agents"),
        json!({ "apiGroups": [keys::DOMAIN], "resources": ["agents"], "verbs": ["use"] })
    );
    assert!(!strings(&rule("leases")["verbs"]).contains(&"update".to_owned()), "it marks other roles");
}

#[test]
fn examples_use_existing_annotations_and_are_injected() {
    for example in EXAMPLES {
        let objects = manifest::objects(&read(&format!("examples/{example}"))).unwrap();
        let set = manifest::statefulset(&objects).unwrap();
        assert_eq!(set["metadata"]["labels"][keys::INJECT], keys::INJECT_ENABLED, "{example}");
        for key in set["metadata"]["annotations"].as_object().into_iter().flat_map(|all| all.keys()) {
            assert!(keys::STATEFULSET_ANNOTATIONS.contains(&&**key), "{example}: {key}");
        }
        let injected = manifest::injected(set);
        let service = objects.iter().find(|one| one["kind"] == "Service").unwrap();
        assert_eq!(service["metadata"]["name"], set["spec"]["serviceName"], "{example}");
        let names = injected["spec"]["template"]["spec"]["containers"].to_string();
        assert!(names.contains(objects::AGENT_CONTAINER), "{example}");
    }
    let secure = manifest::objects(&read("examples/over-https.yaml")).unwrap();
    let injected = manifest::injected(manifest::statefulset(&secure).unwrap());
    let agent = &injected["spec"]["template"]["spec"]["containers"][1];
    assert_eq!(variable(agent, "COUCHDISCOVER_COUCHDB_URL")["value"], "https://127.0.0.1:6984");
    let own = manifest::objects(&read("examples/own-cookie.yaml")).unwrap();
    let injected = manifest::injected(manifest::statefulset(&own).unwrap());
    let secret = &own[0];
    let key = secret["stringData"].as_object().unwrap().keys().next().unwrap();
    assert_eq!(key, objects::ERLANG_COOKIE_KEY);
    let reference = json!({ "name": secret["metadata"]["name"], "key": key });
    let variable = variable(&injected["spec"]["template"]["spec"]["containers"][0], "COUCHDB_ERLANG_COOKIE");
    assert_eq!(variable["valueFrom"]["secretKeyRef"], reference);
}

const EXAMPLES: [&str; 5] =
    ["couchdb.yaml", "over-https.yaml", "own-cookie.yaml", "one-that-grows.yaml", "production.yaml"];

#[test]
fn examples_have_no_warning_also_beside_the_network_policy() {
    let settings = Args::try_parse_from(["serve"]).unwrap().injection.settings();
    let policy = read("examples/couchdb-network-policy.yaml");
    for example in EXAMPLES {
        let text = format!("{}---\n{policy}", read(&format!("examples/{example}")));
        let output = inject::files::run(inject::files::Verb::Inject, &text, None, &settings, None).unwrap();
        let warnings: Vec<_> = output.report.iter().filter(|line| line.contains("warning")).collect();
        assert_eq!(warnings, Vec::<&String>::new(), "{example}");
    }
}

#[test]
fn the_webhooks_pods_have_no_fixed_uid_and_are_left_out_of_meshes() {
    let deployment = base("deployment.yaml");
    let template = &deployment["spec"]["template"];
    assert!(!template.to_string().contains("runAsUser") && !template.to_string().contains("fsGroup"));
    assert_eq!(template["spec"]["securityContext"]["runAsNonRoot"], true);
    assert_eq!(template["spec"]["nodeSelector"], json!({ "kubernetes.io/os": "linux" }));
    assert_eq!(template["metadata"]["labels"]["sidecar.istio.io/inject"], "false");
    assert_eq!(template["metadata"]["annotations"]["linkerd.io/inject"], "disabled");
    // Files of a Secret belong to root.
    for component in ["cert-manager", "client-ca"] {
        assert!(
            read(&format!("components/{component}/kustomization.yaml")).contains("defaultMode: 0444"),
            "{component}"
        );
    }
}

#[test]
fn the_deployments_comment_names_existing_variables() {
    let text = read("base/deployment.yaml");
    let known: Vec<_> =
        Args::command().get_arguments().filter_map(|argument| Some(argument.get_env()?.to_owned())).collect();
    let listed = text.split_whitespace().filter(|word| word.starts_with("COUCHDISCOVER_"));
    let listed: Vec<_> = listed.map(|word| word.trim_end_matches(':')).collect();
    assert!(listed.len() >= 13, "{listed:?}");
    for variable in listed {
        assert!(known.iter().any(|env| env == variable), "{variable}");
    }
}

#[test]
fn people_on_call_may_read_what_check_and_status_read_and_no_secret() {
    let role = one(&root().join("examples/on-call-role.yaml"));
    let rules = role["rules"].as_array().unwrap();
    let resources: Vec<String> = rules.iter().flat_map(|rule| strings(&rule["resources"])).collect();
    for needed in ["statefulsets", "pods", "pods/proxy", "services", "leases", "rolebindings"] {
        assert!(resources.contains(&needed.to_owned()), "{needed}");
    }
    assert!(!resources.contains(&"secrets".to_owned()));
    let verbs = rules.iter().flat_map(|rule| strings(&rule["verbs"]));
    assert!(verbs.into_iter().all(|verb| verb == "get" || verb == "list"));
}

#[test]
fn people_on_call_may_repair_by_exec_only_with_a_role_of_its_own() {
    let role = one(&root().join("examples/on-call-repair-role.yaml"));
    let rules = role["rules"].as_array().unwrap();
    let resources: Vec<String> = rules.iter().flat_map(|rule| strings(&rule["resources"])).collect();
    assert_eq!(resources, ["pods", "pods/exec"]);
    assert_eq!(strings(&rules[1]["verbs"]), ["get", "create"]);
}

/// The cluster-scoped kinds of the base.
const CLUSTER_SCOPED: [&str; 8] = [
    "ClusterRole",
    "ClusterRoleBinding",
    "Kustomization",
    "MutatingWebhookConfiguration",
    "Namespace",
    "PriorityClass",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../manifests")
}

/// All files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// `true` for files that contain no Kubernetes objects: Helm's values and templates, and rules and dashboards for other
/// programs.
fn has_no_objects(file: &Path) -> bool {
    if file.starts_with(root().join("chart")) {
        return true;
    }
    // The settings of kustomize itself.
    if file.ends_with("cert-manager/names.yaml") {
        return true;
    }
    file.file_name().is_some_and(|name| name == "values.yaml")
        || file.starts_with(root().join("observability"))
}

/// Kind, name and namespace of an object.
fn identity(object: &Value) -> [Value; 3] {
    let metadata = &object["metadata"];
    [&object["kind"], &metadata["name"], &metadata["namespace"]].map(Value::clone)
}

/// `true` if a role allows more with Secrets than to create them.
fn reads_secrets(role: &Value) -> bool {
    let mut rules = role["rules"].as_array().into_iter().flatten();
    rules.any(|rule| {
        strings(&rule["resources"]).contains(&"secrets".to_owned()) && strings(&rule["verbs"]) != ["create"]
    })
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

fn base(name: &str) -> Value {
    one(&root().join("base").join(name))
}

fn one(file: &Path) -> Value {
    one_of(&fs::read_to_string(file).unwrap())
}

fn one_of(text: &str) -> Value {
    let [object] = &*manifest::objects(text).unwrap() else { panic!("{text}") };
    object.clone()
}

fn strings(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().map(|one| one.as_str().unwrap().to_owned()).collect()
}

fn webhook_of(deployment: &Value) -> Value {
    let [container] = &**deployment["spec"]["template"]["spec"]["containers"].as_array().unwrap() else {
        panic!("{deployment}")
    };
    container.clone()
}

fn variable(container: &Value, name: &str) -> Value {
    container["env"].as_array().unwrap().iter().find(|one| one["name"] == name).unwrap().clone()
}

fn ports_of(container: &Value) -> Vec<(String, u16)> {
    let mut ports = Vec::new();
    for port in container["ports"].as_array().unwrap() {
        let number = port["containerPort"].as_u64().unwrap();
        ports.push((port["name"].as_str().unwrap().to_owned(), number.try_into().unwrap()));
    }
    ports
}

/// Parses these arguments of the program.
fn parsed(args: &Value, more: &[String]) -> Args {
    Args::try_parse_from(strings(args).iter().chain(more)).unwrap()
}

/// The containers in the strategic merge patches of a component.
fn merged_containers(component: &str) -> Vec<Value> {
    let kustomization = one(&root().join("components").join(component).join("kustomization.yaml"));
    let patches = kustomization["patches"].as_array().unwrap().iter();
    let patches = patches.map(|patch| one_of(patch["patch"].as_str().unwrap()));
    let lists =
        patches.filter_map(|patch| patch["spec"]["template"]["spec"]["containers"].as_array().cloned());
    lists.flatten().collect()
}

/// The operations of all JSON patches of a component.
fn operations(component: &str) -> Vec<Value> {
    let kustomization = one(&root().join("components").join(component).join("kustomization.yaml"));
    let patches = kustomization["patches"].as_array().unwrap().iter();
    let patches = patches.map(|patch| one_of(patch["patch"].as_str().unwrap()));
    // All other patches remove or merge an object.
    patches.filter_map(|patch| patch.as_array().cloned()).flatten().collect()
}

fn webhook_condition(webhook: &Value) -> String {
    webhook["matchConditions"][0]["expression"].as_str().unwrap().to_owned()
}
