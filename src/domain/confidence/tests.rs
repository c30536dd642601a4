//! Compares with the values of the original system, bit for bit.

use serde::Deserialize;

use super::*;

#[derive(Deserialize)]
struct Golden {
    rows: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    text: String,
    confidence: f64,
    looping: Looping,
}

#[derive(Deserialize)]
struct Looping {
    triggered: bool,
    repetition_ratio: f64,
    max_consecutive_run: usize,
    line_repeat_ratio: f64,
    token_count: usize,
}

fn golden() -> Vec<Row> {
    let text = include_str!("../../../tests/golden/text.json");
    let golden: Golden = serde_json::from_str(text).unwrap();
    assert_eq!(golden.rows.len(), 45);
    golden.rows
}

#[test]
fn confidence_is_bit_exact() {
    for row in golden() {
        let actual = confidence(&row.text);
        assert_eq!(actual.to_bits(), row.confidence.to_bits(), "{:?}: {actual}", row.text);
    }
}

#[test]
fn looping_and_its_signals_are_bit_exact() {
    for Row { text, looping, .. } in golden() {
        let lower = text.to_lowercase();
        let tokens = tokens(&lower);
        assert_eq!(tokens.len(), looping.token_count, "{text:?}");
        assert_eq!(longest_run(&tokens), looping.max_consecutive_run, "{text:?}");
        let ratio = repetition(&tokens);
        assert_eq!(ratio.to_bits(), looping.repetition_ratio.to_bits(), "{text:?}");
        let share = line_share(&text);
        assert_eq!(share.to_bits(), looping.line_repeat_ratio.to_bits(), "{text:?}");
        assert_eq!(is_looping(&text), looping.triggered, "{text:?}");
    }
}

#[test]
fn blank_means_stripped_by_python() {
    assert!(is_blank("") && is_blank(" \t\r\n\u{a0}\u{3000}\u{85}\x1c\x1d\x1e\x1f\x0b\x0c"));
    assert!(!is_blank("\u{200b}") && !is_blank("\0") && !is_blank("."));
    assert!((confidence("\x1c \x1f") - BLANK_CONFIDENCE).abs() < f64::EPSILON);
}

#[test]
fn a_loop_needs_eighteen_tokens() {
    assert!(!is_looping(&"again ".repeat(17)));
    assert!(is_looping(&"again ".repeat(18)));
}
