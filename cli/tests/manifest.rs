//! `inject` and `uninject` as a program: results, reports and exit codes.

#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

const EXAMPLE: &str = include_str!("../../manifests/examples/couchdb.yaml");

struct Ran {
    code: i32,
    out: String,
    err: String,
}

fn run(args: &[&str], input: &str) -> Ran {
    let mut child = Command::new(env!("CARGO_BIN_EXE_couchdiscover"))
        .args(args)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that rejects its flags does not read its input.
    drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
}

fn labelled() -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "db", "labels": {"couchdiscover.io/inject": "enabled"}},
        "spec": {
            "serviceName": "db",
            "template": {"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [{"name": "couchdb"}]}},
        },
    })
}

#[test]
fn wrong_input_is_reported_with_a_fix() {
    let unlabelled = EXAMPLE.replace("    couchdiscover.io/inject: enabled\n", "");
    let annotated = unlabelled.replace(
        "  name: couchdb\n  labels:\n    app: couchdb\nspec:\n  serviceName",
        "  name: couchdb\n  annotations:\n    couchdiscover.io/inject: enabled\nspec:\n  serviceName",
    );
    let template = "  template:\n    metadata:\n      labels:\n";
    let labelled_pods =
        unlabelled.replace(template, &format!("{template}        couchdiscover.io/inject: enabled\n"));
    let nginx = labelled()
        .to_string()
        .replace(r#"{"name":"couchdb"}"#, r#"{"name":"a","image":"nginx:1"},{"name":"b"}"#);
    let mut errors = String::new();
    for (what, input) in [
        ("nothing", ""),
        ("no YAML", "kind: [\n"),
        ("no YAML in the second document", "kind: A\n---\n\na: b: c\n"),
        ("no JSON", "{\"kind\": 1"),
        ("no kind", "a: 1\n"),
        ("a list", "- kind: A\n"),
        ("text", "hello\n"),
        ("no StatefulSet", "apiVersion: v1\nkind: Service\n"),
        ("a PetSet", "apiVersion: apps/v1alpha1\nkind: PetSet\n"),
        ("an old StatefulSet", "apiVersion: apps/v1beta1\nkind: StatefulSet\n"),
        ("not labelled", &unlabelled),
        ("annotated instead", &annotated),
        ("the pods labelled instead", &labelled_pods),
        ("a misspelt label", &EXAMPLE.replace("couchdiscover.io/inject", "couchdiscover.io/injct")),
        ("a label of another domain", &EXAMPLE.replace("couchdiscover.io/inject", "couchdiscovr.io/inject")),
        ("a labelled Deployment", &EXAMPLE.replace("kind: StatefulSet", "kind: Deployment")),
        ("a boolean as label", &EXAMPLE.replace("inject: enabled", "inject: true")),
        ("a number as annotation", &annotated_with("cluster-size: 3")),
        ("an annotation that YAML reads as a boolean", &annotated_with("kubernetes: off")),
        ("a number in quotes", &EXAMPLE.replace("replicas: 3", "replicas: \"3\"")),
        ("a template that is no YAML", &EXAMPLE.replace("name: couchdb-admin", "name: {{ .Values.admin }}")),
        (
            "a template within quotes",
            &EXAMPLE.replace("serviceName: couchdb", "serviceName: \"{{ .Values.service }}\""),
        ),
        ("not CouchDB", &nginx),
        (
            "no StatefulSet but by name",
            "apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: x, labels: {couchdiscover.io/inject: enabled}}\n",
        ),
        (
            "a wrong type",
            "apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: x, labels: {couchdiscover.io/inject: enabled}}\nspec: {template: {spec: {containers: [{name: [1]}]}}}\n",
        ),
    ] {
        let Ran { code, out, err } = run(&["inject", "-f", "-"], input);
        assert_eq!((code, out.as_str()), (1, ""), "{what}");
        let _ = writeln!(errors, "{what}: {}", err.trim_end());
    }
    let Ran { code, err, .. } = run(&["inject", "-f", "/no/such/file.yaml"], "");
    assert_eq!(code, 1);
    insta::assert_snapshot!(errors + &err, @r#"
    nothing: error: no StatefulSet of apps/v1 in the input: nothing to inject
    no YAML: error: document 1, line 1: not YAML: unclosed bracket '['
    no YAML in the second document: error: document 2, line 4: not YAML: mapping values are not allowed in this context
    no JSON: error: object 1: not JSON: EOF while parsing an object at line 1 column 10
    no kind: error: document 1, line 1: no 'kind', so it is not a Kubernetes object. Fix: check that the input is a manifest; every object has apiVersion and kind
    a list: error: document 1, line 1: no 'kind', so it is not a Kubernetes object. Fix: check that the input is a manifest; every object has apiVersion and kind
    text: error: document 1, line 1: no 'kind', so it is not a Kubernetes object. Fix: check that the input is a manifest; every object has apiVersion and kind
    no StatefulSet: error: no StatefulSet of apps/v1 in the input: nothing to inject
    a PetSet: error: no StatefulSet of apps/v1 in the input: nothing to inject; 'PetSet' of 'apps/v1alpha1' was renamed: write it as StatefulSet of apps/v1
    an old StatefulSet: error: no StatefulSet of apps/v1 in the input: nothing to inject; StatefulSet of 'apps/v1beta1' is no longer served: write it as apps/v1
    not labelled: error: no StatefulSet is labelled: nothing to inject. Fix: add the label 'couchdiscover.io/inject: enabled' to metadata.labels of statefulset/couchdb
    annotated instead: error: no StatefulSet is labelled: nothing to inject. Fix: add the label 'couchdiscover.io/inject: enabled' to metadata.labels of statefulset/couchdb; 'couchdiscover.io/inject' is a label, not an annotation: move it there
    the pods labelled instead: error: no StatefulSet is labelled: nothing to inject. Fix: add the label 'couchdiscover.io/inject: enabled' to metadata.labels of statefulset/couchdb; 'couchdiscover.io/inject' is the StatefulSet's label, not the pods': move it to metadata.labels
    a misspelt label: error: no StatefulSet is labelled: nothing to inject. Fix: add the label 'couchdiscover.io/inject: enabled' to metadata.labels of statefulset/couchdb; the label 'couchdiscover.io/injct' is unknown: did you mean 'couchdiscover.io/inject'?
    a label of another domain: error: no StatefulSet is labelled: nothing to inject. Fix: add the label 'couchdiscover.io/inject: enabled' to metadata.labels of statefulset/couchdb; the label 'couchdiscovr.io/inject' is unknown: did you mean 'couchdiscover.io/inject'?
    a labelled Deployment: error: no StatefulSet of apps/v1 in the input: nothing to inject; 'couchdiscover.io/inject' has no effect on a Deployment: only StatefulSets are injected
    a boolean as label: error: statefulset/couchdb: the StatefulSet is malformed: metadata.labels.couchdiscover.io/inject: found boolean 'true', expected a string. Fix: write the value in quotes
    a number as annotation: error: statefulset/couchdb: the StatefulSet is malformed: metadata.annotations.couchdiscover.io/cluster-size: found integer '3', expected a string. Fix: write the value in quotes
    an annotation that YAML reads as a boolean: error: statefulset/couchdb: the StatefulSet is malformed: metadata.annotations.couchdiscover.io/kubernetes: found boolean 'false', expected a string. Fix: write the value in quotes
    a number in quotes: error: statefulset/couchdb: the StatefulSet is malformed: spec.replicas: found string "3", expected a whole number. Fix: write the number without quotes
    a template that is no YAML: error: 2 problems:
    document 1, line 14: not YAML: it contains '{{', as a Helm template that is not rendered. Fix: helm template RELEASE CHART | couchdiscover inject -f -
    document 5, line 87: not YAML: it contains '{{', as a Helm template that is not rendered. Fix: helm template RELEASE CHART | couchdiscover inject -f -
    a template within quotes: error: statefulset/couchdb: spec.serviceName: '{{ .Values.service }}' is not a DNS label: only a-z, 0-9 and '-' are allowed, with a letter or digit at both ends. Fix: choose another name. The object contains '{{', as a Helm template that is not rendered. Fix: helm template RELEASE CHART | couchdiscover inject -f -
    not CouchDB: error: statefulset/db: spec.template.spec.containers: none is recognised as CouchDB. Fix: set the annotation 'couchdiscover.io/container' to one of 'a', 'b'
    no StatefulSet but by name: error: statefulset/x: the StatefulSet is malformed: 'spec' is missing
    a wrong type: error: statefulset/x: the StatefulSet is malformed: spec.template.spec.containers[0].name: found a list, expected a string
    error: failed to read '/no/such/file.yaml': No such file or directory (os error 2)
    "#);
}

/// The example with one annotation, as written in YAML.
fn annotated_with(annotation: &str) -> String {
    let label = "    couchdiscover.io/inject: enabled\n";
    EXAMPLE.replace(label, &format!("{label}  annotations:\n    couchdiscover.io/{annotation}\n"))
}

#[test]
fn several_files_and_folders_are_one_manifest() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let at = EXAMPLE.find("apiVersion: apps/v1").unwrap();
    let (others, set) = EXAMPLE.split_at(at);
    let others = write("a.yaml", others.trim_end().trim_end_matches("---"));
    let set = write("b.yml", set);
    write("notes.txt", "{{");
    write("more/c.json", &labelled().to_string());
    let root = folder.path().to_str().unwrap();
    let both = run(&["inject", "-f", &others, "-f", &set], "");
    assert_eq!(both.code, 0, "{}", both.err);
    assert!(both.err.contains("b.yml: statefulset/couchdb: injected"), "{}", both.err);
    for same in [&["inject", others.as_str(), set.as_str()][..], &["inject", "-f", root]] {
        assert_eq!(run(same, "").out, both.out, "{same:?}");
    }
    // As one manifest: the rest of the example, and a StatefulSet that is injected as it would be alone.
    assert_eq!(run(&["inject", "-f", "-"], &both.out).out, both.out, "injected again");
    assert_eq!(both.out.matches("kind: StatefulSet").count(), 1);
    let all = run(&["inject", "-R", "-f", root], "");
    assert_eq!((all.code, all.out.matches("name: couchdiscover-agent").count()), (0, 2), "{}", all.err);
}

#[test]
fn all_problems_of_a_thousand_files_are_reported_in_one_run() {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..1000 {
        let text = match number {
            17 => "kind: A\n---\nkind: [\n".to_owned(),
            400 => EXAMPLE
                .replace("image: couchdb:3.5", "image: \"{{ .Values.image }}\"")
                .replace("  serviceName: couchdb\n", ""),
            999 => "{\"kind\": 1".to_owned(),
            _ => EXAMPLE.replace("name: couchdb\n", &format!("name: couchdb-{number}\n")),
        };
        std::fs::write(folder.path().join(format!("{number:04}.yaml")), text).unwrap();
    }
    let root = folder.path().to_str().unwrap();
    let Ran { code, out, err } = run(&["inject", "-f", root, "-f", "/no/such/file.yaml"], "");
    assert_eq!((code, out.as_str()), (1, ""));
    insta::assert_snapshot!(err.replace(root, "FOLDER"), @"
    error: 4 problems:
    failed to read '/no/such/file.yaml': No such file or directory (os error 2)
    FOLDER/0017.yaml: document 2, line 3: not YAML: unclosed bracket '['
    FOLDER/0999.yaml: object 1: not JSON: EOF while parsing an object at line 1 column 10
    FOLDER/0400.yaml: statefulset/couchdb: spec.serviceName: missing, so the pods have no DNS names. Fix: set it to a headless Service that has publishNotReadyAddresses: true. The object contains '{{', as a Helm template that is not rendered. Fix: helm template RELEASE CHART | couchdiscover inject -f -
    ");
}

#[test]
fn inputs_that_are_not_read_are_named_with_the_way_to_read_them() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().to_str().unwrap();
    let mut errors = run(&["inject", "-f", "https://example.com/couchdb.yaml"], "").err;
    errors += &run(&["inject", "-f", root], "").err;
    std::fs::write(folder.path().join("kustomization.yaml"), "resources: []").unwrap();
    errors += &run(&["inject", "-f", root], "").err;
    insta::assert_snapshot!(errors.replace(root, "FOLDER"), @"
    error: 'https://example.com/couchdb.yaml' is a URL, which is not fetched. Fix: curl -fsSL https://example.com/couchdb.yaml | couchdiscover inject -f -
    error: 'FOLDER' contains no file that ends in .yaml, .yml or .json. Fix: name another folder, or use -R for those within
    error: 'FOLDER' contains a kustomization.yaml, which is not rendered. Fix: kubectl kustomize FOLDER | couchdiscover inject -f -
    ");
}

#[test]
fn a_usage_error_exits_with_64_and_help_with_0() {
    for wrong in [&["inject"][..], &["inject", "-f"], &["inject", "-f", "-", "-o", "toml"], &["paint"], &[]] {
        assert_eq!(run(wrong, "").code, 64, "{wrong:?}");
    }
    for help in [&["--help"][..], &["--version"], &["inject", "--help"], &["check", "--help"]] {
        let Ran { code, out, err } = run(help, "");
        assert_eq!((code, err.as_str()), (0, ""), "{help:?}");
        assert!(!out.is_empty());
    }
}

#[test]
fn other_documents_are_not_changed_by_a_byte() {
    let injected = run(&["inject", "-f", "-"], EXAMPLE).out;
    let set = EXAMPLE.find("apiVersion: apps/v1").unwrap();
    assert_eq!(injected[..set], EXAMPLE[..set]);
    let odd = "# a comment\r\nkind:   'Odd'   # kept\n...\n---\nkind: {flow: [1,2]}\n"
        .replace("kind: {", "kind: x\na: {");
    let both = format!("{odd}---\n{}\n", labelled());
    assert!(run(&["inject", "-f", "-"], &both).out.starts_with(&odd));
}

#[test]
fn lists_and_json_streams_are_injected() {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [{"kind": "Other"}, labelled()]});
    let stream = format!("{}\n{}\n", json!({"kind": "Other"}), labelled());
    for input in [list.to_string(), stream] {
        let Ran { code, out, .. } = run(&["inject", "-f", "-"], &input);
        assert_eq!(code, 0);
        assert!(
            out.trim_start().starts_with('{') && out.contains("couchdiscover-agent"),
            "JSON stays JSON: {out}"
        );
        assert_eq!(run(&["inject", "-f", "-"], &out).out, out, "a second time");
        let back = run(&["uninject", "--everything", "-f", "-"], &out).out;
        let values = |text: &str| -> Vec<Value> {
            serde_json::Deserializer::from_str(text).into_iter().map(Result::unwrap).collect()
        };
        assert_eq!(values(&back), values(&input));
        let yaml = run(&["inject", "-f", "-", "-o", "yaml"], &input).out;
        let json = run(&["inject", "-f", "-", "-o", "json"], &yaml).out;
        assert_eq!(values(&json), values(&out), "by way of YAML");
    }
}

