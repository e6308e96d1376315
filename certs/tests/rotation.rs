//! The rotation of an authority: over years, with clocks that jump, and with Secrets that are damaged.

#![allow(clippy::unwrap_used, reason = "a panic is a test's failure message")]

use certs::rotation::{LeafStep, Served, Step, carry_out, next, next_leaf};
use certs::{Bundle, Fields, Leaf, Lifetimes};
use contract::error::chain;
use time::{Duration, OffsetDateTime};

const NAME: &str = "webhook";

fn start() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap()
}

fn lifetimes() -> Lifetimes {
    Lifetimes::default()
}

fn founded(now: OffsetDateTime) -> Bundle {
    carry_out(Step::Found, None, NAME, lifetimes(), now).unwrap().unwrap()
}

fn done(step: Step, bundle: &Bundle, now: OffsetDateTime) -> Bundle {
    carry_out(step, Some(bundle), NAME, lifetimes(), now).unwrap().unwrap()
}

fn leaf(bundle: &Bundle, now: OffsetDateTime) -> Leaf {
    bundle.leaf(&["webhook.shop.svc".to_owned()], lifetimes(), now).unwrap()
}

/// The bundle as another replica reads it from the Secret.
fn stored(bundle: &Bundle) -> Bundle {
    Bundle::from_fields(&bundle.to_fields()).unwrap()
}

/// More than the 16.8 hours that an authority must be published before it signs.
const SETTLED: Option<Duration> = Some(Duration::hours(17));

#[test]
fn an_authority_is_followed_by_the_next_one_and_then_forgotten() {
    let mut now = start();
    assert_eq!(next(None, None, lifetimes(), now), Step::Found);
    let mut bundle = founded(now);
    let first = bundle.current().certificate().clone();
    let Step::Wait { until } = next(Some(&bundle), SETTLED, lifetimes(), now) else { panic!("{bundle:?}") };
    assert!(until - now > Duration::days(240) && until - now < Duration::days(245), "{until}");

    now = until;
    assert_eq!(next(Some(&bundle), SETTLED, lifetimes(), now), Step::Bring);
    bundle = stored(&done(Step::Bring, &bundle, now));
    assert_eq!((bundle.certificates().len(), bundle.current().certificate()), (2, &first));
    let published = bundle.pem();

    for too_short in [None, Some(Duration::ZERO), Some(Duration::hours(16))] {
        assert_eq!(next(Some(&bundle), too_short, lifetimes(), now), Step::AwaitPublication);
    }
    assert_eq!(next(Some(&bundle), SETTLED, lifetimes(), now), Step::Promote);
    bundle = stored(&done(Step::Promote, &bundle, now));
    let second = bundle.current().certificate().clone();
    assert_ne!(second, first);
    assert_eq!(
        bundle.pem(),
        published,
        "the published text does not change when an authority begins to sign"
    );

    let Step::Wait { until } = next(Some(&bundle), SETTLED, lifetimes(), now) else { panic!("{bundle:?}") };
    assert_eq!(until, now + lifetimes().leaf, "its last leaf has expired then");
    now = until;
    assert_eq!(next(Some(&bundle), SETTLED, lifetimes(), now), Step::Forget);
    bundle = stored(&done(Step::Forget, &bundle, now));
    assert_eq!(bundle.certificates(), [&second]);
    assert!(matches!(next(Some(&bundle), SETTLED, lifetimes(), now), Step::Wait { .. }));
}

