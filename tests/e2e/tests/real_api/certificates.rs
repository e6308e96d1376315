//! The authority that replicas share, and the caBundle, whatever is done to them.

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
use crate::scene::{DEADLINE, agent};

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn two_replicas_that_start_at_once_share_one_authority() {
    let deployed = Deployed::open("two-at-once").await;
    let (one, other) = tokio::join!(deployed.replica(&[]), deployed.replica(&[]));
    one.ready().await;
    other.ready().await;
    let published = deployed.ca_bundle().await;
    assert_eq!(published, deployed.authority("ca.crt").await);
    assert_eq!(published.matches("BEGIN").count(), 1);
    let certificates =
        [one.certificate(&published).await.unwrap(), other.certificate(&published).await.unwrap()];
    assert_ne!(certificates[0], certificates[1], "each has a key of its own");
    deployed.is_asked().await;
    assert!(!agent(&deployed.admin.create(&deployed.example("couchdb")).await.taken()).is_null());
    assert_eq!(one.metric("ready").await, 1.0);
    let found = metric_found(&one).await + metric_found(&other).await;
    assert_eq!(found, 1.0, "one of them made it");
    for replica in [&one, &other] {
        let log = serde_json::to_string(&replica.log()).unwrap();
        assert!(!log.contains("PRIVATE"), "{log}");
        assert!(replica.metric("authority_expiry_timestamp_seconds").await > 1.7e9);
        assert!(replica.metric("certificate_expiry_timestamp_seconds").await > 1.7e9);
    }
}

async fn metric_found(replica: &Replica) -> f64 {
    replica.metric("authority_rotations_total{step=\"found\"}").await
}

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn a_ca_bundle_that_somebody_changes_is_put_right() {
    let deployed = Deployed::open("healed").await;
    let replica = deployed.replica(&[]).await;
    replica.ready().await;
    let published = deployed.ca_bundle().await;
    let path = deployed.configuration_path();

    // Wiped, as a tool that renders an empty one does.
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
    healed(&deployed, &published, "wiped").await;

    // Replaced by the manifest, which has none.
    let mut replaced = deployed.configuration().await;
    replaced["webhooks"][0]["clientConfig"].as_object_mut().unwrap().shift_remove("caBundle");
    deployed.admin.replace(&replaced).await.taken();
    healed(&deployed, &published, "replaced").await;

    // Applied over by someone who brings another authority.
    let other = Authority::new("other", OffsetDateTime::now_utc()).unwrap();
    let mut applied = deployed.manifest(replaced["webhooks"][0]["clientConfig"]["url"].as_str().unwrap());
    applied["webhooks"][0]["clientConfig"]["caBundle"] = json!(STANDARD.encode(other.certificate_pem()));
    deployed.admin.apply(&applied).await.taken();
    healed(&deployed, &published, "applied over").await;

    // By kubectl, as people do.
    let kubectl = deployed.plane.kubectl(&["apply", "-f", "-"], &applied.to_string()).await;
    assert!(kubectl.status.success(), "{kubectl:?}");
    healed(&deployed, &published, "applied over by kubectl").await;

    let stored = deployed.admin.get(&path).await.taken();
    let managers = stored["metadata"]["managedFields"].as_array().unwrap();
    let ours = managers.iter().find(|entry| entry["manager"] == objects::WEBHOOK_MANAGER).unwrap();
    assert_eq!(ours["operation"], "Apply");
    assert_eq!(stored["webhooks"][0]["failurePolicy"], "Fail", "nothing else is touched");
    let by = |name: &str| replica.log().iter().any(|line| line["by"] == name);
    until("who did it", DEADLINE, async || match by("tests") && by("kubectl-client-side-apply") {
        true => Ok(()),
        false => Err(replica.log()),
    })
    .await;
    assert!(replica.metric("ca_bundle_heals_total").await >= 4.0);
    replica.ready().await;
    deployed.is_asked().await;
}

