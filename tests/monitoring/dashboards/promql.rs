//! Parses `PromQL` with the variables of Grafana.

use promql_parser::parser::{self, Expr, LabelModifier, MatrixSelector, VectorSelector};

/// Values for the built-in variables of Grafana. The ranges are unusual, so that a rule can tell
/// them from a fixed range.
const RANGES: [(&str, &str); 3] =
    [("$__rate_interval", "7919s"), ("$__range", "7907s"), ("$__interval", "7901s")];

/// The value of `$__rate_interval`, in seconds.
pub(super) const RATE_INTERVAL: u64 = 7919;

/// Parses a query after replacing its variables.
pub(super) fn parse(expr: &str) -> Result<Expr, String> {
    let mut written = expr.to_owned();
    for (name, value) in RANGES {
        written = written.replace(name, value);
    }
    parser::parse(&written)
}

/// A selector and its enclosing expressions, the outermost first.
#[derive(Debug)]
pub(super) struct Selected<'e> {
    pub(super) selector: &'e VectorSelector,
    pub(super) range: Option<&'e MatrixSelector>,
    within: Vec<&'e Expr>,
}

impl Selected<'_> {
    pub(super) fn name(&self) -> &str {
        self.selector.name.as_deref().unwrap_or_default()
    }

    /// The innermost enclosing function.
    pub(super) fn function(&self) -> Option<&'static str> {
        if let Some(Expr::Call(call)) = self.within.last() { Some(call.func.name) } else { None }
    }

    /// True if this function encloses the selector at any depth.
    pub(super) fn is_inside(&self, function: &str) -> bool {
        let mut calls = self.within.iter();
        calls.any(|expr| matches!(expr, Expr::Call(call) if call.func.name == function))
    }

    /// True if it has this regular-expression matcher.
    pub(super) fn matches(&self, label: &str, value: &str) -> bool {
        let mut matchers = self.selector.matchers.matchers.iter();
        matchers.any(|matcher| {
            matcher.name == label
                && matcher.value == value
                && matches!(matcher.op, promql_parser::label::MatchOp::Re(_))
        })
    }
}

/// All selectors of a query.
pub(super) fn selectors(expr: &Expr) -> Vec<Selected<'_>> {
    let mut found = Vec::new();
    collect(expr, &mut Vec::new(), &mut found);
    found
}

fn collect<'e>(expr: &'e Expr, within: &mut Vec<&'e Expr>, found: &mut Vec<Selected<'e>>) {
    match expr {
        Expr::VectorSelector(selector) => {
            found.push(Selected { selector, range: None, within: within.clone() });
        }
        Expr::MatrixSelector(range) => {
            let selector = &range.vs;
            found.push(Selected { selector, range: Some(range), within: within.clone() });
        }
        Expr::Aggregate(_)
        | Expr::Unary(_)
        | Expr::Binary(_)
        | Expr::Paren(_)
        | Expr::Subquery(_)
        | Expr::Call(_)
        | Expr::NumberLiteral(_)
        | Expr::StringLiteral(_)
        | Expr::Extension(_) => {
            within.push(expr);
            for child in children(expr) {
                collect(child, within, found);
            }
            within.pop();
        }
    }
}

fn children(expr: &Expr) -> Vec<&Expr> {
    match expr {
        Expr::Aggregate(aggregate) => {
            aggregate.param.as_deref().into_iter().chain([&*aggregate.expr]).collect()
        }
        Expr::Unary(unary) => vec![&unary.expr],
        Expr::Binary(binary) => vec![&binary.lhs, &binary.rhs],
        Expr::Paren(paren) => vec![&paren.expr],
        Expr::Subquery(subquery) => vec![&subquery.expr],
        Expr::Call(call) => call.args.args.iter().map(|arg| &**arg).collect(),
        Expr::NumberLiteral(_)
        | Expr::StringLiteral(_)
        | Expr::VectorSelector(_)
        | Expr::MatrixSelector(_)
        | Expr::Extension(_) => Vec::new(),
    }
}

/// The labels in all `by`, `without`, `on` and `ignoring` clauses of a query.
pub(super) fn grouping(expr: &Expr) -> Vec<&str> {
    let own = if let Expr::Aggregate(aggregate) = expr {
        aggregate.modifier.as_ref()
    } else if let Expr::Binary(binary) = expr {
        binary.modifier.as_ref().and_then(|modifier| modifier.matching.as_ref())
    } else {
        None
    };
    let own = own.map(LabelModifier::labels);
    let own = own.into_iter().flat_map(|labels| labels.labels.iter().map(String::as_str));
    own.chain(children(expr).into_iter().flat_map(grouping)).collect()
}
