//! An authority's life, and what disturbs it.

#![allow(clippy::unwrap_used, reason = "a test that panics has said what it has to say")]

use certs::rotation::{LeafStep, Served, Step, carry_out, next, next_leaf};
use certs::{Bundle, Fields, Leaf, Terms};
use time::{Duration, OffsetDateTime};

const NAME: &str = "webhook";

fn start() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap()
}

fn terms() -> Terms {
    Terms::default()
}

fn founded(now: OffsetDateTime) -> Bundle {
    carry_out(Step::Found, None, NAME, terms(), now).unwrap().unwrap()
}

fn done(step: Step, bundle: &Bundle, now: OffsetDateTime) -> Bundle {
    carry_out(step, Some(bundle), NAME, terms(), now).unwrap().unwrap()
}

fn leaf(bundle: &Bundle, now: OffsetDateTime) -> Leaf {
    bundle.leaf(&["webhook.shop.svc".to_owned()], terms(), now).unwrap()
}

/// What a Secret makes of it: written by one replica, read by another.
fn stored(bundle: &Bundle) -> Bundle {
    Bundle::from_fields(&bundle.to_fields()).unwrap()
}

const SETTLED: Option<Duration> = Some(Duration::hours(17));

#[test]
fn a_year_and_a_half_of_rotation() {
    let mut now = start();
    assert_eq!(next(None, None, terms(), now), Step::Found);
    let mut bundle = founded(now);
    let first = bundle.current().certificate().clone();
    let Step::Wait { until } = next(Some(&bundle), SETTLED, terms(), now) else { panic!("{bundle:?}") };
    assert!(until - now > Duration::days(240) && until - now < Duration::days(245), "{until}");

    now = until;
    assert_eq!(next(Some(&bundle), SETTLED, terms(), now), Step::Bring);
    bundle = stored(&done(Step::Bring, &bundle, now));
    assert_eq!((bundle.certificates().len(), bundle.current().certificate()), (2, &first));
    let published = bundle.pem();

    for too_short in [None, Some(Duration::ZERO), Some(Duration::hours(16))] {
        assert_eq!(next(Some(&bundle), too_short, terms(), now), Step::AwaitPublication);
    }
    assert_eq!(next(Some(&bundle), SETTLED, terms(), now), Step::Promote);
    bundle = stored(&done(Step::Promote, &bundle, now));
    let second = bundle.current().certificate().clone();
    assert_ne!(second, first);
    assert_eq!(bundle.pem(), published, "beginning to sign changes nothing of what is published");

    let Step::Wait { until } = next(Some(&bundle), SETTLED, terms(), now) else { panic!("{bundle:?}") };
    assert_eq!(until, now + Leaf::LIFETIME, "what it signed last is gone then");
    now = until;
    assert_eq!(next(Some(&bundle), SETTLED, terms(), now), Step::Forget);
    bundle = stored(&done(Step::Forget, &bundle, now));
    assert_eq!(bundle.certificates(), [&second]);
    assert!(matches!(next(Some(&bundle), SETTLED, terms(), now), Step::Wait { .. }));
}

#[test]
fn a_leaf_is_renewed_after_two_thirds_and_not_before_its_authority_is_published() {
    let bundle = founded(start());
    let served = leaf(&bundle, start());
    let now = |days| start() + Duration::days(days);
    let asked = |bundle: &Bundle, days, published| {
        let served = Served { validity: served.validity(), issuer: bundle.current().certificate() };
        next_leaf(bundle, Some(served), published, now(days))
    };
    assert_eq!(next_leaf(&bundle, None, false, now(0)), LeafStep::Mint, "any leaf is better than none");
    assert_eq!(asked(&bundle, 4, true), LeafStep::Keep);
    assert_eq!(asked(&bundle, 5, true), LeafStep::Mint);
    assert_eq!(asked(&bundle, 5, false), LeafStep::Keep, "callers would not accept another one");
    assert_eq!(asked(&bundle, 8, false), LeafStep::Mint, "nor this one");
    assert_eq!(asked(&bundle, -1, true), LeafStep::Mint, "the clock jumped back");
}

