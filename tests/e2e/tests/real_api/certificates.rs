//! The shared certificate authority and the published caBundle: creation, repair and rotation.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use certs::rotation::{Step, carry_out};
use certs::{Authority, Bundle, Lifetimes};
use contract::{keys, objects};
use e2e::envtest::Envtest;
use e2e::until::until;
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};

use crate::deployed::{Deployed, Replica};
use crate::namespace::{DEADLINE, agent};

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn two_replicas_that_start_at_once_share_one_authority() {
    let deployed = Deployed::open("two-at-once").await;
    let (one, other) = tokio::join!(deployed.replica(&[]), deployed.replica(&[]));
    one.until_ready().await;
    other.until_ready().await;
    let published = deployed.ca_bundle().await;
    assert_eq!(published, deployed.authority("ca.crt").await);
    assert_eq!(published.matches("BEGIN").count(), 1);
    let certificates =
        [one.certificate(&published).await.unwrap(), other.certificate(&published).await.unwrap()];
    assert_ne!(certificates[0], certificates[1], "each replica has its own key");
    deployed.until_called().await;
    assert!(!agent(&deployed.admin.create(&deployed.example("couchdb")).await.accepted()).is_null());
    assert_eq!(one.metric("ready").await, 1.0);
    let created = authorities_created(&one).await + authorities_created(&other).await;
    assert_eq!(created, 1.0, "only one of them created the authority");
    for replica in [&one, &other] {
        let log = serde_json::to_string(&replica.log()).unwrap();
        assert!(!log.contains("PRIVATE"), "{log}");
        assert!(replica.metric("authority_expiry_timestamp_seconds").await > 1.7e9);
        assert!(replica.metric("certificate_expiry_timestamp_seconds").await > 1.7e9);
    }
}

async fn authorities_created(replica: &Replica) -> f64 {
    replica.metric("authority_rotations_total{step=\"found\"}").await
}

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn a_changed_ca_bundle_is_restored_and_the_manager_logged() {
    let deployed = Deployed::open("restored").await;
    let replica = deployed.replica(&[]).await;
    replica.until_ready().await;
    let published = deployed.ca_bundle().await;
    let path = deployed.configuration_path();

    // Removed, as by a tool that renders an empty caBundle.
    let wipe = json!([{ "op": "remove", "path": "/webhooks/0/clientConfig/caBundle" }]);
    let wiped = deployed
        .plane
        .kubectl(
            &[
                "patch",
                "mutatingwebhookconfiguration",
                &deployed.config_name,
                "--type=json",
                "-p",
                &wipe.to_string(),
            ],
            "",
        )
        .await;
    assert!(wiped.status.success(), "{wiped:?}");
    until_restored(&deployed, &published, "removed").await;

    // Replaced by the manifest, which has no caBundle.
    let mut replaced = deployed.configuration().await;
    replaced["webhooks"][0]["clientConfig"].as_object_mut().unwrap().shift_remove("caBundle");
    deployed.admin.replace(&replaced).await.accepted();
    until_restored(&deployed, &published, "replaced").await;

    // Overwritten with another authority by server-side apply.
    let other = Authority::new("other", OffsetDateTime::now_utc()).unwrap();
    let mut applied = deployed.manifest(replaced["webhooks"][0]["clientConfig"]["url"].as_str().unwrap());
    applied["webhooks"][0]["clientConfig"]["caBundle"] = json!(STANDARD.encode(other.certificate_pem()));
    deployed.admin.apply(&applied).await.accepted();
    until_restored(&deployed, &published, "overwritten").await;

    // Overwritten by client-side `kubectl apply`.
    let kubectl = deployed.plane.kubectl(&["apply", "-f", "-"], &applied.to_string()).await;
    assert!(kubectl.status.success(), "{kubectl:?}");
    until_restored(&deployed, &published, "overwritten by kubectl").await;

    let stored = deployed.admin.get(&path).await.accepted();
    let managers = stored["metadata"]["managedFields"].as_array().unwrap();
    let ours = managers.iter().find(|entry| entry["manager"] == objects::WEBHOOK_MANAGER).unwrap();
    assert_eq!(ours["operation"], "Apply");
    assert_eq!(stored["webhooks"][0]["failurePolicy"], "Fail", "nothing else is changed");
    let by = |name: &str| replica.log().iter().any(|line| line["by"] == name);
    until("the managers in the log", DEADLINE, async || {
        if by("tests") && by("kubectl-client-side-apply") { Ok(()) } else { Err(replica.log()) }
    })
    .await;
    assert!(replica.metric("ca_bundle_heals_total").await >= 4.0);
    replica.until_ready().await;
    deployed.until_called().await;
}

