//! TLS, origins, proxies and rate limits.

use super::{env, error};

#[test]
fn tls_needs_both_files_and_an_authority_for_clients() {
    let set = |lines: &[(&str, &str)]| {
        let name = |key: &str| format!("MLSDM__TLS__{key}");
        let lines: Vec<_> = lines.iter().map(|(key, value)| (name(key), *value)).collect();
        let lines: Vec<_> = lines.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        env(&lines)
    };
    assert!(env(&[]).unwrap().config.tls.pair().is_none());
    let both = [("CERT", "c"), ("KEY", "k")];
    assert!(set(&both).unwrap().config.tls.pair().is_some());
    let clients = [("CLIENT_CA", "a"), ("CLIENT_AUTH", "required"), ("MIN_VERSION", "1.3")];
    assert!(set(&[both.as_slice(), &clients].concat()).is_ok());
    for (bad, key) in [
        (&[("CERT", "c")][..], "tls.key"),
        (&[("KEY", "k")][..], "tls.key"),
        (&[("CLIENT_CA", "a")][..], "tls.client_ca"),
        (&[("CLIENT_AUTH", "required")][..], "tls.client_auth"),
        (&[("MIN_VERSION", "1.1")][..], "MIN_VERSION"),
        (&[("RELOAD_SECONDS", "0")][..], "tls.reload_seconds"),
    ] {
        let text = error(set(bad));
        assert!(text.contains(key) && text.contains("must be"), "{text}");
    }
}

#[test]
fn origins_are_exact_or_all() {
    for good in ["*", "https://a.example", "http://localhost:3000,https://a.example:8443"] {
        assert!(env(&[("MLSDM__API__CORS_ORIGINS", good)]).is_ok(), "{good}");
    }
    for bad in [
        "https://a.example/",
        "https://a.example/x",
        "https://A.example",
        "https://a.example:443",
        "https://*.example",
        "a.example",
        "null",
        "file:///x",
        "*,https://a.example",
    ] {
        let text = error(env(&[("MLSDM__API__CORS_ORIGINS", bad)]));
        assert!(text.contains("must be a list of origins"), "{bad}: {text}");
    }
}

#[test]
fn rates_and_networks_are_checked() {
    for (name, value) in [
        ("RATE_LIMIT_REQUESTS", "0"),
        ("RATE_LIMIT_WINDOW", "0"),
        ("MLSDM__LIMITS__RATE__BURST", "0"),
        ("MLSDM__LIMITS__RATE__HOLDERS", "999"),
        ("MLSDM__LIMITS__RATE__ROLES", "service"),
        ("MLSDM__API__TRUSTED_PROXIES", "10.0.0.0/33"),
        ("MLSDM__API__FORWARDED_HEADER", "via"),
    ] {
        let text = error(env(&[(name, value)]));
        assert!(text.contains(name) && text.contains("must be"), "{text}");
    }
    let networks = env(&[("MLSDM__API__TRUSTED_PROXIES", "10.0.0.0/8,::1/128")]).unwrap();
    assert_eq!(networks.config.api.trusted_proxies.len(), 2);
}