#[test]
fn uninject_keeps_the_variables_unless_everything_is_to_be_removed() {
    let injected = run(&["inject", "-f", "-"], EXAMPLE).out;
    let Ran { code, out: kept, err } = run(&["uninject", "-f", "-"], &injected);
    assert_eq!(code, 0);
    assert!(!kept.contains("name: couchdiscover-agent") && kept.contains("name: ERL_FLAGS"), "{kept}");
    insta::assert_snapshot!(err, @"
    statefulset/couchdb: uninjected (opted-out)
      warning: opted out; these variables stay: COUCHDB_ERLANG_COOKIE, ERLANG_COOKIE, COUCHDB_SECRET, COUCHDB_CLUSTER_SIZE, ERL_FLAGS. Databases are filed under the node name, and without name and cookie the nodes lose each other
      warning: no agent repairs this cluster any more: new pods do not join it, and a node that loses its volume is not kept out of reads until it is filled. Fix: to have the agent again, set the label 'couchdiscover.io/inject: enabled'
      warning: container 'couchdb' has no readinessProbe, so its pod is ready before CouchDB answers, and a rollout does not wait for it. Fix: add 'readinessProbe: {tcpSocket: {port: 5984}}' to it
      warning: databases of a formed cluster need the kept variables. To remove these as well: couchdiscover uninject --everything
    ");
    assert_eq!(run(&["inject", "-f", "-"], &kept).out, injected, "injected again");
    let again = run(&["uninject", "-f", "-"], &kept);
    assert_eq!((again.code, &again.out), (0, &kept), "a second time");
    insta::assert_snapshot!(again.err, @"statefulset/couchdb: skipped (disabled)");
    let Ran { code, out: original, err } = run(&["uninject", "-f", "-", "--everything"], &kept);
    assert_eq!(code, 0);
    insta::assert_snapshot!(err, @"
    statefulset/couchdb: uninjected (opted-out)
      warning: removed: COUCHDB_ERLANG_COOKIE, ERLANG_COOKIE, COUCHDB_SECRET, COUCHDB_CLUSTER_SIZE, ERL_FLAGS. A formed cluster cannot reach its databases without them. Fix: to keep them, use uninject without --everything
    ");
    assert_eq!(run(&["uninject", "--everything", "-f", "-"], &injected).out, original);
    let annotated = injected.replace(
        "  name: couchdb\n  labels:\n    app: couchdb\n    couchdiscover",
        "  name: couchdb\n  annotations:\n    couchdiscover.io/on-removal: everything\n  labels:\n    app: couchdb\n    couchdiscover",
    );
    assert_ne!(annotated, injected);
    assert!(!run(&["uninject", "-f", "-"], &annotated).out.contains("name: ERL_FLAGS"));
    let Ran { code, out, err } = run(&["uninject", "-f", "-"], &annotated.replace("everything", "all"));
    assert_eq!((code, out.as_str()), (1, ""));
    insta::assert_snapshot!(err, @"error: statefulset/couchdb: metadata.annotations[couchdiscover.io/on-removal]: 'all' is invalid. Fix: use 'agent' or 'everything'");
}

#[test]
fn a_patch_is_a_json_patch_for_kubectl() {
    let Ran { code, out, err } = run(&["inject", "-f", "-", "-o", "patch"], EXAMPLE);
    assert_eq!((code, out.lines().count()), (0, 1));
    assert!(serde_json::from_str::<json_patch::Patch>(&out).is_ok());
    insta::assert_snapshot!(err, @"
    statefulset/couchdb: injected (created)
      added: container couchdiscover-agent; volume couchdiscover-token; variables of couchdb COUCHDB_ERLANG_COOKIE, ERLANG_COOKIE, COUCHDB_SECRET, COUCHDB_CLUSTER_SIZE, ERL_FLAGS
    ");
    assert_eq!(run(&["inject", "-f", "-", "-o", "patch"], &run(&["inject", "-f", "-"], EXAMPLE).out).out, "");
}

#[test]
fn yaml_is_read_as_kubectl_reads_it() {
    let text = labelled().to_string();
    let set = run(&["inject", "-f", "-", "-o", "yaml"], &text).out;
    let odd = set.replace("serviceName: db", "serviceName: db\n  on: yes\n  mode: 0644\n  version: \"1.10\"");
    let json = run(&["inject", "-f", "-", "-o", "json"], &odd).out;
    let spec = &serde_json::from_str::<Value>(&json).unwrap()["spec"];
    assert_eq!((&spec["mode"], &spec["version"]), (&json!(420), &json!("1.10")));
    // The key remains text, its value is the boolean.
    assert!(json.contains("\"on\": true") || json.contains("\"true\": true"), "{json}");
}

#[test]
fn as_a_plugin_of_kubectl_the_usage_shows_kubectl() {
    let folder = tempfile::tempdir().unwrap();
    let plugin = folder.path().join("kubectl-couchdiscover");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_couchdiscover"), &plugin).unwrap();
    let output = Command::new(&plugin).args(["uninject", "--help"]).output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    assert!(help.contains("Usage: kubectl couchdiscover uninject [OPTIONS] [FILE]..."), "{help}");
}

#[test]
fn help_documents_each_subcommand() {
    insta::assert_snapshot!(run(&["--help"], "").out, @"
    Prepare manifests for CouchDB clusters on Kubernetes and check live clusters

    Usage: couchdiscover [OPTIONS] <COMMAND>

    Commands:
      inject      Inject the agent into the labelled StatefulSets of a file
      uninject    Remove the injected agent from the StatefulSets of a file
      check       Check a cluster and print each problem with its fix
      status      Show the pods of StatefulSets and the states that their agents report, worst first
      plan        Show the copies that a change of size moves
      scale       Change the number of nodes: drains those that go, or adds new ones, and waits until that is done
      page        Show the page of an agent in a browser on this machine
      open        Let the node of a pod take part in reads and writes again
      readmit     List the node of a pod as a member again
      forget      Remove a name that belongs to no pod from the members
      explain     Print the runbook's page about a state, a condition or an alert
      completion  Print the script with which a shell completes the command line
      help        Print this message or the help of the given subcommand(s)

    Options:
          --color <COLOR>
              Use of colours; NO_COLOR switches them off, too

              Possible values:
              - auto:   Where stdout is a terminal, unless NO_COLOR is set
              - always: Also in files and pipes
              - never:  Nowhere
              
              [default: auto]

      -h, --help
              Print help (see a summary with '-h')

      -V, --version
              Print version
    ");
    insta::assert_snapshot!(run(&["inject", "--help"], "").out, @"
    Inject the agent into the labelled StatefulSets of a file

    Usage: couchdiscover inject [OPTIONS] [FILE]...

    Arguments:
      [FILE]...
              The same without -f

    Options:
      -f, --filename <FILE>
              YAML or JSON file, or a folder of them; '-' is stdin. May be repeated

      -R, --recursive
              Read the folders within folders, too

      -o, --output <OUTPUT>
              Format of the result; by default that of the input

              Possible values:
              - yaml:  YAML documents
              - json:  JSON objects
              - patch: One JSON Patch per line and changed StatefulSet

          --agent-image <AGENT_IMAGE>
              Image of the agent
              
              [env: COUCHDISCOVER_AGENT_IMAGE=]
              [default: couchdiscover-agent:0.1.0]

          --cluster-domain <CLUSTER_DOMAIN>
              The cluster's DNS domain
              
              [env: COUCHDISCOVER_CLUSTER_DOMAIN=]
              [default: cluster.local]

          --agent-image-pull-policy <AGENT_IMAGE_PULL_POLICY>
              Pull policy of the agent's image: Always, IfNotPresent or Never [default: IfNotPresent]
              
              [env: COUCHDISCOVER_AGENT_IMAGE_PULL_POLICY=]

          --agent-image-pull-secrets <AGENT_IMAGE_PULL_SECRETS>
              Secrets that the agent's image is pulled with, separated by commas; they must exist in the namespace of each StatefulSet
              
              [env: COUCHDISCOVER_AGENT_IMAGE_PULL_SECRETS=]

          --agent-cpu-request <AGENT_CPU_REQUEST>
              CPU request of the agent [default: 5m]
              
              [env: COUCHDISCOVER_AGENT_CPU_REQUEST=]

          --agent-memory-request <AGENT_MEMORY_REQUEST>
              Memory request of the agent [default: 16Mi]
              
              [env: COUCHDISCOVER_AGENT_MEMORY_REQUEST=]

          --agent-cpu-limit <AGENT_CPU_LIMIT>
              CPU limit of the agent [default: none]
              
              [env: COUCHDISCOVER_AGENT_CPU_LIMIT=]

          --agent-memory-limit <AGENT_MEMORY_LIMIT>
              Memory limit of the agent [default: 64Mi, or the request if that is more]
              
              [env: COUCHDISCOVER_AGENT_MEMORY_LIMIT=]

          --agent-log-level <AGENT_LOG_LEVEL>
              Log level of the agent: error, warn, info, debug or trace [default: info]
              
              [env: COUCHDISCOVER_AGENT_LOG_LEVEL=]

          --agent-log-format <AGENT_LOG_FORMAT>
              Log format of the agent: text or json [default: text]
              
              [env: COUCHDISCOVER_AGENT_LOG_FORMAT=]

          --sidecar <SIDECAR>
              Kind of the agent's container: container or native [default: container]
              
              [env: COUCHDISCOVER_SIDECAR=]

          --color <COLOR>
              Use of colours; NO_COLOR switches them off, too

              Possible values:
              - auto:   Where stdout is a terminal, unless NO_COLOR is set
              - always: Also in files and pipes
              - never:  Nowhere
              
              [default: auto]

          --readiness <READINESS>
              Readiness of the pods: joined or off [default: joined]
              
              [env: COUCHDISCOVER_READINESS=]

          --erlang-cookie <ERLANG_COOKIE>
              The way in which CouchDB is given the cookie: variable or flag [default: flag where the image cannot write the cookie's file]
              
              [env: COUCHDISCOVER_ERLANG_COOKIE=]

      -n, --namespace <NAMESPACE>
              Namespace of StatefulSets without metadata.namespace

      -h, --help
              Print help (see a summary with '-h')

    Examples:
      couchdiscover inject -f couchdb.yaml | kubectl apply -f -
      couchdiscover inject -f couchdb.yaml -o patch

    Exit codes:
       0  done
       1  the file cannot be read, or is denied
      64  wrong command line
    ");
    insta::assert_snapshot!(run(&["uninject", "--help"], "").out, @"
    Remove the injected agent from the StatefulSets of a file

    Usage: couchdiscover uninject [OPTIONS] [FILE]...

    Arguments:
      [FILE]...
              The same without -f

    Options:
      -f, --filename <FILE>
              YAML or JSON file, or a folder of them; '-' is stdin. May be repeated

      -R, --recursive
              Read the folders within folders, too

      -o, --output <OUTPUT>
              Format of the result; by default that of the input

              Possible values:
              - yaml:  YAML documents
              - json:  JSON objects
              - patch: One JSON Patch per line and changed StatefulSet

          --everything
              Remove the injected variables, too: node name, cookie, session secret and size
              
              By default only the agent is removed, unless the annotation couchdiscover.io/on-removal is 'everything'. The databases of a formed cluster are filed under the injected node names and cannot be reached without these.

          --color <COLOR>
              Use of colours; NO_COLOR switches them off, too

              Possible values:
              - auto:   Where stdout is a terminal, unless NO_COLOR is set
              - always: Also in files and pipes
              - never:  Nowhere
              
              [default: auto]

      -h, --help
              Print help (see a summary with '-h')

    Examples:
      couchdiscover uninject -f injected.yaml > couchdb.yaml
      kubectl get statefulset couchdb -o yaml | couchdiscover uninject -f -

    Exit codes:
       0  done
       1  the file cannot be read, or is denied
      64  wrong command line
    ");
    insta::assert_snapshot!(run(&["check", "--help"], "").out, @"
    Check a cluster and print each problem with its fix

    Reads only; all writes are dry runs.

    Usage: couchdiscover check [OPTIONS]

    Options:
      -n, --namespace <NAMESPACE>
              Namespace; by default that of the context, and for check and status all namespaces

          --context <CONTEXT>
              Context of the kubeconfig; by default the current one

          --config-name <CONFIG_NAME>
              Name of the MutatingWebhookConfiguration
              
              [env: COUCHDISCOVER_CONFIG_NAME=]
              [default: couchdiscover]

      -o, --output <OUTPUT>
              Format of the report

              Possible values:
              - table: Lines for the terminal
              - json:  One JSON object
              
              [default: table]

          --pre
              Check the requirements of an installation, before anything is installed

          --wait <TIME>
              Repeat until no problem is found, for at most this time, such as 90s or 2m

          --color <COLOR>
              Use of colours; NO_COLOR switches them off, too

              Possible values:
              - auto:   Where stdout is a terminal, unless NO_COLOR is set
              - always: Also in files and pipes
              - never:  Nowhere
              
              [default: auto]

      -h, --help
              Print help (see a summary with '-h')

    Examples:
      couchdiscover check -n shop
      couchdiscover check --pre
      couchdiscover check --wait 2m -o json

    Exit codes:
       0  no problem is found
       1  a problem is found
       2  nothing can be read
      64  wrong command line
      69  no cluster can be reached
    ");
}
