//! What a release does with its image, with a key instead of GitHub's identity: SBOMs that list the crates,
//! a signature and attestations by digest. Against Debian's registry on this machine.

mod registry;

mod heavy {
    use std::{
        collections::BTreeSet,
        fs,
        path::{Path, PathBuf},
        process::Command,
    };

    use mlsdm::testkit::CommandOutput;
    use serde_json::Value;
    use tempfile::TempDir;

    use super::registry::Registry;
    use crate::{
        containers::{images, podman, try_podman},
        path,
    };

    /// Crates that the server cannot do without.
    const CRATES: [&str; 4] = ["actix-web", "sqlx-core", "tokio", "rustls"];

    /// The server with the list of its crates, which `.ci/test --extended` builds.
    fn binary() -> PathBuf {
        let binary = path("target/ci/auditable/mlsdm");
        assert!(binary.exists(), "{}: cargo auditable build makes it", binary.display());
        binary
    }

    /// Builds the image, pushes it, removes it here, and gives its name by digest.
    fn push(registry: &Registry, folder: &Path) -> String {
        let local = "localhost/mlsdm-supply-chain:1";
        images::build_of(&binary(), "plain", local, &[]);
        let digest = folder.join("digest");
        let remote = format!("docker://{}/mlsdm:1", registry.address());
        let digest_file = format!("--digestfile={}", digest.display());
        podman(&["push", "--tls-verify=false", &digest_file, local, &remote]);
        try_podman(&["rmi", "--force", local]);
        format!("{}/mlsdm@{}", registry.address(), fs::read_to_string(digest).unwrap().trim())
    }

    fn run(folder: &Path, program: &str, arguments: &[&str]) -> CommandOutput {
        let done = Command::new(path(program))
            .args(arguments)
            .current_dir(folder)
            .env("HOME", folder)
            .env("COSIGN_PASSWORD", "")
            .env("SYFT_CHECK_FOR_APP_UPDATE", "false")
            .env("SYFT_REGISTRY_INSECURE_USE_HTTP", "true")
            .output();
        done.unwrap_or_else(|error| panic!("{program}: {error}; .ci/test installs it")).into()
    }

    /// Runs cosign without the public log, which needs the network.
    fn cosign(folder: &Path, command: &str, arguments: &[&str]) -> CommandOutput {
        let is_verification = command.starts_with("verify");
        let log: &[&str] = if is_verification {
            &["--insecure-ignore-tlog"]
        } else {
            &["--yes", "--tlog-upload=false", "--use-signing-config=false"]
        };
        let all = [&[command, "--allow-http-registry"], log, arguments].concat();
        run(folder, "target/ci/cosign/cosign", &all)
    }

    /// Makes a pair of keys.
    fn keys(folder: &Path) {
        run(folder, "target/ci/cosign/cosign", &["generate-key-pair"]).exits(0);
    }

    /// The names and versions of the packages of an SBOM.
    fn packages(sbom: &Path, list: &str, version: &str) -> BTreeSet<(String, String)> {
        let sbom: Value = serde_json::from_slice(&fs::read(sbom).unwrap()).unwrap();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let rows = sbom[list].as_array().unwrap().iter();
        rows.map(|row| (text(&row["name"]), text(&row[version]))).collect()
    }

    /// The names and versions of Cargo.lock.
    fn locked() -> BTreeSet<(String, String)> {
        let lock = fs::read_to_string(path("Cargo.lock")).unwrap();
        let value = |line: &str| line.split('"').nth(1).unwrap().to_owned();
        let package = |block: &str| {
            let mut lines = block.trim().lines();
            Some((value(lines.next()?), value(lines.next()?)))
        };
        lock.split("[[package]]\n").skip(1).filter_map(package).collect()
    }

    #[test]
    fn the_image_has_sboms_of_its_crates_and_is_signed_and_attested_by_digest() {
        let folder = TempDir::new().unwrap();
        let here = folder.path();
        let registry = Registry::start();
        let image = push(&registry, here);
        let scanned = format!("registry:{image}");
        let sboms = ["cyclonedx-json=sbom-cyclonedx.json", "spdx-json=sbom-spdx.json"];
        let syft = ["scan", &scanned, "--output", sboms[0], "--output", sboms[1]];
        run(here, "target/ci/deploy/venv/bin/syft", &syft).exits(0);
        let locked = locked();
        for (file, list, version) in [
            ("sbom-cyclonedx.json", "components", "version"),
            ("sbom-spdx.json", "packages", "versionInfo"),
        ] {
            let packages = packages(&here.join(file), list, version);
            for name in CRATES {
                let found = packages.iter().find(|(found, _)| found == name);
                let found = found.unwrap_or_else(|| panic!("{file}: {name} is missing"));
                assert!(locked.contains(found), "{file}: {found:?} is not in Cargo.lock");
            }
            assert!(packages.iter().any(|(name, _)| name == "libc6"), "{file}: Debian's packages");
        }

        keys(here);
        let key = ["--key", "cosign.key", &image];
        let public = ["--key", "cosign.pub", &image];
        assert_ne!(cosign(here, "verify", &public).code, 0, "it is not signed yet");
        cosign(here, "sign", &key).exits(0);
        cosign(here, "verify", &public).exits(0);
        for (kind, file) in [("cyclonedx", "sbom-cyclonedx.json"), ("spdxjson", "sbom-spdx.json")] {
            let what = ["--type", kind];
            let predicate = ["--predicate", file];
            cosign(here, "attest", &[&what[..], &predicate, &key].concat()).exits(0);
            cosign(here, "verify-attestation", &[&what[..], &public].concat()).exits(0);
        }
        // another key has not signed it
        let other = TempDir::new().unwrap();
        keys(other.path());
        assert_ne!(cosign(other.path(), "verify", &public).code, 0);
    }
}
