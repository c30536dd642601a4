//! The commands of the documents are run, in one shell on a machine of its own and in their order. Commands
//! that need more than one machine are listed in deploy/GUIDE.md.

pub(crate) mod blocks;
pub(crate) mod machine;
mod ways;

use std::collections::BTreeSet;

use crate::path;
use blocks::{commands, text};
use machine::{Done, Machine};
use ways::{WAYS, Way, way};

/// The documents whose commands are run.
const DOCUMENTS: [&str; 3] = ["README.md", "deploy/GUIDE.md", "deploy/RUNBOOK.md"];

/// What the test runs for a command of a document; none if it is not run here.
fn line(document: &str, command: &str) -> Option<String> {
    Some(match way(document, command) {
        Way::Prints(_) | Way::Fails(..) => command.to_owned(),
        Way::Serves => {
            // without the comment at its end
            let serve = command.split("  #").next().unwrap_or(command).trim();
            format!("{serve} >>server.log 2>&1 & await_server")
        }
        Way::Then(then) => format!("{command}\n{then}"),
        Way::With(old, new) => command.replace(old, new),
        Way::Elsewhere(..) | Way::Listed(_) => return None,
    })
}

/// Runs the commands of a document after these.
fn run(machine: &Machine, document: &str, before: &[&str]) {
    let commands = commands(document);
    let ours: Vec<&String> =
        commands.iter().filter(|command| line(document, command).is_some()).collect();
    let mut lines: Vec<String> = before.iter().map(|&line| line.to_owned()).collect();
    lines.extend(ours.iter().filter_map(|command| line(document, command)));
    let mut done = machine.run(&lines).into_iter();
    for (command, done) in before.iter().zip(done.by_ref()) {
        assert_eq!(done.code, 0, "{command}: {done:?}");
    }
    for (command, done) in ours.iter().zip(done) {
        check(document, command, &done);
    }
}

fn check(document: &str, command: &str, done: &Done) {
    let (code, text) = match way(document, command) {
        Way::Prints(text) => (0, text),
        Way::Fails(code, text) => (code, text),
        Way::Serves | Way::Then(_) | Way::Elsewhere(..) | Way::Listed(_) | Way::With(..) => (0, ""),
    };
    assert_eq!(done.code, code, "{document}: {command}\n{}", done.output);
    assert!(done.output.contains(text), "{document}: {command}\n{}", done.output);
}

#[test]
fn the_commands_of_the_readme_work_in_an_empty_folder() {
    run(&Machine::new(), "README.md", &[]);
}

#[test]
fn the_commands_of_the_guide_work() {
    let machine = Machine::new();
    machine.link("deploy");
    run(&machine, "deploy/GUIDE.md", &[]);
}

#[test]
fn the_commands_of_the_runbook_work() {
    let before = [
        "serve",
        "export MLSDM_TOKEN=$(mlsdm token)",
        "mlsdm engine create support",
        "mlsdm engine shutdown support --reason drill",
    ];
    run(&Machine::new(), "deploy/RUNBOOK.md", &before);
}

#[test]
fn every_entry_is_used() {
    for (document, start, _) in WAYS {
        let used = DOCUMENTS.iter().filter(|name| document.is_empty() || name == &document);
        let mut commands = used.flat_map(|name| commands(name));
        assert!(commands.any(|command| command.starts_with(start)), "{document}: {start}");
    }
}

#[test]
fn commands_that_cannot_be_run_are_listed() {
    let guide = text("deploy/GUIDE.md");
    let listed: BTreeSet<&str> = guide
        .split("## What no test runs")
        .nth(1)
        .and_then(|rest| rest.split("\n## ").next())
        .into_iter()
        .flat_map(str::lines)
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .collect();
    let not_run: BTreeSet<&str> = WAYS
        .iter()
        .filter_map(|(_, _, way)| if let Way::Listed(name) = way { Some(*name) } else { None })
        .collect();
    assert_eq!(listed, not_run);
}

/// Files that commands name, whether they are run here or not.
#[test]
fn files_that_commands_name_exist() {
    let mut checked = 0;
    for document in DOCUMENTS {
        for command in commands(document) {
            if let Way::Elsewhere(file, part) = way(document, &command) {
                assert!(text(file).contains(part), "{file}: {part}");
            }
            for word in command.split([' ', '\n', '(', ')', '"']) {
                let is_file = word.starts_with("deploy/") || word.starts_with("docker/");
                // made by deploy/secrets.sh
                if is_file && !word.starts_with("deploy/secrets/") {
                    assert!(path(word).exists(), "{document}: {word} does not exist");
                    checked += 1;
                }
            }
        }
    }
    assert!(checked > 10, "{checked}");
}

/// Every block of a shell can be parsed.
#[test]
fn every_shell_block_is_well_formed() {
    for document in DOCUMENTS {
        for command in commands(document) {
            let parsed = std::process::Command::new("bash").args(["-n", "-c", &command]).output();
            let parsed = parsed.expect("bash");
            let errors = String::from_utf8_lossy(&parsed.stderr);
            assert!(parsed.status.success(), "{document}: {command}\n{errors}");
        }
    }
}
