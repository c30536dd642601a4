//! Writing the YAML of rules and of their tests, so that people can read it and differences are small.
//!
//! Texts are quoted as JSON, which is YAML; expressions stand as blocks.

/// First line of every file.
const MADE: &str = "# Made by `mlsdm telemetry generate`; do not edit.\n";

/// What a rule makes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Record,
    Alert,
}

/// One rule.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) kind: Kind,
    pub(super) name: String,
    pub(super) expr: String,
    pub(super) lasting: String,
    pub(super) labels: Vec<(&'static str, String)>,
    pub(super) annotations: Vec<(&'static str, String)>,
}

impl Rule {
    pub(super) const fn record(name: String, expr: String) -> Self {
        Self {
            kind: Kind::Record,
            name,
            expr,
            lasting: String::new(),
            labels: Vec::new(),
            annotations: Vec::new(),
        }
    }

    fn lines(&self) -> Vec<String> {
        let kind = match self.kind {
            Kind::Record => "record",
            Kind::Alert => "alert",
        };
        let mut lines = vec![format!("      - {kind}: {}", self.name)];
        lines.push("        expr: |-".to_owned());
        lines.extend(self.expr.trim_end().lines().map(|line| format!("          {line}")));
        if !self.lasting.is_empty() {
            lines.push(format!("        for: {}", self.lasting));
        }
        for (name, map) in [("labels", &self.labels), ("annotations", &self.annotations)] {
            if !map.is_empty() {
                lines.push(format!("        {name}:"));
                lines.extend(
                    map.iter().map(|(key, value)| format!("          {key}: {}", quoted(value))),
                );
            }
        }
        lines
    }
}

/// A file of one group of rules.
pub(super) fn rules(group: &str, rules: &[Rule]) -> String {
    let mut lines = vec!["groups:".to_owned(), format!("  - name: {group}")];
    lines.push("    rules:".to_owned());
    lines.extend(rules.iter().flat_map(Rule::lines));
    MADE.to_owned() + &lines.join("\n") + "\n"
}

/// What an expression gives at a time.
#[derive(Debug)]
pub(super) struct Expectation {
    pub(super) at: String,
    pub(super) expr: String,
    /// Labels with the value; nothing if the expression gives nothing.
    pub(super) gives: Option<(String, f64)>,
}

/// Series that are fed, and what comes of them.
#[derive(Debug)]
pub(super) struct Scene {
    pub(super) name: String,
    pub(super) interval: String,
    pub(super) input: Vec<(String, String)>,
    pub(super) expected: Vec<Expectation>,
}

impl Scene {
    fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("  - name: {}", quoted(&self.name))];
        lines.push(format!("    interval: {}", self.interval));
        if !self.input.is_empty() {
            lines.push("    input_series:".to_owned());
        }
        for (series, values) in &self.input {
            lines.push(format!("      - series: {}", quoted(series)));
            lines.push(format!("        values: {}", quoted(values)));
        }
        lines.push("    promql_expr_test:".to_owned());
        for Expectation { at, expr, gives } in &self.expected {
            lines.push(format!("      - eval_time: {at}"));
            lines.push(format!("        expr: {}", quoted(expr)));
            match gives {
                Some((labels, value)) => {
                    lines.push("        exp_samples:".to_owned());
                    lines.push(format!("          - labels: {}", quoted(labels)));
                    lines.push(format!("            value: {value}"));
                }
                None => lines.push("        exp_samples: []".to_owned()),
            }
        }
        lines
    }
}

/// A file of tests for `promtool test rules`; `files` are beside its folder.
pub(super) fn tests(files: &[&str], interval: &str, scenes: &[Scene]) -> String {
    let mut lines = vec!["rule_files:".to_owned()];
    lines.extend(files.iter().map(|file| format!("  - ../rules/{file}")));
    lines.push(format!("evaluation_interval: {interval}"));
    lines.push("tests:".to_owned());
    lines.extend(scenes.iter().flat_map(Scene::lines));
    MADE.to_owned() + &lines.join("\n") + "\n"
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
