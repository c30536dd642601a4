//! Images: stand-ins of public ones, made of Debian packages, and the image of the server.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher as _},
    path::{Path, PathBuf},
    process::Command,
    time::SystemTime,
};

use super::podman::{podman, try_podman};
use crate::path;

/// The name and the version under which the compose files and manifests use the image.
pub(crate) const SERVER: &str =
    concat!("ghcr.io/neuron7x/mlsdm-neuro-engine:", env!("CARGO_PKG_VERSION"));
/// The same with the weights of the sentence transformer.
pub(crate) const MINILM: &str =
    concat!("ghcr.io/neuron7x/mlsdm-neuro-engine:", env!("CARGO_PKG_VERSION"), "-minilm");

const DOCKERFILE: &str = "deploy/docker/Dockerfile.neuro-engine-service";
const BASE: &str = "gcr.io/distroless/static-debian12:nonroot";
/// The label with a hash of what an image was made of.
const INPUTS: &str = "mlsdm.test.inputs";

/// The image of the server, built by the shipped Dockerfile from the binary under test.
pub(crate) fn server() -> &'static str {
    build("plain", SERVER, &[]);
    SERVER
}

/// The image with the weights, which `.ci/test` fetches.
pub(crate) fn minilm() -> &'static str {
    let files = path("target/ci/all-MiniLM-L6-v2");
    let stage = path("target/ci/containers/weights");
    let target = stage.join("out/rootfs/usr/share/mlsdm/all-MiniLM-L6-v2");
    fs::create_dir_all(&target).unwrap();
    for file in ["model.safetensors", "tokenizer.json", "config.json"] {
        let source = files.join(file);
        fs::copy(&source, target.join(file))
            .unwrap_or_else(|error| panic!("{}: {error}; .ci/test fetches it", source.display()));
    }
    build("minilm", MINILM, &[("weights", &stage)]);
    MINILM
}

/// Builds a target of the Dockerfile, unless an image of the same inputs exists. `contexts` replace
/// stages that need the network.
pub(crate) fn build(target: &str, tag: &str, contexts: &[(&str, &Path)]) {
    build_of(Path::new(env!("CARGO_BIN_EXE_mlsdm")), target, tag, contexts);
}

/// The same with another binary than the one under test.
pub(crate) fn build_of(binary: &Path, target: &str, tag: &str, contexts: &[(&str, &Path)]) {
    base();
    let tree = path("target/ci/containers/build");
    let inputs = hash(&(
        modified(binary),
        fs::read(path(DOCKERFILE)).unwrap(),
        fs::read(path("deploy/docker/rootfs.sh")).unwrap(),
        fs::read(path("tests/deploy/images/distroless.sh")).unwrap(),
        target,
    ));
    if is_made_of(tag, &inputs) {
        return;
    }
    write_tree(binary, &tree);
    let label = format!("{INPUTS}={inputs}");
    let contexts: Vec<_> = contexts.iter().copied().chain([("build", tree.as_path())]).collect();
    // podman keeps the health check only in this format
    let options = ["--format=docker", "--tag", tag, "--label", &label];
    run_build(target, &contexts, &options);
    try_podman(&["image", "prune", "--force"]);
}

/// Builds the plain image twice in the format of registries, without a cache; gives the digests.
pub(crate) fn digests_of_two_builds() -> [String; 2] {
    server();
    [1, 2].map(|number| {
        let tree = path(&format!("target/ci/containers/build-{number}"));
        write_tree(Path::new(env!("CARGO_BIN_EXE_mlsdm")), &tree);
        let options = ["--format=oci", "--no-cache", "--layers=false"];
        let id = run_build("plain", &[("build", &tree)], &options);
        let digest = podman(&["image", "inspect", "--format", "{{.Digest}}", id.trim()]);
        try_podman(&["image", "rm", "--force", id.trim()]);
        drop(fs::remove_dir_all(tree));
        digest
    })
}

