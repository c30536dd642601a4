//! API keys: the log alone determines the valid keys, and their number is limited.

use proptest::prelude::*;

use super::{
    Log,
    driver::{Row, small_policy},
};
use crate::domain::{
    budget::Amount,
    command::{Command, CreateKey, Refusal, RevokeKey, RotateKey},
    digest,
    event::{Envelope, Event, KeyCreated, KeyRevoked},
    evolve::evolve,
    ids::{KeyId, Micros, Sha256},
    keys::{ApiKey, GRACE_SECONDS_MAX, KEYS_MAX, KeyGrant, KeyRate},
    state::State,
};

const SECOND: Micros = 1_000_000;

fn grant(expires_at: Option<Micros>) -> KeyGrant {
    KeyGrant {
        name: "bot".to_owned(),
        roles: vec!["service".to_owned()],
        engines: vec!["default".to_owned()],
        expires_at,
        rate: None,
        budget: None,
    }
}

fn id(n: u64) -> KeyId {
    KeyId::new(u128::from(n))
}

/// The hash of the `secret`-th secret of key `n`.
fn hash(n: u64, secret: u8) -> Sha256 {
    let mut bytes = [secret; 32];
    bytes[..8].copy_from_slice(&n.to_be_bytes());
    Sha256(bytes)
}

impl Log {
    fn create(&mut self, n: u64, grant: KeyGrant) -> Result<Vec<Event>, Refusal> {
        let actor = "admin".to_owned();
        let create = CreateKey { id: id(n), hash: hash(n, 0), grant, actor };
        self.when(&Command::CreateKey(Box::new(create)))
    }

    fn revoke(&mut self, n: u64) -> Result<Vec<Event>, Refusal> {
        self.when(&Command::RevokeKey(RevokeKey { id: id(n), actor: "admin".to_owned() }))
    }

    fn rotate(&mut self, n: u64, secret: u8, grace_seconds: u32) -> Result<Vec<Event>, Refusal> {
        let (id, hash, actor) = (id(n), hash(n, secret), "admin".to_owned());
        self.when(&Command::RotateKey(RotateKey { id, hash, grace_seconds, actor }))
    }

    fn key(&self, n: u64) -> Option<&ApiKey> {
        self.state.keys.get(id(n)).map(|key| &**key)
    }
}

#[test]
fn a_key_is_created_rotated_and_revoked() {
    let mut log = Log::new();
    log.create(7, grant(None)).unwrap();
    let created = log.now;
    assert_eq!(log.create(7, grant(None)), Err(Refusal::KeyExists));
    log.rotate(7, 1, 0).unwrap();
    let key = log.key(7).unwrap();
    assert_eq!(
        (key.hash, key.previous),
        (hash(7, 1), None),
        "without a grace period the previous secret is invalid"
    );
    assert_eq!((key.created_at, key.rotated_at), (created, Some(log.now)));
    log.rotate(7, 2, 60).unwrap();
    let previous = log.key(7).unwrap().previous.unwrap();
    assert_eq!((previous.hash, previous.until), (hash(7, 1), log.now + 60 * SECOND));
    log.assert_replays();
    log.revoke(7).unwrap();
    assert!(log.key(7).is_none());
    assert_eq!(log.state.keys.changed(), log.state.position);
    for gone in [log.revoke(7), log.rotate(7, 3, 0)] {
        assert_eq!(gone, Err(Refusal::NoKey { id: id(7) }));
    }
    log.assert_replays();
}

#[test]
fn an_expired_key_is_only_listed() {
    let mut log = Log::new();
    let end = log.now + SECOND;
    log.create(1, grant(Some(end))).unwrap();
    log.now = end - 1;
    assert_eq!(log.rotate(1, 1, 0), Err(Refusal::NoKey { id: id(1) }));
    assert!(log.key(1).is_some_and(|key| key.is_expired(end) && !key.is_expired(end - 1)));
    log.create(2, grant(None)).unwrap();
    assert!(log.key(1).is_none(), "the next created key replaces it");
    let Err(Refusal::Key(bad)) = log.create(3, grant(Some(end))) else {
        panic!("an expiry in the past was accepted")
    };
    assert_eq!(bad.field, "expires_at");
    log.assert_replays();
}

