use serde_json::json;

use super::*;
use crate::domain::permission::Permissions;

const NOW: i64 = 1_700_000_000;

fn rules() -> Rules {
    Rules {
        issuer: "https://issuer.example/".to_owned(),
        audience: "mlsdm".to_owned(),
        algorithms: vec![Algorithm::RS256],
        roles_claim: "roles".to_owned(),
        engines_claim: "mlsdm_engines".to_owned(),
        default_roles: Vec::new(),
        default_engine: EngineId::default(),
        method: Method::Oidc,
    }
}

/// Valid claims with some changed; null removes a claim.
fn claims(changes: &Value) -> Map<String, Value> {
    let mut claims = json!({
        "iss": "https://issuer.example/", "aud": "mlsdm", "sub": "ann",
        "iat": NOW - 10, "exp": NOW + 60, "roles": ["user"],
    });
    let claims = claims.as_object_mut().unwrap();
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims.remove(name);
        } else {
            claims.insert(name.clone(), value.clone());
        }
    }
    claims.clone()
}

fn read(rules: &Rules, changes: &Value) -> Result<Principal, Reason> {
    rules.principal(&claims(changes), &Roles::default(), NOW)
}

#[test]
fn valid_claims_become_a_principal() {
    let ann = read(&rules(), &json!({"name": "Ann B."})).unwrap();
    assert_eq!((ann.subject.as_str(), ann.name.as_deref()), ("ann", Some("Ann B.")));
    assert_eq!((ann.roles.as_slice(), ann.expires_at), (&["user".to_owned()][..], Some(NOW + 60)));
    assert!(ann.engines.contains(&EngineId::default()));
    assert!(!ann.engines.contains(&"support".parse().unwrap()));
}

#[test]
fn every_claim_is_checked() {
    let cases = [
        (json!({"iss": "https://issuer.example"}), Reason::Issuer),
        (json!({"iss": "https://ISSUER.example/"}), Reason::Issuer),
        (json!({"iss": null}), Reason::Claim),
        (json!({"iss": ["https://issuer.example/"]}), Reason::Claim),
        (json!({"aud": null}), Reason::Claim),
        (json!({"aud": ""}), Reason::Audience),
        (json!({"aud": []}), Reason::Audience),
        (json!({"aud": "mlsdm "}), Reason::Audience),
        (json!({"aud": "mlsdm-other"}), Reason::Audience),
        (json!({"aud": ["other", "MLSDM"]}), Reason::Audience),
        (json!({"aud": ["mlsdm", 7]}), Reason::Claim),
        (json!({"aud": {"mlsdm": true}}), Reason::Claim),
        (json!({"exp": null}), Reason::Claim),
        (json!({"exp": "tomorrow"}), Reason::Claim),
        (json!({"exp": 1e300}), Reason::Claim),
        (json!({"exp": NOW - 30}), Reason::Expired),
        (json!({"iat": null}), Reason::Claim),
        (json!({"iat": NOW + 31}), Reason::NotYetValid),
        (json!({"nbf": NOW + 31}), Reason::NotYetValid),
        (json!({"nbf": "now"}), Reason::Claim),
        (json!({"sub": null}), Reason::Claim),
        (json!({"sub": ""}), Reason::Claim),
        (json!({"sub": " ann"}), Reason::Claim),
        (json!({"sub": 7}), Reason::Claim),
        (json!({"sub": "a\nb"}), Reason::Claim),
        (json!({"sub": "x".repeat(256)}), Reason::Claim),
        (json!({"sub": "key:admin"}), Reason::Claim),
        (json!({"sub": "anonymous"}), Reason::Claim),
    ];
    for (changes, reason) in cases {
        assert_eq!(read(&rules(), &changes), Err(reason), "{changes}");
    }
}