async fn healed(deployed: &Deployed, published: &str, what: &str) {
    until(what, DEADLINE, async || match deployed.ca_bundle().await {
        now if now == published => Ok(()),
        now => Err(now),
    })
    .await;
}

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn who_changes_it_again_and_again_is_named_and_met_ever_more_slowly() {
    let deployed = Deployed::open("fought").await;
    let replica = deployed.replica(&[]).await;
    replica.ready().await;
    let published = deployed.ca_bundle().await;
    let other = Authority::new("other", OffsetDateTime::now_utc()).unwrap();
    let mut stubborn = deployed.configuration().await;
    stubborn = deployed.manifest(stubborn["webhooks"][0]["clientConfig"]["url"].as_str().unwrap());
    stubborn["webhooks"][0]["clientConfig"]["caBundle"] = json!(STANDARD.encode(other.certificate_pem()));
    for _ in 0..5 {
        deployed.admin.apply(&stubborn).await.taken();
        healed(&deployed, &published, "a caBundle put right").await;
    }
    let said = replica.logged("again and again").await;
    assert_eq!((&said["level"], &said["by"]), (&json!("WARN"), &json!("tests")));
    assert_eq!(
        said["message"],
        "the caBundle is changed again and again: whoever does it must leave it alone; waiting longer now"
    );
}

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn a_secret_that_is_deleted_or_spoilt_is_written_back() {
    let deployed = Deployed::open("lost").await;
    let (one, other) = tokio::join!(deployed.replica(&[]), deployed.replica(&[]));
    one.ready().await;
    other.ready().await;
    let (authority, key) = (deployed.authority("ca.crt").await, deployed.authority("ca.key").await);
    let served = one.certificate(&authority).await.unwrap();
    let secret = deployed.secret_path();
    let back = async |what: &str| {
        until(what, DEADLINE, async || {
            let now = (deployed.authority("ca.crt").await, deployed.authority("ca.key").await);
            if now.0 == authority && now.1 == key { Ok(()) } else { Err(now.0) }
        })
        .await;
    };
    deployed.admin.delete(&secret, &json!(null)).await.taken();
    back("after a deletion").await;
    deployed.admin.merge(&secret, &json!({ "data": { "ca.crt": STANDARD.encode("garbage") } })).await.taken();
    back("after garbage").await;
    deployed.admin.merge(&secret, &json!({ "data": null })).await.taken();
    back("after its data were taken").await;
    assert_eq!(
        one.certificate(&deployed.ca_bundle().await).await.unwrap(),
        served,
        "nobody had to change anything"
    );

    let newer =
        json!({ "metadata": { "annotations": { keys::RECORD_SCHEMA: "2" } }, "data": { "ca.crt": null } });
    deployed.admin.merge(&secret, &newer).await.taken();
    let said = one.logged("tending the certificate authority failed").await;
    assert!(said["error"].as_str().unwrap().contains("schema '2'"), "{said}");
    assert_eq!(deployed.authority("ca.crt").await, "", "left alone");
    deployed.is_asked().await;
}

/// An authority is no older than its renewal, so that a rotation begins at once; leaves last seconds.
#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn no_create_fails_while_leaves_and_authorities_are_replaced() {
    let deployed = Deployed::open("rotated").await;
    let now = OffsetDateTime::now_utc();
    let old = carry_out(Step::Found, None, "old", Lifetimes::default(), now - Duration::days(250))
        .unwrap()
        .unwrap();
    seed(&deployed, &old).await;
    let flags = ["--leaf-life=12s", "--ca-life=1000m"];
    let (one, other) = tokio::join!(deployed.replica(&flags), deployed.replica(&flags));
    one.ready().await;
    other.ready().await;
    deployed.is_asked().await;

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
        // By whichever replica comes first.
        until("an authority that is to follow", DEADLINE, async || {
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
        until("an end of the old authority", DEADLINE, async || {
            let (bundle, secret) = (deployed.ca_bundle().await, deployed.authority("ca.crt").await);
            match bundle == secret && secret != old.pem() {
                true => Ok(()),
                false => Err((bundle, secret, one.log())),
            }
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

/// The first of two replicas left in the middle of it.
#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn a_rotation_that_was_begun_is_ended_by_whoever_comes_next() {
    let deployed = Deployed::open("resumed").await;
    let made = OffsetDateTime::now_utc() - Duration::days(250);
    let old = carry_out(Step::Found, None, "old", Lifetimes::default(), made).unwrap().unwrap();
    let begun = carry_out(Step::Bring, Some(&old), "new", Lifetimes::default(), OffsetDateTime::now_utc())
        .unwrap()
        .unwrap();
    seed(&deployed, &begun).await;
    let replica = deployed.replica(&["--leaf-life=12s", "--ca-life=1000m"]).await;
    replica.ready().await;
    until("the one that was to follow, alone", DEADLINE, async || {
        let (bundle, secret) = (deployed.ca_bundle().await, deployed.authority("ca.crt").await);
        let follower = begun.incoming().unwrap().certificate_pem();
        match bundle == secret && secret == follower {
            true => Ok(()),
            false => Err((bundle, secret, replica.log())),
        }
    })
    .await;
    deployed.is_asked().await;
}

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn an_expired_authority_is_replaced_at_once() {
    let deployed = Deployed::open("expired").await;
    let made = OffsetDateTime::now_utc() - Duration::days(400);
    let old = carry_out(Step::Found, None, "old", Lifetimes::default(), made).unwrap().unwrap();
    seed(&deployed, &old).await;
    let replica = deployed.replica(&[]).await;
    replica.ready().await;
    assert_ne!(deployed.authority("ca.crt").await, old.pem());
    assert_eq!(deployed.authority("retiring.crt").await, old.pem());
    deployed.is_asked().await;
}

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS"]
async fn without_its_roles_it_is_not_ready_says_why_and_goes_on_once_it_has_them() {
    let deployed = Deployed::without_roles(Envtest::shared().await, "no-roles").await;
    let replica = deployed.replica(&[]).await;
    let (code, said) = until("a reason", DEADLINE, async || match replica.readyz().await {
        (503, said) if said.contains("forbidden") => Ok((503, said)),
        other => Err(other),
    })
    .await;
    assert!(
        said.starts_with(
            "there is no certificate authority: secrets \"couchdiscover-webhook-ca\" is forbidden: "
        ),
        "{code} {said}"
    );
    deployed.grant().await;
    replica.ready().await;
    deployed.is_asked().await;
    replica.stop().await;
}

async fn seed(deployed: &Deployed, bundle: &Bundle) {
    let data: serde_json::Map<String, Value> =
        bundle.to_fields().into_iter().map(|(name, value)| (name, json!(STANDARD.encode(value)))).collect();
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": { "name": objects::CA_SECRET, "namespace": deployed.home },
        "data": data,
    });
    deployed.admin.create(&secret).await.taken();
}