#[test]
fn a_leaf_is_renewed_after_two_thirds_but_not_by_an_unpublished_authority() {
    let bundle = founded(start());
    let served = leaf(&bundle, start());
    let now = |days| start() + Duration::days(days);
    let decided = |bundle: &Bundle, days, published| {
        let served = Served { validity: served.validity(), issuer: bundle.current().certificate() };
        next_leaf(bundle, Some(served), published, now(days))
    };
    assert_eq!(next_leaf(&bundle, None, false, now(0)), LeafStep::Mint, "any leaf is better than none");
    assert_eq!(decided(&bundle, 4, true), LeafStep::Keep);
    assert_eq!(decided(&bundle, 5, true), LeafStep::Mint);
    assert_eq!(decided(&bundle, 5, false), LeafStep::Keep, "callers would not accept a new leaf");
    assert_eq!(decided(&bundle, 8, false), LeafStep::Mint, "callers do not accept the old leaf either");
    assert_eq!(decided(&bundle, -1, true), LeafStep::Mint, "the clock jumped back");
}

#[test]
fn a_leaf_is_kept_while_its_authority_retires_and_replaced_when_it_is_forgotten() {
    let old = founded(start());
    let served = leaf(&old, start());
    let served = Served { validity: served.validity(), issuer: old.current().certificate() };
    let now = start() + Duration::days(1);
    let brought = done(Step::Bring, &old, now);
    let promoted = done(Step::Promote, &brought, now);
    assert!(promoted.trusts(old.current().certificate()));
    assert_eq!(next_leaf(&promoted, Some(served), true, now), LeafStep::Keep);
    let forgotten = done(Step::Forget, &promoted, now);
    assert!(!forgotten.trusts(old.current().certificate()));
    assert_eq!(next_leaf(&forgotten, Some(served), true, now), LeafStep::Mint);
}

