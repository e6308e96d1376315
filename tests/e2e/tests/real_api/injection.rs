//! StatefulSets that are injected, and those that are not.

use contract::keys;
use serde_json::json;

use crate::namespace::{IMAGE, TestNamespace, agent, container, template, variables};

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn a_labelled_statefulset_is_injected_and_so_are_its_pods() {
    let ns = TestNamespace::open("injected").await;
    let created = ns.admin.create(&ns.example()).await;
    assert_eq!(created.warnings, Vec::<String>::new());
    let stored = created.accepted();
    assert_eq!(agent(&stored)["image"], IMAGE);
    assert!(stored["spec"]["template"]["metadata"]["annotations"][keys::INJECTED].is_string());
    let pods = ns.pods("couchdb", 3).await;
    for (ordinal, pod) in pods.iter().enumerate() {
        assert_eq!(pod["metadata"]["name"], json!(format!("couchdb-{ordinal}")));
        // The API server mounts no token where the agent has its own.
        assert_eq!(agent(pod), agent(&stored));
        assert_eq!(
            variables(&container(pod, "couchdb")),
            [
                "COUCHDB_USER",
                "COUCHDB_PASSWORD",
                "COUCHDB_ERLANG_COOKIE",
                "ERLANG_COOKIE",
                "COUCHDB_SECRET",
                "COUCHDB_CLUSTER_SIZE",
                "ERL_FLAGS"
            ]
        );
    }
}

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn the_webhook_is_not_called_for_unlabelled_objects_and_excluded_namespaces() {
    let mut ns = TestNamespace::open("unasked").await;
    let excluded = ["kube-system", "kube-public", "kube-node-lease", "couchdiscover"];
    let own = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "couchdiscover" } });
    ns.admin.create(&own).await.accepted();
    let namespaces = [&excluded[..], &[ns.name]].concat();
    ns.register(&ns.webhook, &namespaces).await;
    ns.webhook.stop().await;
    let unlabelled = ns.example_with(|set| {
        set["metadata"]["labels"].as_object_mut().unwrap().shift_remove(keys::INJECT);
    });
    assert!(agent(&ns.admin.create(&unlabelled).await.accepted()).is_null());
    for namespace in excluded {
        let labelled = ns.example_with(|set| set["metadata"]["namespace"] = json!(namespace));
        assert!(agent(&ns.admin.try_create(&labelled).await.accepted()).is_null(), "{namespace}");
    }
    let labelled = ns.example_with(|set| set["metadata"]["name"] = json!("labelled"));
    assert_eq!(ns.admin.try_create(&labelled).await.code, 500, "the webhook is down, and would be called");
}

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn a_dry_run_shows_the_injection_and_stores_nothing() {
    let ns = TestNamespace::open("dry-run").await;
    let shown = ns.admin.try_create(&ns.example()).await.accepted();
    assert_eq!(agent(&shown)["image"], IMAGE);
    assert_eq!(ns.admin.get(&ns.example_path()).await.code, 404);
    let stored = ns.admin.create(&ns.example()).await.accepted();
    assert_eq!(template(&shown), template(&stored), "the dry run equals the stored template");
    let changed = ns.example_with(|set| {
        set["spec"]["template"]["spec"]["containers"][0]["image"] = json!("couchdb:3.5.1");
    });
    let shown = ns.admin.try_replace(&changed).await.accepted();
    assert_eq!(
        (&container(&shown, "couchdb")["image"], &agent(&shown)["image"]),
        (&json!("couchdb:3.5.1"), &json!(IMAGE))
    );
    let after = ns.stored().await;
    assert_eq!((after["metadata"]["generation"].as_i64(), template(&after)), (Some(1), template(&stored)));
}

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn opting_out_keeps_the_variables_unless_everything_is_to_be_removed() {
    let ns = TestNamespace::open("opting-out").await;
    let mut twin = ns.example_with(|set| set["metadata"]["name"] = json!("twin"));
    twin["metadata"]["labels"].as_object_mut().unwrap().shift_remove(keys::INJECT);
    let original = template(&ns.admin.create(&twin).await.accepted());
    let created = ns.admin.create(&ns.example()).await.accepted();
    let (injected, couchdb) = (template(&created), container(&created, "couchdb"));
    assert_ne!(injected, original);
    for (label, removal) in [
        (json!(null), json!(null)),
        (json!(keys::INJECT_DISABLED), json!("agent")),
        (json!(null), json!("everything")),
        (json!(keys::INJECT_DISABLED), json!("everything")),
    ] {
        let story = format!("{label}, {removal}");
        let change = json!({
            "metadata": { "labels": { keys::INJECT: label }, "annotations": { keys::ON_REMOVAL: removal } }
        });
        let changed = ns.merge(change).await;
        assert!(!changed.warnings.is_empty(), "{story}");
        let stored = changed.accepted();
        if removal == "everything" {
            assert_eq!(template(&stored), original, "{story}");
        } else {
            assert!(agent(&stored).is_null(), "{story}");
            assert_eq!(container(&stored, "couchdb"), couchdb, "{story}");
        }
        let change = json!({ "metadata": { "labels": { keys::INJECT: keys::INJECT_ENABLED } } });
        assert_eq!(template(&ns.merge(change).await.accepted()), injected, "injected again after {story}");
    }
}
