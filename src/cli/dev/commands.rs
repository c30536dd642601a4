//! `deploy/CLI.md`: the commands of both binaries, from their parsers.

use clap::{Arg, Command};

use super::markdown::{generated_from, paragraph, push_line};

const INTRODUCTION: &str = "\
`mlsdm` is the server and its commands. `mlsdm-dev` has the tools of developers: benchmarks and generators. \
It is a separate binary, built with `cargo build --release --features tools`.";

const EXIT_CODES: &str = "\
Exit codes: 0 success, 1 a finding or a failure, 2 wrong usage or an invalid configuration, 3 a server, database \
or identity provider that cannot be reached.";

/// The document.
pub(super) fn document(binaries: [Command; 2]) -> String {
    let mut out = String::from("# Commands\n\n");
    out.push_str(&generated_from("the command line parsers in src/cli"));
    for text in [INTRODUCTION, EXIT_CODES] {
        out.push('\n');
        paragraph(&mut out, "", "", text);
    }
    for mut binary in binaries {
        binary.build();
        describe(&mut out, &mut binary, 2);
    }
    out
}

fn describe(out: &mut String, command: &mut Command, level: usize) {
    let usage = command.render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ").trim().to_owned();
    let name = command.get_bin_name().unwrap_or_else(|| command.get_name()).to_owned();
    push_line(out, &format!("\n{} `{name}`", "#".repeat(level)));
    push_line(out, "");
    let about = command.get_long_about().or_else(|| command.get_about());
    for part in about.map(ToString::to_string).unwrap_or_default().split("\n\n") {
        paragraph(out, "", "", &sentence(part));
        out.push('\n');
    }
    push_line(out, &format!("```text\n{usage}\n```"));
    // global options are documented once, with the binary
    let is_shown =
        |arg: &&Arg| !(arg.is_hide_set() || is_built_in(arg) || level > 2 && arg.is_global_set());
    let arguments: Vec<&Arg> = command.get_arguments().filter(is_shown).collect();
    if !arguments.is_empty() {
        out.push('\n');
    }
    for arg in arguments {
        argument(out, arg);
    }
    let is_shown = |command: &&mut Command| command.get_name() != "help" && !command.is_hide_set();
    let mut subcommands: Vec<_> = command.get_subcommands_mut().filter(is_shown).collect();
    for subcommand in &mut subcommands {
        describe(out, subcommand, (level + 1).min(4));
    }
}

fn is_built_in(arg: &Arg) -> bool {
    matches!(arg.get_id().as_str(), "help" | "version")
}

fn argument(out: &mut String, arg: &Arg) {
    let help = arg.get_long_help().or_else(|| arg.get_help());
    let mut text = sentence(&help.map(ToString::to_string).unwrap_or_default());
    let values = arg.get_possible_values();
    let has_values = arg.get_action().takes_values();
    if has_values && !values.is_empty() {
        let names: Vec<_> = values.iter().map(|value| format!("`{}`", value.get_name())).collect();
        text = format!("{text} One of {}.", names.join(", "));
    }
    let default: Vec<_> = arg.get_default_values().iter().map(|v| v.to_string_lossy()).collect();
    if has_values && !default.is_empty() {
        text = format!("{text} Default: `{}`.", default.join(","));
    }
    paragraph(out, &format!("- `{arg}`: "), "  ", &text);
}

/// Clap removes the full stop at the end of a help text.
fn sentence(text: &str) -> String {
    let text = text.trim();
    let ends = text.is_empty() || text.ends_with(['.', '!', '?']);
    if ends { text.to_owned() } else { format!("{text}.") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_of_both_binaries_is_documented() {
        let text = document([crate::cli::command(), crate::cli::dev::command()]);
        for heading in
            ["## `mlsdm`", "### `mlsdm serve`", "#### `mlsdm key create`", "## `mlsdm-dev`"]
        {
            assert!(text.contains(&format!("\n{heading}\n")), "{heading}\n{text}");
        }
        // usage lines are not wrapped
        let prose = text.split("```").step_by(2).flat_map(str::lines);
        assert!(prose.into_iter().all(|line| line.chars().count() <= 80), "{text}");
    }
}
