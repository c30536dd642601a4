//! The built-in embedder: feature hashing of words and character n-grams.
//!
//! Each word contributes itself and its n-grams of three to five characters. A hash determines the
//! component and the sign of each feature, so texts with common words or word stems have similar
//! directions. It recognises no synonyms. It needs no model, no network and no floating-point
//! function except the square root, and gives the same bits on every CPU.
//!
//! Function words have a low weight; repeated words count with the square root of their number.
//! Scripts without spaces between words contribute characters and pairs of characters.

use std::collections::BTreeMap;

use crate::domain::vector::{UnitVector, VectorError};

/// The default dimension.
pub const DIMENSION_DEFAULT: usize = 384;

/// Lengths of the n-grams of a word, word boundaries included.
const GRAMS: std::ops::RangeInclusive<usize> = 3..=5;

/// The weight of a whole word; its n-grams together weigh [`GRAMS_WEIGHT`].
const WORD_WEIGHT: f64 = 1.0;
const GRAMS_WEIGHT: f64 = 1.2;

/// The factor for the weight of a function word.
const FUNCTION_WEIGHT: f64 = 0.2;

/// The weight of a word grows with its length up to this number of characters.
const LENGTH_MAX: usize = 8;

/// English function words, sorted.
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

/// Sums below this are regarded as features that cancelled each other.
const CANCELLED: f64 = 1e-6;

/// Embeds a text and normalises the vector.
///
/// # Errors
/// The dimension is 0.
pub fn vector(text: &str, dimension: usize) -> Result<UnitVector, VectorError> {
    UnitVector::normalise(&embed(text, dimension), dimension)
}

/// Embeds a text without normalising. The vector is never zero for a `dimension` above 0: a text
/// without words contributes its bytes.
pub fn embed(text: &str, dimension: usize) -> Vec<f32> {
    let mut sums = vec![0.0; dimension];
    let lower = text.to_lowercase();
    // sorted, because the order of the additions determines their rounding
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

/// Adds a word and its n-grams, weighted by the length of the word.
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

/// Adds the characters and pairs of characters of a text without spaces.
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

/// Adds each byte and the whole text, all with positive sign, so that nothing cancels.
fn add_bytes(sums: &mut [f64], text: &str) {
    let whole = hash(Feature::Bytes, text);
    for hash in text.bytes().map(|byte| finish(u64::from(byte))).chain([whole]) {
        if let Some(sum) = sums.get_mut(place(hash, sums.len())) {
            *sum += 1.0;
        }
    }
}

/// Adds a feature to the component and with the sign given by its hash.
fn add(sums: &mut [f64], hash: u64, weight: f64) {
    if let Some(sum) = sums.get_mut(place(hash, sums.len())) {
        *sum += if hash & 1 == 0 { weight } else { -weight };
    }
}

/// A component index below `dimension`, from the high half of a hash.
fn place(hash: u64, dimension: usize) -> usize {
    (((hash >> 32) * dimension as u64) >> 32) as usize
}

/// True for scripts without spaces between words: Chinese, Japanese, Thai and related ones.
fn is_unspaced(c: char) -> bool {
    matches!(c, '\u{e00}'..='\u{eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}'
        | '\u{2e80}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

/// The kind of a feature; separates equal characters of different kinds.
#[derive(Clone, Copy)]
enum Feature {
    Word,
    Gram,
    Bytes,
}

/// 64-bit FNV-1a with a finaliser, so that all bits depend on all bytes.
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
