//! `mlsdm config`

use serde_json::{Value, json};

use super::{Context, output};

/// Prints every setting with its value and source, and the warnings.
pub(super) fn run(context: &Context) -> anyhow::Result<()> {
    let loaded = context.loaded()?;
    let settings: Vec<Value> = loaded
        .settings
        .iter()
        .map(|s| json!({"key": s.key, "value": s.shown(), "source": s.source.to_string()}))
        .collect();
    let value = json!({"settings": settings, "warnings": loaded.warnings});
    context.print(&value, render)
}

fn render(value: &Value) -> String {
    let list = |key: &str| value[key].as_array().into_iter().flatten();
    let row = |setting: &Value| {
        ["key", "value", "source"].map(|key| output::cell(setting.get(key))).to_vec()
    };
    let rows: Vec<_> = list("settings").map(row).collect();
    let mut text = output::table(&["SETTING", "VALUE", "SOURCE"], &rows);
    for warning in list("warnings") {
        text.push_str("warning: ");
        text.push_str(&output::cell(Some(warning)));
        text.push('\n');
    }
    text
}
