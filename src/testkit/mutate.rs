//! Inputs as an attacker makes them: good ones, damaged in every way that parsers get wrong.
//!
//! The same on every run, so that a failure is found again. Not a fuzzer that looks for new paths: a
//! bounded run of the test suite.

use std::iter;

/// Bytes that mean something to some parser.
const TELLING: &[u8] = b"\0\t\n\r \"%',-./:;=@[\\]^_{|}\x7f\x80\xbf\xc0\xe2\xff";

/// Longest input made, in bytes.
const BYTES_MAX: usize = 16 * 1024;

/// A small generator of numbers (xorshift).
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

/// So many variants of a good input, each changed in one to four places, none equal to it.
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
    let telling = TELLING[numbers.below(TELLING.len())];
    match numbers.below(7) {
        0 => bytes.truncate(at),
        1 => bytes.insert(at, telling),
        2 => drop(bytes.splice(at..at, iter::repeat_n(telling, numbers.below(2_000)))),
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
                *byte = telling;
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
    fn mutations_differ_from_the_good_one_and_come_again() {
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
