//! The compose files: valid, reachable from this host only, and without references to missing
//! files.

use std::{collections::BTreeMap, path::Path, process::Command};

use serde_json::Value;

use crate::files;

/// Services that run only with their profile.
const PROFILES: [(&str, &[&str]); 4] = [
    ("scale", &["replica", "nginx"]),
    ("monitoring", &["prometheus", "alertmanager", "grafana", "loki"]),
    ("alloy", &["alloy"]),
    ("tracing", &["tempo"]),
];

/// All compose files of the repository.
fn all() -> Vec<String> {
    let all = files::below("deploy", "compose.yaml");
    assert!(all.iter().any(|file| file == "deploy/compose.yaml"), "{all:?}");
    all
}

/// The services of a file, with merge keys resolved.
fn services(file: &str) -> Vec<(String, Value)> {
    let services = files::yaml(file)["services"].as_object().unwrap().clone();
    services.into_iter().map(|(name, service)| (name, merged(service))).collect()
}

/// A mapping with the entries of its merge key `<<`, which the YAML parser does not resolve.
fn merged(mut value: Value) -> Value {
    let Some(own) = value.as_object_mut() else { return value };
    while let Some(Value::Object(base)) = own.remove("<<") {
        for (key, value) in base {
            own.entry(key).or_insert(value);
        }
    }
    value
}