#[test]
fn a_violated_bound_is_named() {
    let mut log = Log::new();
    let named = |name: &str| KeyGrant { name: name.to_owned(), ..grant(None) };
    let roles = |roles: &[&str]| KeyGrant {
        roles: roles.iter().map(|role| (*role).to_owned()).collect(),
        ..grant(None)
    };
    let engines = |engines: &[&str]| KeyGrant {
        engines: engines.iter().map(|engine| (*engine).to_owned()).collect(),
        ..grant(None)
    };
    let rate = |requests, window_seconds| KeyGrant {
        rate: Some(KeyRate { requests, window_seconds }),
        ..grant(None)
    };
    let refused = [
        ("name", named("")),
        ("name", named(" bot")),
        ("name", named("two\nlines")),
        ("name", named(&"x".repeat(101))),
        ("roles", roles(&[])),
        ("roles", roles(&["user"; 17])),
        ("engines", engines(&[])),
        ("engines", engines(&["*", "default"])),
        ("engines", engines(&["Not an engine"])),
        ("engines", engines(&["_system"])),
        ("rate", rate(0, 60)),
        ("rate", rate(1, 0)),
        ("rate", rate(1, 86_401)),
        ("budget", KeyGrant { budget: Some(Amount::default()), ..grant(None) }),
    ];
    for (field, grant) in refused {
        let Err(Refusal::Key(bad)) = log.create(1, grant.clone()) else { panic!("{grant:?}") };
        assert_eq!(bad.field, field);
    }
    for good in [engines(&["*"]), rate(1_000_000, 86_400), roles(&["user"; 16])] {
        good.validate(log.now).unwrap();
    }
    log.create(1, grant(None)).unwrap();
    let Err(Refusal::Key(bad)) = log.rotate(1, 1, GRACE_SECONDS_MAX + 1) else {
        panic!("too long a grace period was accepted")
    };
    assert_eq!(bad.field, "grace_seconds");
}

#[test]
fn the_number_of_valid_keys_is_limited() {
    let mut log = Log::new();
    let end = log.now + 3_600 * SECOND;
    for n in 0..KEYS_MAX as u64 {
        log.create(n, grant((n == 0).then_some(end))).unwrap();
    }
    assert_eq!(log.create(KEYS_MAX as u64, grant(None)), Err(Refusal::TooManyKeys));
    log.now = end;
    log.create(KEYS_MAX as u64, grant(None)).unwrap();
    assert_eq!(log.state.keys.iter().len(), KEYS_MAX, "an expired key was replaced");
    assert_eq!(log.create(0, grant(None)), Err(Refusal::TooManyKeys));
    log.revoke(1).unwrap();
    log.create(0, grant(None)).unwrap();
}

#[test]
fn every_field_of_a_key_is_in_the_digest() {
    let digest_of = |change: fn(&mut KeyGrant), secret| {
        let mut log = Log::of(small_policy());
        let mut grant = grant(None);
        change(&mut grant);
        log.create(1, grant).unwrap();
        if secret > 0 {
            log.rotate(1, secret, u32::from(secret)).unwrap();
        }
        digest::state(&log.state)
    };
    let rate = |grant: &mut KeyGrant| {
        grant.rate = Some(KeyRate { requests: 1, window_seconds: 1 });
    };
    let budget = |grant: &mut KeyGrant| {
        grant.budget = Some(Amount { tokens: 1, cost_micro_usd: 0 });
    };
    let digests = [
        digest_of(|_| {}, 0),
        digest_of(|_| {}, 1),
        digest_of(|_| {}, 2),
        digest_of(|grant| grant.name.push('!'), 0),
        digest_of(|grant| grant.roles.push("user".to_owned()), 0),
        digest_of(|grant| grant.engines.push("other".to_owned()), 0),
        digest_of(|grant| grant.expires_at = Some(Micros::MAX), 0),
        digest_of(rate, 0),
        digest_of(budget, 0),
    ];
    let different: std::collections::BTreeSet<_> = digests.iter().collect();
    assert_eq!(different.len(), digests.len());
}

