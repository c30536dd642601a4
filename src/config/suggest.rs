//! Suggestions for misspelt names.

/// Minimum Jaro-Winkler similarity (0 to 1) of a suggested name.
const SIMILARITY_MIN: f64 = 0.8;

/// Returns the known name that is most similar to the given one.
pub(super) fn nearest<'a>(given: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let similarity = |name: &str| strsim::jaro_winkler(given, name);
    known
        .map(|name| (similarity(name), strsim::damerau_levenshtein(given, name), name))
        .filter(|(similarity, _, _)| *similarity >= SIMILARITY_MIN)
        .min_by(|a, b| a.1.cmp(&b.1).then(b.0.total_cmp(&a.0)))
        .map(|(_, _, name)| name)
}