async fn until_restored(deployed: &Deployed, published: &str, after: &str) {
    until(&format!("the caBundle after it was {after}"), DEADLINE, async || {
        match deployed.ca_bundle().await {
            now if now == published => Ok(()),
            now => Err(now),
        }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn a_manager_that_keeps_changing_the_ca_bundle_is_named_and_restoring_slows_down() {
    let deployed = Deployed::open("contested").await;
    let replica = deployed.replica(&[]).await;
    replica.until_ready().await;
    let published = deployed.ca_bundle().await;
    let other = Authority::new("other", OffsetDateTime::now_utc()).unwrap();
    let stored = deployed.configuration().await;
    let mut changed = deployed.manifest(stored["webhooks"][0]["clientConfig"]["url"].as_str().unwrap());
    changed["webhooks"][0]["clientConfig"]["caBundle"] = json!(STANDARD.encode(other.certificate_pem()));
    for _ in 0..5 {
        deployed.admin.apply(&changed).await.accepted();
        until_restored(&deployed, &published, "changed").await;
    }
    let line = replica.until_logged("keeps changing the caBundle").await;
    assert_eq!((&line["level"], &line["by"]), (&json!("WARN"), &json!("tests")));
    assert_eq!(
        line["message"],
        "another program keeps changing the caBundle: corrections are delayed. Fix: let it leave \
         webhooks[].clientConfig.caBundle alone"
    );
}

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn a_deleted_or_corrupted_authority_secret_is_restored() {
    let deployed = Deployed::open("lost").await;
    let (one, other) = tokio::join!(deployed.replica(&[]), deployed.replica(&[]));
    one.until_ready().await;
    other.until_ready().await;
    let (authority, key) = (deployed.authority("ca.crt").await, deployed.authority("ca.key").await);
    let served = one.certificate(&authority).await.unwrap();
    let secret = deployed.secret_path();
    let until_restored = async |after: &str| {
        until(&format!("the Secret after {after}"), DEADLINE, async || {
            let now = (deployed.authority("ca.crt").await, deployed.authority("ca.key").await);
            if now.0 == authority && now.1 == key { Ok(()) } else { Err(now.0) }
        })
        .await;
    };
    deployed.admin.delete(&secret, &json!(null)).await.accepted();
    until_restored("its deletion").await;
    deployed
        .admin
        .merge(&secret, &json!({ "data": { "ca.crt": STANDARD.encode("garbage") } }))
        .await
        .accepted();
    until_restored("invalid data").await;
    deployed.admin.merge(&secret, &json!({ "data": null })).await.accepted();
    until_restored("the removal of its data").await;
    assert_eq!(
        one.certificate(&deployed.ca_bundle().await).await.unwrap(),
        served,
        "the replica keeps its certificate"
    );

    let newer =
        json!({ "metadata": { "annotations": { keys::RECORD_SCHEMA: "2" } }, "data": { "ca.crt": null } });
    deployed.admin.merge(&secret, &newer).await.accepted();
    let line = one.until_logged("tending the certificate authority failed").await;
    assert!(line["error"].as_str().unwrap().contains("schema '2'"), "{line}");
    assert_eq!(deployed.authority("ca.crt").await, "", "a newer schema is not modified");
    deployed.until_called().await;
}

/// The authority is due for renewal, so that a rotation starts at once; leaves are valid for seconds.
#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn no_creation_fails_while_leaves_and_the_authority_are_replaced() {
    let deployed = Deployed::open("rotated").await;
    let now = OffsetDateTime::now_utc();
    let old = carry_out(Step::Found, None, "old", Lifetimes::default(), now - Duration::days(250))
        .unwrap()
        .unwrap();
    seed(&deployed, &old).await;
    let flags = ["--leaf-life=12s", "--ca-life=1000m"];
    let (one, other) = tokio::join!(deployed.replica(&flags), deployed.replica(&flags));
    one.until_ready().await;
    other.until_ready().await;
    deployed.until_called().await;

    let (stop, created) = (AtomicBool::new(false), AtomicUsize::new(0));
    let create = async || {
        while !stop.load(Ordering::Relaxed) {
            let answer = deployed.try_create().await;
            assert_eq!(answer.code, 201, "after {created:?}: {}", answer.message());
            assert!(!agent(&answer.body).is_null());
            created.fetch_add(1, Ordering::Relaxed);
        }
    };
    let rotate = async {
        // Either replica may start the rotation.
        until("the next authority", DEADLINE, async || {
            let bring = "authority_rotations_total{step=\"bring\"}";
            match one.metric(bring).await + other.metric(bring).await {
                1.0.. => Ok(()),
                _ => Err((one.log(), other.log())),
            }
        })
        .await;
        for replica in [&one, &other] {
            until("three leaves", DEADLINE, async || {
                match replica.metric("certificate_renewals_total").await {
                    3.0.. => Ok(()),
                    few => Err((few, replica.log())),
                }
            })
            .await;
        }
        until("the removal of the old authority", DEADLINE, async || {
            let (bundle, secret) = (deployed.ca_bundle().await, deployed.authority("ca.crt").await);
            let is_replaced = bundle == secret && secret != old.pem();
            if is_replaced { Ok(()) } else { Err((bundle, secret, one.log())) }
        })
        .await;
        for replica in [&one, &other] {
            replica.certificate(&deployed.ca_bundle().await).await.unwrap();
        }
        stop.store(true, Ordering::Relaxed);
    };
    tokio::join!(create(), create(), create(), rotate);
    let steps = ["bring", "promote", "forget"];
    for step in steps {
        let name = format!("authority_rotations_total{{step=\"{step}\"}}");
        assert_eq!(one.metric(&name).await + other.metric(&name).await, 1.0, "{step}");
    }
    assert!(created.load(Ordering::Relaxed) > 100, "{created:?}");
}

/// As if the replica that started the rotation had stopped in the middle of it.
#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn a_started_rotation_is_completed_by_another_replica() {
    let deployed = Deployed::open("resumed").await;
    let made = OffsetDateTime::now_utc() - Duration::days(250);
    let old = carry_out(Step::Found, None, "old", Lifetimes::default(), made).unwrap().unwrap();
    let begun = carry_out(Step::Bring, Some(&old), "new", Lifetimes::default(), OffsetDateTime::now_utc())
        .unwrap()
        .unwrap();
    seed(&deployed, &begun).await;
    let replica = deployed.replica(&["--leaf-life=12s", "--ca-life=1000m"]).await;
    replica.until_ready().await;
    until("the next authority alone", DEADLINE, async || {
        let (bundle, secret) = (deployed.ca_bundle().await, deployed.authority("ca.crt").await);
        let next = begun.incoming().unwrap().certificate_pem();
        let is_completed = bundle == secret && secret == next;
        if is_completed { Ok(()) } else { Err((bundle, secret, replica.log())) }
    })
    .await;
    deployed.until_called().await;
}

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn an_expired_authority_is_replaced_at_once() {
    let deployed = Deployed::open("expired").await;
    let made = OffsetDateTime::now_utc() - Duration::days(400);
    let old = carry_out(Step::Found, None, "old", Lifetimes::default(), made).unwrap().unwrap();
    seed(&deployed, &old).await;
    let replica = deployed.replica(&[]).await;
    replica.until_ready().await;
    assert_ne!(deployed.authority("ca.crt").await, old.pem());
    assert_eq!(deployed.authority("retiring.crt").await, old.pem());
    deployed.until_called().await;
}

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn without_its_roles_a_replica_is_not_ready_and_becomes_ready_once_they_are_granted() {
    let deployed = Deployed::without_roles(Envtest::shared().await, "no-roles").await;
    let replica = deployed.replica(&[]).await;
    let (code, reason) = until("a reason", DEADLINE, async || match replica.readyz().await {
        (503, reason) if reason.contains("forbidden") => Ok((503, reason)),
        other => Err(other),
    })
    .await;
    assert!(
        reason.starts_with(
            "there is no certificate authority: secrets \"couchdiscover-webhook-ca\" is forbidden: "
        ),
        "{code} {reason}"
    );
    deployed.grant().await;
    replica.until_ready().await;
    deployed.until_called().await;
    replica.stop().await;
}

/// Stores an authority in the Secret of the webhook.
async fn seed(deployed: &Deployed, bundle: &Bundle) {
    let data: serde_json::Map<String, Value> =
        bundle.to_fields().into_iter().map(|(name, value)| (name, json!(STANDARD.encode(value)))).collect();
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": { "name": objects::CA_SECRET, "namespace": deployed.home },
        "data": data,
    });
    deployed.admin.create(&secret).await.accepted();
}