/// Builds a target without the network; gives the id of the image.
fn run_build(target: &str, contexts: &[(&str, &Path)], options: &[&str]) -> String {
    let (dockerfile, sources) = (path(DOCKERFILE), path(""));
    let contexts: Vec<String> = contexts
        .iter()
        .map(|(stage, folder)| format!("--build-context={stage}={}", folder.display()))
        .collect();
    let mut arguments =
        vec!["build", "--quiet", "--isolation=chroot", "--timestamp=0", "--target", target];
    arguments.extend(contexts.iter().map(String::as_str));
    arguments.extend(options);
    arguments.extend(["--file", dockerfile.to_str().unwrap(), sources.to_str().unwrap()]);
    podman(&arguments)
}

/// Writes what the stage `build` would contain: the binary without debug information, and its libraries.
fn write_tree(binary: &Path, tree: &Path) {
    let stripped = tree.join("mlsdm");
    fs::create_dir_all(tree).unwrap();
    run(Command::new("strip").arg("-o").arg(&stripped).arg(binary), "binutils");
    let root = tree.join("out/rootfs");
    drop(fs::remove_dir_all(&root));
    run(Command::new(path("deploy/docker/rootfs.sh")).arg(&stripped).arg(&root), "coreutils");
}

/// The base of the image of the server.
fn base() {
    const PACKAGES: &str = "ca-certificates,tzdata,base-files,netbase";
    let hook = format!("{} \"$1\"", path("tests/deploy/images/distroless.sh").display());
    from_packages(
        BASE,
        "extract",
        PACKAGES,
        &hook,
        &[
            "USER=65532",
            "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt",
            "WORKDIR=/home/nonroot",
        ],
    );
}

/// Makes an image of Debian packages, unless it exists. The tar is kept, because it takes longest.
pub(crate) fn from_packages(
    tag: &str,
    variant: &str,
    packages: &str,
    hook: &str,
    changes: &[&str],
) {
    let scripts = ["root.sh", "distroless.sh"]
        .map(|name| fs::read(path("tests/deploy/images").join(name)).unwrap());
    let inputs = hash(&(scripts, variant, packages, hook, changes));
    if is_made_of(tag, &inputs) {
        return;
    }
    let tar = path(&format!("target/ci/containers/{inputs}.tar"));
    if !tar.exists() {
        let arguments = [&tar.display().to_string(), variant, packages, hook];
        run_script("root.sh", &arguments.map(ToOwned::to_owned));
    }
    import(&tar, tag, &inputs, changes);
}

/// Runs a script that makes an image.
pub(super) fn run_script(name: &str, arguments: &[String]) {
    let script = path("tests/deploy/images").join(name);
    run(Command::new(script).args(arguments), "mmdebstrap");
}

/// Makes an image of a tar.
pub(super) fn import(tar: &Path, tag: &str, inputs: &str, changes: &[&str]) {
    let label = format!("LABEL {INPUTS}={inputs}");
    let mut arguments = vec!["import", "--quiet", "--change", &label];
    for change in changes {
        arguments.extend(["--change", change]);
    }
    let tar = tar.display().to_string();
    arguments.extend([tar.as_str(), tag]);
    podman(&arguments);
}

/// Runs a program, which has to succeed.
fn run(command: &mut Command, package: &str) {
    let output = command.output().unwrap_or_else(|error| {
        panic!("{}: {error}: apt-get install {package}", command.get_program().to_string_lossy())
    });
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?} (package {package}): {text}");
}

pub(super) fn is_made_of(tag: &str, inputs: &str) -> bool {
    let format = format!("{{{{index .Labels \"{INPUTS}\"}}}}");
    let found = try_podman(&["image", "inspect", "--format", &format, tag]);
    found.code == 0 && found.stdout.trim() == inputs
}

pub(super) fn hash(value: &impl Hash) -> String {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

fn modified(file: &Path) -> (PathBuf, SystemTime) {
    (file.to_owned(), fs::metadata(file).and_then(|about| about.modified()).unwrap())
}