/// A text in which every variable `${NAME:-DEFAULT}` has its default value, and `${NAME:+VALUE}` is empty.
fn with_defaults(text: &str) -> String {
    let Some((before, rest)) = text.split_once("${") else { return text.to_owned() };
    let (variable, after) = rest.split_once('}').unwrap();
    let is_optional = variable.contains(":+");
    let default = variable.split_once('-').filter(|_| !is_optional).map_or("", |(_, value)| value);
    format!("{before}{default}{}", with_defaults(after))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The sources of all mounts, in short and long form, and whether each is read-only.
fn mounts(service: &Value) -> Vec<(String, bool)> {
    let mounts = list(&service["volumes"]).iter().map(|mount| match mount.as_str() {
        Some(text) => {
            let text = with_defaults(text);
            let source = text.split(':').next().unwrap().to_owned();
            (source, text.ends_with(":ro"))
        }
        None => (mount["source"].as_str().unwrap().to_owned(), mount["read_only"] == true),
    });
    mounts.collect()
}

#[test]
fn compose_files_are_valid() {
    let checker = files::path("target/ci/monitoring/venv/bin/check-jsonschema");
    for file in &all() {
        let run = Command::new(&checker)
            .args(["--builtin-schema", "vendor.compose-spec"])
            .arg(files::path(file))
            .output();
        let run = run
            .unwrap_or_else(|error| panic!("{}: {error}; .ci/test installs it", checker.display()));
        assert!(run.status.success(), "{file}: {}", String::from_utf8_lossy(&run.stdout));
    }
}

#[test]
fn every_mounted_file_exists_and_is_read_only() {
    for file in &all() {
        let folder = Path::new(file).parent().unwrap();
        let volumes = files::yaml(file)["volumes"].clone();
        for (name, service) in services(file) {
            for (source, read_only) in mounts(&service) {
                if source.starts_with('.') {
                    let path = files::path(folder.join(&source).to_str().unwrap());
                    assert!(path.exists(), "{name}: {source}");
                    let empty = path.is_dir() && path.read_dir().unwrap().next().is_none();
                    assert!(!empty, "{name}: {source} is empty");
                    assert!(read_only, "{name}: {source}");
                } else if source.starts_with('/') {
                    assert_eq!(source, "/var/run/docker.sock", "{name}");
                    assert!(read_only, "{name}: {source}");
                } else {
                    assert!(volumes.get(&source).is_some(), "{name}: no volume {source}");
                }
            }
        }
    }
}

/// A configuration file that a command names is in a mounted folder.
#[test]
fn configuration_files_of_commands_are_mounted() {
    let mut named = 0;
    for (name, service) in services("deploy/compose.yaml") {
        for argument in list(&service["command"]) {
            let argument = argument.as_str().unwrap();
            let path = argument.split_once("config.file=").map_or(argument, |(_, path)| path);
            if !path.starts_with("/etc/") {
                continue;
            }
            let inside = list(&service["volumes"]).iter().find_map(|mount| {
                let (source, rest) = mount.as_str()?.split_once(':')?;
                let rest = path.strip_prefix(rest.split(':').next()?)?;
                Some(format!("deploy/{source}{rest}"))
            });
            let inside = inside.unwrap_or_else(|| panic!("{name}: {path} is not mounted"));
            assert!(files::path(&inside).is_file(), "{name}: {inside}");
            named += 1;
        }
    }
    assert_eq!(named, 5);
}

#[test]
fn ports_are_bound_to_loopback() {
    for file in &all() {
        for (name, service) in services(file) {
            for port in list(&service["ports"]) {
                let published = with_defaults(port.as_str().unwrap());
                assert!(published.starts_with("127.0.0.1:"), "{name}: {port}");
                assert_ne!(name, "postgres", "only servers reach the database");
            }
        }
    }
}

#[test]
fn no_secret_has_a_default_and_images_are_pinned() {
    for file in &all() {
        let whole = files::yaml(file);
        for (name, secret) in whole["secrets"].as_object().into_iter().flatten() {
            let made = format!("keep {name} ");
            assert!(files::text("deploy/secrets.sh").contains(&made), "secrets.sh makes no {name}");
            let file = secret["file"].as_str().unwrap();
            assert!(file.ends_with(&format!("secrets/{name}")), "{name}: {file}");
        }
        for (name, service) in services(file) {
            let image = with_defaults(service["image"].as_str().unwrap());
            let tag = image.rsplit_once(':').map_or("", |(_, tag)| tag);
            assert!(!tag.is_empty() && !tag.contains("latest"), "{name}: {image}");
            for (key, value) in service["environment"].as_object().into_iter().flatten() {
                let secret = ["password", "secret", "_key", "token"];
                let key = key.to_lowercase();
                let text = value.as_str().unwrap_or_default();
                let is_secret = secret.iter().any(|word| key.contains(word));
                let chosen = text.starts_with("/run/secrets/") || text.starts_with("${");
                assert!(
                    !is_secret || value.is_null() || text.is_empty() || chosen,
                    "{name}: {key}"
                );
                assert!(!is_secret || !text.contains(":-"), "{name}: {key} has a default");
            }
        }
    }
}

#[test]
fn every_service_has_limits_and_few_rights() {
    for file in &all() {
        for (name, service) in services(file) {
            let limits = merged(service["deploy"].clone())["resources"]["limits"].clone();
            for limit in ["cpus", "memory", "pids"] {
                assert!(!limits[limit].is_null(), "{file}: {name} has no limit of {limit}");
            }
            assert_eq!(service["security_opt"][0], "no-new-privileges:true", "{file}: {name}");
            // Alloy reads the socket of Docker
            assert_eq!(service["cap_drop"][0] == "ALL", name != "alloy", "{file}: {name}");
            let has_socket = list(&service["volumes"]).iter().any(|volume| {
                volume.as_str().is_some_and(|text| text.starts_with("/var/run/docker.sock"))
            });
            assert_eq!(has_socket, name == "alloy", "{file}: {name}");
        }
    }
}

#[test]
fn monitoring_services_run_only_with_their_profile() {
    for (name, service) in services("deploy/compose.yaml") {
        let profiles: Vec<&str> =
            list(&service["profiles"]).iter().map(|profile| profile.as_str().unwrap()).collect();
        let expected = PROFILES.iter().find(|(_, of)| of.contains(&name.as_str()));
        assert_eq!(profiles.first().copied(), expected.map(|(profile, _)| *profile), "{name}");
        assert_eq!(service["restart"], "unless-stopped", "{name}");
    }
}

/// All files use the same version of an image.
#[test]
fn all_files_use_the_same_versions() {
    let mut images = BTreeMap::new();
    for file in &all() {
        for (name, service) in services(file) {
            let image = service["image"].as_str().unwrap().to_owned();
            let other = images.insert(name.clone(), image.clone());
            assert!(other.is_none_or(|other| other == image), "{file}: {name}: {image}");
        }
    }
}

#[test]
fn limits_and_health_checks_are_those_of_the_deployment_guide() {
    let mut all = services("deploy/compose.yaml").into_iter();
    let (_, server) = all.find(|(name, _)| name == "neuro-engine").unwrap();
    let resources = &server["deploy"]["resources"];
    assert_eq!(resources["limits"]["cpus"], "2");
    assert_eq!(resources["limits"]["memory"], "2G");
    assert_eq!(resources["reservations"]["cpus"], "0.5");
    assert_eq!(resources["reservations"]["memory"], "512M");
    let health = &server["healthcheck"];
    for (key, value) in [("interval", "30s"), ("timeout", "10s"), ("start_period", "15s")] {
        assert_eq!(health[key], value, "{key}");
    }
    assert_eq!(health["retries"], 3);
    assert_eq!(server["read_only"], true);
    assert_eq!(server["cap_drop"][0], "ALL");
}

/// No service sends usage reports, and all stored data expires.
#[test]
fn no_service_reports_usage_or_grows_without_limit() {
    let text = files::text("deploy/compose.yaml");
    for setting in [
        "GF_ANALYTICS_REPORTING_ENABLED: \"false\"",
        "GF_ANALYTICS_CHECK_FOR_UPDATES: \"false\"",
        "GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES: \"false\"",
        "GF_NEWS_NEWS_FEED_ENABLED: \"false\"",
        "GF_SECURITY_DISABLE_GRAVATAR: \"true\"",
        "--disable-reporting",
        "--storage.tsdb.retention.time=",
        "--storage.tsdb.retention.size=",
        "--data.retention=",
    ] {
        assert!(text.contains(setting), "{setting}");
    }
}