#[test]
fn every_served_leaf_is_trusted_by_the_published_bundle() {
    // Three replicas over three years. Each decides once an hour, at a different minute; a change is published at once.
    let mut now = start();
    let mut secret = founded(now).to_fields();
    let mut published_at = now;
    let mut leaves: [Option<(Leaf, rustls_pki_types::CertificateDer<'static>)>; 3] = [None, None, None];
    let (mut authorities, mut renewals) = (std::collections::BTreeSet::new(), 0);
    while now < start() + Duration::days(3 * 365) {
        for leaf_of in &mut leaves {
            now += Duration::minutes(20);
            let mut bundle = Bundle::from_fields(&secret).unwrap();
            let before = bundle.pem();
            if let Some(changed) = carry_out(
                next(Some(&bundle), Some(now - published_at), lifetimes(), now),
                Some(&bundle),
                NAME,
                lifetimes(),
                now,
            )
            .unwrap()
            {
                bundle = stored(&changed);
                secret = changed.to_fields();
            }
            if bundle.pem() != before {
                published_at = now;
            }
            authorities.insert(bundle.current().certificate().to_vec());
            let served = leaf_of.as_ref().map(|(leaf, issuer)| Served { validity: leaf.validity(), issuer });
            if next_leaf(&bundle, served, true, now) == LeafStep::Mint {
                *leaf_of = Some((leaf(&bundle, now), bundle.current().certificate().clone()));
                renewals += 1;
            }
        }
        let bundle = Bundle::from_fields(&secret).unwrap();
        for (leaf, issuer) in leaves.iter().flatten() {
            assert!(bundle.trusts(issuer) && leaf.validity().contains(now), "{now}");
        }
    }
    assert_eq!(authorities.len(), 5, "243 days each");
    assert!((600..800).contains(&renewals), "{renewals}");
}

#[test]
fn an_expired_authority_is_replaced_at_once_if_possible_by_its_successor() {
    let old = founded(start());
    let late = start() + Duration::days(366);
    assert_eq!(next(Some(&old), SETTLED, lifetimes(), late), Step::Replace);
    let replaced = stored(&done(Step::Replace, &old, late));
    assert!(replaced.current().validity().contains(late));
    assert!(
        replaced.trusts(old.current().certificate()),
        "if this clock is wrong, the other replicas still serve its leaves"
    );
    leaf(&replaced, late);

    let brought = done(Step::Bring, &old, start() + Duration::days(250));
    assert_eq!(next(Some(&brought), None, lifetimes(), late), Step::Promote, "even if it is not published");
    assert!(done(Step::Promote, &brought, late).current().validity().contains(late));
}

#[test]
fn an_authority_that_is_not_valid_yet_is_replaced_but_a_small_jump_changes_nothing() {
    let bundle = founded(start());
    let decided = |jump| next(Some(&bundle), SETTLED, lifetimes(), start() + jump);
    assert!(matches!(decided(-Duration::minutes(59)), Step::Wait { .. }));
    assert!(matches!(decided(Duration::days(200)), Step::Wait { .. }));
    assert_eq!(decided(-Duration::days(1)), Step::Replace);
    assert_eq!(decided(Duration::days(250)), Step::Bring, "early, and with its overlap");
}

#[test]
fn an_incoming_authority_that_is_not_valid_is_replaced() {
    let now = start() + Duration::days(250);
    let brought = done(Step::Bring, &founded(start()), start() + Duration::days(700));
    assert_eq!(next(Some(&brought), SETTLED, lifetimes(), now), Step::Bring);
    let again = done(Step::Bring, &brought, now);
    assert_eq!(again.certificates().len(), 2);
    assert!(again.incoming().unwrap().validity().contains(now));
}

#[test]
fn at_most_four_authorities_retire_at_a_time() {
    let mut bundle = founded(start());
    for _ in 0..10 {
        bundle = done(Step::Replace, &bundle, start());
    }
    assert_eq!(bundle.certificates().len(), 5);
}

#[test]
fn every_stage_can_be_written_and_read() {
    let now = start();
    let found = founded(now);
    let brought = done(Step::Bring, &found, now);
    let promoted = done(Step::Promote, &brought, now);
    let all = done(Step::Bring, &promoted, now);
    for bundle in [found, brought, promoted, all] {
        let read = stored(&bundle);
        assert_eq!(read.pem(), bundle.pem());
        assert_eq!(read.current().certificate(), bundle.current().certificate());
        assert_eq!(read.retiring(), bundle.retiring());
        assert_eq!(
            read.incoming().map(certs::Authority::key_pem),
            bundle.incoming().map(certs::Authority::key_pem)
        );
        assert_eq!(read.to_fields(), bundle.to_fields());
    }
}

#[test]
fn damaged_fields_are_rejected_or_left_out() {
    let good = done(Step::Promote, &done(Step::Bring, &founded(start()), start()), start()).to_fields();
    let with = |name: &str, value: &[u8]| {
        let mut fields = good.clone();
        fields.insert(name.to_owned(), value.to_vec());
        fields
    };
    let error = |fields: &Fields| chain(&Bundle::from_fields(fields).unwrap_err());
    let mut without = good.clone();
    without.remove("ca.key");
    let errors = [
        error(&Fields::new()),
        error(&without),
        error(&with("ca.crt", b"garbage")),
        error(&with("ca.key", b"\xff")),
        error(&with("ca.key", founded(start()).current().key_pem().as_bytes())),
    ];
    insta::assert_snapshot!(errors.join("\n"), @"
    key 'ca.crt' is missing
    key 'ca.key' is missing
    'ca.crt' and 'ca.key' are not a certificate authority: unable to read a certificate: expected PEM that starts with '-----BEGIN CERTIFICATE-----': no items found
    the value of 'ca.key' is not text
    'ca.crt' and 'ca.key' are not a certificate authority: the private key does not belong to the certificate: use a pair that was generated together
    ");
    for (name, value) in
        [("incoming.crt", "garbage"), ("retiring.crt", "garbage"), ("retiring-until", "soon")]
    {
        let read = Bundle::from_fields(&with(name, value.as_bytes())).unwrap();
        assert_eq!(read.current().key_pem().as_bytes(), good["ca.key"], "{name}");
    }
}

#[test]
fn debug_output_contains_no_key() {
    let bundle = done(Step::Bring, &founded(start()), start());
    let output = format!("{bundle:?}");
    assert!(!output.contains("PRIVATE") && !output.contains("serialized_der"), "{output}");
}
