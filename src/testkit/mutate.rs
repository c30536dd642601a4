//! Damaged variants of valid inputs, to test parsers of untrusted data.
//!
//! The sequence is the same on every run, so that failures are reproducible. This is not a
//! coverage-guided fuzzer.

use std::iter;

/// Bytes with a meaning in some grammar.
const SYNTAX: &[u8] = b"\0\t\n\r \"%',-./:;=@[\\]^_{|}\x7f\x80\xbf\xc0\xe2\xff";

/// Upper bound of the length of a variant, in bytes.
const BYTES_MAX: usize = 16 * 1024;

/// A pseudo-random number generator (xorshift64).
struct Numbers(u64);

impl Numbers {
    const fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    const fn below(&mut self, bound: usize) -> usize {
        if bound == 0 { 0 } else { (self.next() % bound as u64) as usize }
    }
}

/// The first `times` variants of a valid input. Each is changed in one to four places and differs
/// from the input.
pub fn mutations(good: &[u8], times: usize) -> impl Iterator<Item = Vec<u8>> {
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15 ^ good.len() as u64);
    let changed = iter::repeat_with(move || {
        let mut bytes = good.to_vec();
        for _ in 0..=numbers.below(4) {
            change(&mut bytes, &mut numbers);
        }
        bytes.truncate(BYTES_MAX);
        bytes
    });
    changed.filter(move |bytes| bytes != good).take(times)
}

fn change(bytes: &mut Vec<u8>, numbers: &mut Numbers) {
    let at = numbers.below(bytes.len());
    let syntax = SYNTAX[numbers.below(SYNTAX.len())];
    match numbers.below(7) {
        0 => bytes.truncate(at),
        1 => bytes.insert(at, syntax),
        2 => drop(bytes.splice(at..at, iter::repeat_n(syntax, numbers.below(2_000)))),
        3 => {
            let to = at + numbers.below(bytes.len() - at);
            let part = bytes[at..to].to_vec();
            drop(bytes.splice(at..at, part));
        }
        4 => {
            let to = at + numbers.below(bytes.len() - at);
            bytes.drain(at..to);
        }
        5 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = syntax;
            }
        }
        _ => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << numbers.below(8);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mutations_differ_from_the_input_and_are_reproducible() {
        let good = b"Bearer abc.def.ghi";
        let first: Vec<_> = mutations(good, 500).collect();
        assert_eq!(first.len(), 500);
        assert!(first.iter().all(|bytes| bytes != good && bytes.len() <= BYTES_MAX));
        assert_eq!(first, mutations(good, 500).collect::<Vec<_>>());
        assert!(first.iter().any(|bytes| bytes.len() < good.len()));
        assert!(first.iter().any(|bytes| bytes.len() > 2 * good.len()));
        assert_eq!(mutations(b"", 10).count(), 10);
    }
}