#[test]
fn an_event_that_contradicts_the_state_is_damage() {
    let mut log = Log::new();
    log.create(1, grant(None)).unwrap();
    let before = digest::state(&log.state);
    let actor = "admin".to_owned();
    let again =
        KeyCreated { id: id(1), hash: hash(1, 0), grant: grant(None), actor: actor.clone() };
    let events =
        [Event::KeyCreated(Box::new(again)), Event::KeyRevoked(KeyRevoked { id: id(2), actor })];
    for event in events {
        let position = log.state.position + 1;
        let envelope = Envelope { position, ..log.rows[1].envelope.clone() };
        evolve(&mut log.state, &envelope, &event, None).unwrap_err();
        assert_eq!(digest::state(&log.state), before);
    }
}

#[derive(Clone, Debug)]
enum Act {
    Create(u64, Option<i64>),
    Revoke(u64),
    Rotate(u64, u8, u32),
    Wait(i64),
}

fn act() -> impl Strategy<Value = Act> {
    let key = 0..12_u64;
    prop_oneof![
        3 => (key.clone(), proptest::option::of(1..90_i64)).prop_map(|(n, ttl)| Act::Create(n, ttl)),
        1 => key.clone().prop_map(Act::Revoke),
        2 => (key, 1..=255_u8, 0..120_u32).prop_map(|(n, s, grace)| Act::Rotate(n, s, grace)),
        1 => (1..60_i64).prop_map(Act::Wait),
    ]
}

/// True if a server would accept the secret.
fn counts(state: &State, secret: Sha256, now: Micros) -> bool {
    state.keys.iter().any(|(_, key)| {
        let previous = key.previous.is_some_and(|p| p.hash == secret && now < p.until);
        !key.is_expired(now) && (key.hash == secret || previous)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// After any sequence of actions, revoked and expired secrets are invalid, and a replay agrees.
    #[test]
    fn no_secret_is_valid_longer_than_its_key(acts in proptest::collection::vec(act(), 1..80)) {
        let mut log = Log::new();
        let mut secrets = std::collections::BTreeSet::new();
        for act in acts {
            match act {
                Act::Create(n, ttl) => {
                    let end = ttl.map(|ttl| log.now + ttl * SECOND);
                    if log.create(n, grant(end)).is_ok() {
                        secrets.insert(hash(n, 0));
                    }
                }
                Act::Revoke(n) => if log.revoke(n).is_ok() {
                    let own = |secret: &&Sha256| secret.0[..8] == n.to_be_bytes();
                    for secret in secrets.iter().filter(own) {
                        prop_assert!(!counts(&log.state, *secret, log.now));
                    }
                },
                Act::Rotate(n, secret, grace) => if log.rotate(n, secret, grace).is_ok() {
                    secrets.insert(hash(n, secret));
                    let counting = secrets.iter().filter(|secret| {
                        secret.0[..8] == n.to_be_bytes() && counts(&log.state, **secret, log.now)
                    });
                    prop_assert!(counting.count() <= 2, "the new and the previous secret");
                },
                Act::Wait(time) => log.now += time * SECOND,
            }
        }
        let keys: usize = log.state.keys.iter().len();
        prop_assert!(keys <= 12 && log.state.keys.count(log.now) <= keys);
        let events = log.rows.iter().filter(|row: &&Row| matches!(row.event, Event::KeyCreated(_)));
        prop_assert!(events.count() >= keys);
        log.assert_replays();
    }
}