#[test]
fn a_leaf_outlives_the_retirement_of_its_authority_but_not_its_end() {
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
fn every_leaf_is_trusted_by_what_is_published_while_it_is_served() {
    // Three replicas that look once an hour, each at its own minute, over three years; what is published is what the
    // first to look has made of the Secret.
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
                next(Some(&bundle), Some(now - published_at), terms(), now),
                Some(&bundle),
                NAME,
                terms(),
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
fn an_expired_authority_is_replaced_at_once_and_by_its_follower_if_it_has_one() {
    let old = founded(start());
    let late = start() + Duration::days(366);
    assert_eq!(next(Some(&old), SETTLED, terms(), late), Step::Replace);
    let replaced = stored(&done(Step::Replace, &old, late));
    assert!(replaced.current().validity().contains(late));
    assert!(
        replaced.trusts(old.current().certificate()),
        "should this clock be wrong, others serve its leaves"
    );
    leaf(&replaced, late);

    let brought = done(Step::Bring, &old, start() + Duration::days(250));
    assert_eq!(next(Some(&brought), None, terms(), late), Step::Promote, "published or not");
    assert!(done(Step::Promote, &brought, late).current().validity().contains(late));
}

#[test]
fn an_authority_from_the_future_is_replaced_and_a_small_jump_changes_nothing() {
    let bundle = founded(start());
    let asked = |jump| next(Some(&bundle), SETTLED, terms(), start() + jump);
    assert!(matches!(asked(-Duration::minutes(59)), Step::Wait { .. }));
    assert!(matches!(asked(Duration::days(200)), Step::Wait { .. }));
    assert_eq!(asked(-Duration::days(1)), Step::Replace);
    assert_eq!(asked(Duration::days(250)), Step::Bring, "early, and with its overlap");
}

#[test]
fn a_follower_that_cannot_follow_is_made_anew() {
    let now = start() + Duration::days(250);
    let brought = done(Step::Bring, &founded(start()), start() + Duration::days(700));
    assert_eq!(next(Some(&brought), SETTLED, terms(), now), Step::Bring);
    let again = done(Step::Bring, &brought, now);
    assert_eq!(again.certificates().len(), 2);
    assert!(again.incoming().unwrap().validity().contains(now));
}

#[test]
fn retiring_ones_do_not_pile_up() {
    let mut bundle = founded(start());
    for _ in 0..10 {
        bundle = done(Step::Replace, &bundle, start());
    }
    assert_eq!(bundle.certificates().len(), 5);
}

#[test]
fn every_stage_survives_being_written_and_read() {
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
fn garbage_is_told_from_a_bundle() {
    let good = done(Step::Promote, &done(Step::Bring, &founded(start()), start()), start()).to_fields();
    let with = |name: &str, value: &[u8]| {
        let mut fields = good.clone();
        fields.insert(name.to_owned(), value.to_vec());
        fields
    };
    let refused = |fields: &Fields| {
        let error = Bundle::from_fields(fields).unwrap_err();
        let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        format!("{error}: {cause}")
    };
    let mut without = good.clone();
    without.remove("ca.key");
    let said = [
        refused(&Fields::new()),
        refused(&without),
        refused(&with("ca.crt", b"garbage")),
        refused(&with("ca.key", b"\xff")),
        refused(&with("ca.key", founded(start()).current().key_pem().as_bytes())),
    ];
    insta::assert_snapshot!(said.join("\n"), @"
    there is no key 'ca.crt': 
    there is no key 'ca.key': 
    'ca.crt' and 'ca.key' are no certificate authority: unable to read a certificate: expected PEM that starts with '-----BEGIN CERTIFICATE-----'
    the value of 'ca.key' is not text: 
    'ca.crt' and 'ca.key' are no certificate authority: the private key does not belong to the certificate: give the two that were made together
    ");
    for (name, value) in
        [("incoming.crt", "garbage"), ("retiring.crt", "garbage"), ("retiring-until", "soon")]
    {
        let read = Bundle::from_fields(&with(name, value.as_bytes())).unwrap();
        assert_eq!(read.current().key_pem().as_bytes(), good["ca.key"], "{name}");
    }
}

#[test]
fn no_key_shows_in_debug() {
    let bundle = done(Step::Bring, &founded(start()), start());
    let shown = format!("{bundle:?}");
    assert!(!shown.contains("PRIVATE") && !shown.contains("serialized_der"), "{shown}");
}
