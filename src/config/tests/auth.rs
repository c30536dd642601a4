use std::net::{IpAddr, Ipv4Addr};

use secrecy::ExposeSecret as _;

use super::*;
use crate::config::AuthMode;

const ISSUER: (&str, &str) = ("MLSDM_OIDC_ISSUER", "https://issuer.example/");
const AUDIENCE: (&str, &str) = ("MLSDM_OIDC_AUDIENCE", "mlsdm");
const KEY: (&str, &str) = ("API_KEY", "geheim-user-0123");
const ADMIN_KEY: (&str, &str) = ("ADMIN_API_KEY", "geheim-admin-0123");

fn mode(variables: &[(&str, &str)]) -> AuthMode {
    let auth = env(variables).unwrap().config.auth;
    auth.mode(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

#[test]
fn the_mode_is_derived_from_the_other_settings() {
    let given = |mode| ("MLSDM__AUTH__MODE", mode);
    assert_eq!(mode(&[]), AuthMode::Dev);
    assert_eq!(mode(&[ISSUER, AUDIENCE]), AuthMode::Oidc);
    assert_eq!(mode(&[KEY]), AuthMode::Keys);
    assert_eq!(mode(&[ADMIN_KEY]), AuthMode::Keys);
    assert_eq!(mode(&[ISSUER, AUDIENCE, KEY]), AuthMode::OidcAndKeys);
    assert_eq!(mode(&[ISSUER, AUDIENCE, KEY, given("both")]), AuthMode::OidcAndKeys);
    assert_eq!(mode(&[ISSUER, AUDIENCE, KEY, given("oidc+keys")]), AuthMode::OidcAndKeys);
    assert_eq!(mode(&[ISSUER, ("MLSDM_OIDC_ENABLED", "false")]), AuthMode::Dev);
    assert_eq!(mode(&[given("none")]), AuthMode::None);
}

#[test]
fn incomplete_and_contradictory_settings_are_refused() {
    let given = |mode| ("MLSDM__AUTH__MODE", mode);
    let cases = [
        (vec![ISSUER], "auth.oidc.audience"),
        (vec![("MLSDM_OIDC_ENABLED", "true")], "auth.oidc.issuer"),
        (vec![given("oidc")], "auth.oidc.issuer"),
        (vec![given("keys")], "auth.keys.user"),
        (vec![given("none"), KEY], "API_KEY"),
        (vec![given("dev"), ISSUER, AUDIENCE], "auth.oidc.issuer is set"),
        (vec![given("keys"), KEY, ISSUER, AUDIENCE], "auth.oidc.issuer is set"),
        (vec![given("dance")], "one of"),
        (vec![("MLSDM_OIDC_ISSUER", "http://issuer.example"), AUDIENCE], "https URL"),
        (vec![("MLSDM_OIDC_ISSUER", "issuer"), AUDIENCE], "https URL"),
        (vec![ISSUER, AUDIENCE, ("MLSDM_OIDC_JWKS_URI", "http://10.0.0.1/")], "https URL"),
        (vec![ISSUER, AUDIENCE, ("MLSDM_OIDC_ALGORITHMS", "RS256,HS256")], "HS256"),
        (vec![ISSUER, AUDIENCE, ("MLSDM_OIDC_ALGORITHMS", "none")], "one of"),
        (vec![ISSUER, AUDIENCE, ("MLSDM__AUTH__OIDC__DEFAULT_ROLES", "usr")], "a list of roles"),
        (vec![("API_KEY", "short")], "openssl rand"),
        (vec![("API_KEY", "with a space 0123")], "openssl rand"),
        (vec![KEY, ("ADMIN_API_KEY", KEY.1)], "another key"),
        (vec![("MLSDM__AUTH__ROLES", "bot=generat")], "state:read"),
        (vec![("MLSDM__AUTH__ROLE", "bot=generate")], "MLSDM__AUTH__ROLES"),
    ];
    for (variables, expected) in cases {
        let text = error(env(&variables));
        assert!(text.contains(expected), "{variables:?}: {text}");
        assert!(!text.contains("geheim"), "{text}");
    }
}

#[test]
fn the_variables_of_the_guide_are_read_and_keys_are_redacted() {
    let loaded = env(&[
        ("MLSDM_OIDC_ENABLED", "true"),
        ISSUER,
        AUDIENCE,
        ("MLSDM_OIDC_ROLES_CLAIM", "realm_access.roles"),
        ("MLSDM_OIDC_JWKS_URI", "https://issuer.example/keys"),
        ("MLSDM_OIDC_ALGORITHMS", "RS256,EdDSA"),
        KEY,
        ADMIN_KEY,
        ("MLSDM__AUTH__ROLES", "bot=generate+state:read,user=audit:read"),
        ("MLSDM__AUTH__KEYS__ENGINES", "default,support"),
        ("MLSDM_TOKEN", "of a command"),
    ]);
    let loaded = loaded.unwrap();
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let auth = &loaded.config.auth;
    assert_eq!(auth.oidc.roles_claim, "realm_access.roles");
    assert_eq!(auth.oidc.jwks_uri(), Some("https://issuer.example/keys"));
    assert_eq!(auth.oidc.algorithms.len(), 2);
    assert_eq!(auth.roles.len(), 2);
    assert_eq!(auth.keys.engines, ["default", "support"]);
    assert_eq!(auth.keys.user().unwrap().expose_secret(), KEY.1);
    assert!(!format!("{:?}", loaded.config).contains("geheim"));
    let shown = loaded.settings.iter().map(|setting| setting.shown().to_string());
    assert!(!shown.collect::<String>().contains("geheim"));
}

#[test]
fn an_unauthenticated_server_on_a_public_address_needs_consent() {
    let (host, none) = (("MLSDM__API__HOST", "0.0.0.0"), ("MLSDM__AUTH__MODE", "none"));
    let (insecure, dev) = (("MLSDM_INSECURE", "1"), ("MLSDM__AUTH__MODE", "dev"));
    let choices = error(env(&[host]));
    for choice in ["oidc", "API_KEY", "MLSDM_INSECURE=1", "loopback"] {
        assert!(choices.contains(choice), "{choices}");
    }
    assert!(error(env(&[host, insecure])).contains("auth.mode"), "the mode must be set");
    for mode in [none, dev] {
        assert!(error(env(&[host, mode])).contains("MLSDM_INSECURE=1"));
        assert!(env(&[host, mode, insecure]).unwrap().config.auth.insecure);
    }
    assert!(env(&[("MLSDM__API__HOST", "::1")]).is_ok());
    assert!(env(&[host, ("API_KEY", "geheim-0123456789")]).is_ok());
}
