//! Values whose meaning depends on the syntax of the file.

use super::*;

fn yaml(text: &str) -> Result<Loaded, ConfigError> {
    load_all(Some(("config.yaml", text)), &[], &[])
}

#[test]
fn an_unquoted_date_in_toml_is_text() {
    let loaded = toml("[llm.anthropic]\nversion = 2023-06-01").unwrap();
    assert_eq!(loaded.config.llm.anthropic.version, "2023-06-01");
}

#[test]
fn a_yaml_file_holds_a_mapping() {
    for text in ["- a", "hello", "[]"] {
        let refused = error(yaml(text));
        assert!(refused.contains("must be a mapping"), "{text}: {refused}");
    }
    yaml("").unwrap();
}

#[test]
fn a_number_in_yaml_may_have_leading_zeros() {
    assert_eq!(yaml("api: {port: 08080}").unwrap().config.api.port, 8080);
}

#[test]
fn the_word_yes_in_yaml_is_text() {
    assert_eq!(yaml("llm: {model: yes}").unwrap().config.llm.model, "yes");
}
