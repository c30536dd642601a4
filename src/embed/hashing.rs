//! The built-in embedder: hashed words and parts of words.
//!
//! Each word adds itself and its runs of three to five characters, each at a place and with a
//! sign given by a hash; so texts that share words, or words of one stem, point in near
//! directions. It knows no synonyms. It needs no model, no network and no floating-point function
//! but the square root, and gives the same bits on every CPU.
//!
//! Words that carry little meaning count little, repeated words count with the root of their
//! number. Scripts written without spaces are taken as characters and pairs of characters.

use std::collections::BTreeMap;

use crate::domain::vector::{UnitVector, VectorError};

/// The dimension of an engine that names none.
pub const DIMENSION_DEFAULT: usize = 384;

/// Length of the runs of characters within a word, its edges included.
const GRAMS: std::ops::RangeInclusive<usize> = 3..=5;

/// The weight of a whole word; all its runs together weigh [`GRAMS_WEIGHT`].
const WORD_WEIGHT: f64 = 1.0;
const GRAMS_WEIGHT: f64 = 1.2;

/// The weight of a function word as a part of what it would be.
const FUNCTION_WEIGHT: f64 = 0.2;

/// Beyond this length a word weighs no more.
const LENGTH_MAX: usize = 8;

/// Words that say how others relate and little else, sorted.
const FUNCTION_WORDS: [&str; 112] = [
    "a", "about", "again", "all", "also", "am", "an", "and", "any", "are", "as", "at", "be",
    "because", "been", "before", "being", "but", "by", "can", "could", "d", "did", "do", "does",
    "doing", "don", "each", "for", "from", "had", "has", "have", "he", "her", "here", "him", "his",
    "how", "i", "if", "in", "into", "is", "it", "its", "just", "ll", "m", "may", "me", "might",
    "more", "most", "my", "myself", "no", "not", "now", "of", "on", "one", "or", "our", "out",
    "please", "re", "s", "shall", "she", "should", "so", "some", "such", "t", "tell", "than",
    "that", "the", "their", "them", "then", "there", "these", "they", "this", "those", "to", "too",
    "up", "us", "ve", "very", "was", "we", "were", "what", "when", "where", "which", "while",
    "who", "whose", "why", "will", "with", "would", "yes", "you", "your", "yours", "yourself",
];

/// Sums smaller than this are taken for features that cancelled out.
const CANCELLED: f64 = 1e-6;

/// The direction of a text.
///
/// # Errors
/// Only in dimension 0.
pub fn vector(text: &str, dimension: usize) -> Result<UnitVector, VectorError> {
    UnitVector::normalise(&embed(text, dimension), dimension)
}

/// The numbers of a text: a direction, not scaled to length 1, and never zero for a `dimension`
/// above 0. A text without words is taken as bytes.
pub fn embed(text: &str, dimension: usize) -> Vec<f32> {
    let mut sums = vec![0.0; dimension];
    let lower = text.to_lowercase();
    // sorted, because the order of additions decides their last bit
    let mut words: BTreeMap<&str, u32> = BTreeMap::new();
    for word in lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        *words.entry(word).or_default() += 1;
    }
    let mut ends = Vec::new();
    for (word, count) in words {
        let weight = f64::from(count).sqrt();
        if word.chars().any(is_unspaced) {
            add_characters(&mut sums, word, weight);
        } else {
            add_word(&mut sums, word, weight, &mut ends);
        }
    }
    if sums.iter().all(|sum| sum.abs() < CANCELLED) {
        add_bytes(&mut sums, text);
    }
    sums.into_iter().map(|sum| sum as f32).collect()
}

/// Adds a word and its runs of characters, heavier the longer it is.
fn add_word(sums: &mut [f64], word: &str, weight: f64, ends: &mut Vec<usize>) {
    let edged = format!("<{word}>");
    ends.clear();
    ends.extend(edged.char_indices().map(|(at, _)| at).chain([edged.len()]));
    let length = ends.len() - 3;
    let mut weight = weight * (length.min(LENGTH_MAX) as f64).sqrt();
    if FUNCTION_WORDS.binary_search(&word).is_ok() {
        weight *= FUNCTION_WEIGHT;
    }
    add(sums, hash(Feature::Word, word), weight * WORD_WEIGHT);
    let count: usize = GRAMS.map(|size| ends.len().saturating_sub(size)).sum();
    let each = weight * GRAMS_WEIGHT / (count as f64).sqrt();
    for size in GRAMS {
        for run in ends.windows(size + 1) {
            add(sums, hash(Feature::Gram, &edged[run[0]..run[size]]), each);
        }
    }
}

/// Adds the characters of a word without spaces, and its pairs of characters.
fn add_characters(sums: &mut [f64], word: &str, weight: f64) {
    let mut previous: Option<usize> = None;
    for (at, c) in word.char_indices() {
        let end = at + c.len_utf8();
        add(sums, hash(Feature::Gram, &word[at..end]), weight);
        if let Some(start) = previous {
            add(sums, hash(Feature::Gram, &word[start..end]), weight * std::f64::consts::SQRT_2);
        }
        previous = Some(at);
    }
}

/// Adds each byte and the whole text, with one sign, so that nothing can cancel.
fn add_bytes(sums: &mut [f64], text: &str) {
    let whole = hash(Feature::Bytes, text);
    for hash in text.bytes().map(|byte| finish(u64::from(byte))).chain([whole]) {
        if let Some(sum) = sums.get_mut(place(hash, sums.len())) {
            *sum += 1.0;
        }
    }
}

/// Adds a feature at the place and with the sign its hash gives.
fn add(sums: &mut [f64], hash: u64, weight: f64) {
    if let Some(sum) = sums.get_mut(place(hash, sums.len())) {
        *sum += if hash & 1 == 0 { weight } else { -weight };
    }
}

/// A place below `dimension`, from the high half of a hash.
fn place(hash: u64, dimension: usize) -> usize {
    (((hash >> 32) * dimension as u64) >> 32) as usize
}

/// Scripts that put no spaces between words: Chinese, Japanese, Thai and their neighbours.
fn is_unspaced(c: char) -> bool {
    matches!(c, '\u{e00}'..='\u{eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}'
        | '\u{2e80}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

/// Keeps equal characters of different features apart.
#[derive(Clone, Copy)]
enum Feature {
    Word,
    Gram,
    Bytes,
}

/// FNV-1a, 64 bits, finished so that every bit depends on every byte.
fn hash(feature: Feature, text: &str) -> u64 {
    let start = 0xcbf2_9ce4_8422_2325 ^ feature as u64;
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    finish(text.bytes().fold(start, step))
}

/// The 64-bit finaliser of `MurmurHash3`.
fn finish(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests;
