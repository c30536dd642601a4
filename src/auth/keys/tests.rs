use super::*;
use crate::domain::keys::{KeyGrant, Previous};

const ID: KeyId = KeyId::new(0x0199_f00d);

fn keys() -> Keys {
    let (user, admin) = ("user-key-0123456".into(), "admin-key-0123456".into());
    let engines = EngineScope::named(["default"]);
    Keys::fixed(Some((&user, USER)), Some(&admin), &engines, Roles::default())
}

fn managed(secret: &str, expires_at: Option<Micros>) -> ApiKey {
    let grant = KeyGrant {
        name: "bot".to_owned(),
        roles: vec!["service".to_owned(), "a removed role".to_owned()],
        engines: vec!["support".to_owned()],
        expires_at,
        rate: Some(KeyRate { requests: 100, window_seconds: 60 }),
        budget: None,
    };
    ApiKey {
        grant,
        hash: ids::Sha256(digest(secret)),
        created_at: 0,
        created_by: "admin".to_owned(),
        rotated_at: None,
        previous: None,
    }
}

fn manage(keys: &Keys, changed: Position, key: ApiKey) {
    keys.manage(changed, [(&ID, &Arc::new(key))]);
}

#[test]
fn each_key_has_its_role() {
    let keys = keys();
    let user = keys.find("user-key-0123456", 0).unwrap();
    let admin = keys.find("admin-key-0123456", 0).unwrap();
    assert_eq!((user.subject.as_str(), user.roles.as_slice()), ("key:user", &["user".into()][..]));
    assert_eq!((admin.subject.as_str(), &admin.engines), ("key:admin", &EngineScope::All));
    for bad in ["", "user-key-012345", "user-key-01234567", "User-key-0123456"] {
        assert_eq!(keys.find(bad, 0), Err(Reason::UnknownApiKey));
    }
    assert_eq!(keys.find(&"x".repeat(513), 0), Err(Reason::TooLong));
}

/// Stored and compared are hashes of equal length, never keys.
#[test]
fn no_key_is_stored_and_all_hashes_are_compared() {
    let keys = keys();
    assert_eq!(keys.fixed.len(), 2);
    for (fixed, key) in keys.fixed.iter().zip(["user-key-0123456", "admin-key-0123456"]) {
        assert_eq!(fixed.0.as_slice(), Sha256::digest(key).as_slice());
    }
    let source = include_str!("../keys.rs");
    let find = source.split("pub fn find").nth(1).unwrap().split("\nfn digest").next().unwrap();
    assert!(find.contains(".ct_eq(") && !find.contains("break") && !find.contains("== key"));
    assert!(find.contains("by_hash.get(&digest)"), "a managed key is looked up by its hash alone");
}

#[test]
fn a_managed_key_has_its_recorded_grant() {
    let keys = keys();
    manage(&keys, 2, managed("managed", None));
    let bot = keys.find("managed", i64::MAX).unwrap();
    assert_eq!(
        (bot.subject.as_str(), bot.name.as_deref()),
        (subject(&ID.to_string()).as_str(), Some("bot"))
    );
    assert_eq!(bot.roles, ["service"], "a role removed from configuration grants nothing");
    assert_eq!(bot.engines, EngineScope::named(["support"]));
    assert_eq!(bot.rate, Rate::new(100, 60, Some(20)));
    assert!(keys.find("user-key-0123456", 0).is_ok(), "keys of configuration still work");
}

#[test]
fn managed_keys_are_added_removed_and_expire() {
    let keys = keys();
    manage(&keys, 2, managed("managed", Some(100_999_999)));
    assert!(keys.find("managed", 99).is_ok());
    assert_eq!(keys.find("managed", 100), Err(Reason::Expired));
    keys.manage(3, []);
    assert_eq!(keys.find("managed", 99), Err(Reason::UnknownApiKey));
}

#[test]
fn an_older_update_does_not_restore_a_revoked_key() {
    let keys = keys();
    keys.manage(3, []);
    manage(&keys, 2, managed("managed", None));
    assert_eq!(keys.find("managed", 0), Err(Reason::UnknownApiKey));
}

#[test]
fn the_previous_secret_is_valid_for_its_grace_period() {
    let keys = keys();
    let hash = ids::Sha256(digest("before"));
    for (ends, last) in [(None, 49), (Some(30_000_000), 29)] {
        let previous = Some(Previous { hash, until: 50_000_000 });
        manage(
            &keys,
            keys.managed.load().changed + 1,
            ApiKey { previous, ..managed("after", ends) },
        );
        assert_eq!(
            keys.find("before", last).unwrap().subject,
            keys.find("after", 0).unwrap().subject
        );
        assert_eq!(keys.find("before", last + 1), Err(Reason::Expired));
    }
}

#[test]
fn a_secret_has_the_pattern_of_secret_scanners_and_is_unique() {
    let (secret, hash) = mint(ID).unwrap();
    let text = secret.expose_secret();
    let rest = text.strip_prefix(&format!("{PREFIX}{ID}_")).unwrap();
    assert_eq!(hex::decode(rest).unwrap().len(), 32);
    assert_eq!(hash.0, digest(text));
    assert!(text.len() <= KEY_BYTES_MAX && !crate::auth::token::is_jwt_shaped(text));
    assert_ne!(mint(ID).unwrap().1, hash);
}
