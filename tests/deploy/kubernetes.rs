//! Renders the manifests and reads their objects.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::path;

pub(crate) const OVERLAYS: [&str; 3] = ["dev", "production", "high-capacity"];

/// Objects that are applied together.
#[derive(Debug)]
pub(crate) struct Set {
    pub(crate) name: String,
    pub(crate) text: String,
    pub(crate) objects: Vec<Value>,
}

impl Set {
    fn new(name: &str, text: String) -> Self {
        let objects = objects(&text);
        assert!(!objects.is_empty(), "{name}");
        Self { name: name.to_owned(), text, objects }
    }

    pub(crate) fn of_kind(&self, kind: &str) -> impl Iterator<Item = &Value> {
        self.objects.iter().filter(move |object| object["kind"] == kind)
    }

    /// The only object of a kind.
    pub(crate) fn only(&self, kind: &str) -> &Value {
        let mut all = self.of_kind(kind);
        let first = all.next().unwrap_or_else(|| panic!("{}: no {kind}", self.name));
        assert!(all.next().is_none(), "{}: several of {kind}", self.name);
        first
    }

    /// Each Deployment and Job with the template of its pods.
    pub(crate) fn workloads(&self) -> impl Iterator<Item = (&Value, &Value)> {
        let workloads = self.objects.iter();
        workloads.filter_map(|object| Some((object, object.get("spec")?.get("template")?)))
    }
}

/// All sets that are shipped: the overlays, production with all components, and the canary.
pub(crate) fn every_set() -> Vec<Set> {
    thread::scope(|scope| {
        let everything = scope.spawn(everything);
        let overlays = OVERLAYS.map(|name| scope.spawn(|| overlay(name)));
        let mut sets: Vec<Set> =
            overlays.into_iter().map(|overlay| overlay.join().unwrap()).collect();
        sets.push(everything.join().unwrap());
        sets.push(canary());
        sets
    })
}

/// An overlay as `kubectl apply -k` sends it.
pub(crate) fn overlay(name: &str) -> Set {
    let folder = path(&format!("deploy/k8s/overlays/{name}"));
    Set::new(name, kustomize(&folder))
}

/// The canary with the namespaces.
pub(crate) fn canary() -> Set {
    let read = |name: &str| fs::read_to_string(path(&format!("deploy/k8s/{name}"))).unwrap();
    let text = format!("{}---\n{}", read("namespaces.yaml"), read("canary-deployment.yaml"));
    Set::new("canary", text)
}

/// Production with every component.
fn everything() -> Set {
    // kustomize takes relative paths only
    let folder = TempDir::new_in(path("target/ci/deploy")).unwrap();
    let production = fs::read_to_string(path("deploy/k8s/overlays/production/kustomization.yaml"));
    let production = production.unwrap();
    let components = fs::read_dir(path("deploy/k8s/components")).unwrap();
    let mut added = String::new();
    for component in components {
        let name = component.unwrap().file_name().into_string().unwrap();
        if !production.contains(&format!("components/{name}\n")) {
            added += "  - ../../../../deploy/k8s/components/";
            added += &name;
            added.push('\n');
        }
    }
    assert!(added.contains("components/istio\n"), "{added}");
    let text = format!(
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n\
         namespace: mlsdm-production\nresources:\n  - ../../../../deploy/k8s/overlays/production\n\
         components:\n{added}"
    );
    fs::write(folder.path().join("kustomization.yaml"), text).unwrap();
    Set::new("everything", kustomize(folder.path()))
}

fn kustomize(folder: &Path) -> String {
    run(&program("kubectl"), &["kustomize", folder.to_str().unwrap()], "")
}

/// The documents of a YAML file.
pub(crate) fn objects(text: &str) -> Vec<Value> {
    let all: Vec<Value> = serde_saphyr::from_multiple(text).unwrap_or_else(|e| panic!("{e}"));
    all.into_iter().filter(|object| !object.is_null()).collect()
}

/// A name for messages.
pub(crate) fn title(object: &Value) -> String {
    format!("{}/{}", object["kind"].as_str().unwrap(), object["metadata"]["name"])
}

pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A program that `.ci/test` installs for these tests.
pub(crate) fn program(name: &str) -> PathBuf {
    path("target/ci/deploy/venv/bin").join(name)
}

/// Runs a program in the repository, which has to exit with code 0; gives its output.
pub(crate) fn run(program: &Path, arguments: &[&str], input: &str) -> String {
    let (code, text) = exit_of(program, arguments, input);
    assert_eq!(code, 0, "{} {arguments:?}\n{text}", program.display());
    text
}

/// Runs a program in the repository; gives its exit code and its output.
pub(crate) fn exit_of(program: &Path, arguments: &[&str], input: &str) -> (i32, String) {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(path(""));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}; .ci/test installs it", program.display()));
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let writer = thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    // a program may exit before it has read everything
    drop(writer.join().unwrap());
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&text).into_owned())
}