#[test]
fn clock_skew_is_tolerated_and_times_may_be_fractions() {
    for changes in [
        json!({"exp": NOW - 29}),
        json!({"nbf": NOW + 30, "iat": NOW + 30}),
        json!({"exp": NOW as f64 + 0.5, "iat": NOW as f64 - 0.5}),
        json!({"aud": ["other", "mlsdm"]}),
    ] {
        assert!(read(&rules(), &changes).is_ok(), "{changes}");
    }
}

#[test]
fn roles_are_found_by_name_url_and_path_and_match_exactly() {
    let url = "https://example.com/roles";
    let cases = [
        ("roles", json!({"roles": "admin"}), vec!["admin"]),
        ("roles", json!({"roles": ["admin", "stranger", "user"]}), vec!["admin", "user"]),
        (url, json!({url: ["auditor"]}), vec!["auditor"]),
        ("realm_access.roles", json!({"realm_access": {"roles": ["user"]}}), vec!["user"]),
        ("realm_access.roles", json!({"realm_access.roles": "operator"}), vec!["operator"]),
        ("realm_access.roles", json!({"realm_access": ["user"]}), vec![]),
        ("roles", json!({"roles": "admin "}), vec![]),
        ("scp", json!({"scp": "openid user service"}), vec!["user", "service"]),
        ("scp", json!({"scp": "openid  user"}), vec![]),
        ("scp", json!({"scp": ["openid user"]}), vec![]),
        (
            "resource_access.\"my.client\".roles",
            json!({"resource_access": {"my.client": {"roles": ["user"]}}}),
            vec!["user"],
        ),
        (
            "\"https://x.example/a\".roles",
            json!({"https://x.example/a": {"roles": "user"}}),
            vec!["user"],
        ),
        ("a.\"b", json!({"a": {"b": "user"}}), vec![]),
        ("a.\"b\"c", json!({"a": {"b": "user"}}), vec![]),
        ("roles", json!({"roles": ["Admin"]}), vec![]),
        ("roles", json!({"roles": {"admin": true}}), vec![]),
        ("roles", json!({"roles": [["admin"]]}), vec![]),
        ("roles", json!({"roles": ["admin", 1]}), vec![]),
        ("roles", json!({"roles": 1}), vec![]),
        ("roles", json!({"roles": null}), vec![]),
    ];
    for (name, changes, expected) in cases {
        let rules = Rules { roles_claim: name.to_owned(), ..rules() };
        assert_eq!(read(&rules, &changes).unwrap().roles, expected, "{name} {changes}");
    }
    let known = [("Staff admin", Permissions::of(&[Permission::Generate]))];
    let one =
        rules().principal(&claims(&json!({"roles": "Staff admin"})), &Roles::extended(known), NOW);
    assert_eq!(one.unwrap().roles, ["Staff admin"], "the name of a role may contain a space");
    let lenient = Rules { default_roles: vec!["user".to_owned()], ..rules() };
    assert_eq!(read(&lenient, &json!({"roles": null})).unwrap().roles, ["user"]);
    assert!(
        read(&lenient, &json!({"roles": []})).unwrap().roles.is_empty(),
        "an empty list means no roles"
    );
}

#[test]
fn engines_come_from_the_claim() {
    let cases = [
        (json!({}), vec!["default"]),
        (json!({"mlsdm_engines": "support"}), vec!["support"]),
        (json!({"mlsdm_engines": ["a", "b", "Not A Name"]}), vec!["a", "b"]),
        (json!({"mlsdm_engines": "a b"}), vec!["a", "b"]),
        (json!({"mlsdm_engines": ["a", "*"]}), vec!["*"]),
        (json!({"mlsdm_engines": []}), vec![]),
        (json!({"mlsdm_engines": 7}), vec![]),
        (json!({"roles": "admin"}), vec!["*"]),
        (json!({"roles": "admin", "mlsdm_engines": "support"}), vec!["support"]),
    ];
    for (changes, expected) in cases {
        assert_eq!(read(&rules(), &changes).unwrap().engines.names(), expected, "{changes}");
    }
}
