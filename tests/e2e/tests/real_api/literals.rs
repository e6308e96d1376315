//! Names in the manifests that must equal those of the programs.

use clap::Parser;
use contract::{keys, objects, ports};
use e2e::control_plane::CONFIGURATION;
use serde_json::{Value, json};
use webhook::serve::Args;

/// The manifest of the agents' role.
pub(crate) const AGENT_ROLE: &str = include_str!("../../../../manifests/base/agent-role.yaml");

#[test]
fn the_configuration_uses_names_and_paths_of_the_webhook() {
    let configuration = yaml(CONFIGURATION);
    let args = Args::try_parse_from(["serve"]).unwrap();
    assert_eq!(configuration["metadata"]["name"], args.config_name);
    let [inject, scale] = &**configuration["webhooks"].as_array().unwrap() else { panic!("{configuration}") };
    let excluded = [&objects::SYSTEM_NAMESPACES[..], &[&args.namespace]].concat();
    let key = "kubernetes.io/metadata.name";
    for (webhook, name, path) in [(inject, "inject", ports::MUTATE), (scale, "scale", ports::SCALE)] {
        assert_eq!(webhook["name"], format!("{name}.{}", keys::DOMAIN));
        let service = json!({ "namespace": args.namespace, "name": args.service, "path": path, "port": 443 });
        assert_eq!(
            webhook["clientConfig"],
            json!({ "service": service }),
            "without the caBundle, which the webhook publishes"
        );
        assert_eq!(
            webhook["namespaceSelector"],
            json!({ "matchExpressions": [{ "key": key, "operator": "NotIn", "values": excluded }] })
        );
    }
    assert_eq!(
        inject["objectSelector"],
        json!({ "matchExpressions": [{ "key": keys::INJECT, "operator": "Exists" }] })
    );
    assert_eq!(scale["objectSelector"], json!({}), "a Scale has no labels of its StatefulSet");
}

#[test]
fn the_agents_role_has_the_name_that_the_webhook_binds() {
    let role = yaml(AGENT_ROLE);
    assert_eq!(
        (&role["kind"], &role["metadata"]["name"]),
        (&json!("ClusterRole"), &json!(objects::AGENT_CLUSTER_ROLE))
    );
}

/// Parses a manifest of one object.
pub(crate) fn yaml(text: &str) -> Value {
    let [object] = &*e2e::manifest::objects(text).unwrap() else { panic!("{text}") };
    object.clone()
}
