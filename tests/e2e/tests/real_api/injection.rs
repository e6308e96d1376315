//! Who is injected, and who isn't.

use contract::keys;
use serde_json::json;

use crate::scene::{IMAGE, Scene, agent, container, template, variables};

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn a_labelled_statefulset_is_injected_and_so_are_its_pods() {
    let scene = Scene::open("injected").await;
    let created = scene.admin.create(&scene.example()).await;
    assert_eq!(created.warnings, Vec::<String>::new());
    let stored = created.taken();
    assert_eq!(agent(&stored)["image"], IMAGE);
    assert!(stored["spec"]["template"]["metadata"]["annotations"][keys::INJECTED].is_string());
    let pods = scene.pods("couchdb", 3).await;
    for (ordinal, pod) in pods.iter().enumerate() {
        assert_eq!(pod["metadata"]["name"], json!(format!("couchdb-{ordinal}")));
        let mut made = agent(pod);
        // Every pod has a token, mounted into each of its containers.
        assert!(made["volumeMounts"].as_array().is_some_and(|mounts| mounts.len() == 1), "{made}");
        made.as_object_mut().unwrap().shift_remove("volumeMounts");
        assert_eq!(made, agent(&stored));
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
async fn an_api_server_asks_nothing_about_the_unlabelled_and_the_excluded() {
    let mut scene = Scene::open("unasked").await;
    let excluded = ["kube-system", "kube-public", "kube-node-lease", "couchdiscover"];
    let own = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "couchdiscover" } });
    scene.admin.create(&own).await.taken();
    let namespaces = [&excluded[..], &[scene.namespace]].concat();
    scene.register(&scene.webhook, &namespaces).await;
    scene.webhook.stop().await;
    let unlabelled = scene.example_with(|set| {
        set["metadata"]["labels"].as_object_mut().unwrap().shift_remove(keys::INJECT);
    });
    assert!(agent(&scene.admin.create(&unlabelled).await.taken()).is_null());
    for namespace in excluded {
        let labelled = scene.example_with(|set| set["metadata"]["namespace"] = json!(namespace));
        assert!(agent(&scene.admin.try_create(&labelled).await.taken()).is_null(), "{namespace}");
    }
    let labelled = scene.example_with(|set| set["metadata"]["name"] = json!("labelled"));
    assert_eq!(scene.admin.try_create(&labelled).await.code, 500, "the webhook is down, and would be asked");
}

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn a_dry_run_shows_the_injection_and_stores_nothing() {
    let scene = Scene::open("dry-run").await;
    let shown = scene.admin.try_create(&scene.example()).await.taken();
    assert_eq!(agent(&shown)["image"], IMAGE);
    assert_eq!(scene.admin.get(&scene.example_path()).await.code, 404);
    let stored = scene.admin.create(&scene.example()).await.taken();
    assert_eq!(template(&shown), template(&stored), "what is shown is what is stored");
    let changed = scene.example_with(|set| {
        set["spec"]["template"]["spec"]["containers"][0]["image"] = json!("couchdb:3.5.1");
    });
    let shown = scene.admin.try_replace(&changed).await.taken();
    assert_eq!(
        (&container(&shown, "couchdb")["image"], &agent(&shown)["image"]),
        (&json!("couchdb:3.5.1"), &json!(IMAGE))
    );
    let after = scene.stored().await;
    assert_eq!((after["metadata"]["generation"].as_i64(), template(&after)), (Some(1), template(&stored)));
}

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn opting_out_leaves_what_was_never_injected() {
    let scene = Scene::open("opting-out").await;
    let mut twin = scene.example_with(|set| set["metadata"]["name"] = json!("twin"));
    twin["metadata"]["labels"].as_object_mut().unwrap().shift_remove(keys::INJECT);
    let never = template(&scene.admin.create(&twin).await.taken());
    let injected = template(&scene.admin.create(&scene.example()).await.taken());
    assert_ne!(injected, never);
    for gone in [json!(null), json!(keys::INJECT_DISABLED)] {
        let change = json!({ "metadata": { "labels": { keys::INJECT: gone } } });
        assert_eq!(template(&scene.merge(change).await.taken()), never, "{gone}");
        let change = json!({ "metadata": { "labels": { keys::INJECT: keys::INJECT_ENABLED } } });
        assert_eq!(template(&scene.merge(change).await.taken()), injected, "back again after {gone}");
    }
}
