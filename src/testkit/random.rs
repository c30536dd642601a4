//! Pseudo-random numbers whose seed is printed, so that a failure can be reproduced.
#![expect(clippy::expect_used, reason = "test support: a panic is the report")]

use std::{
    hash::{BuildHasher as _, Hasher as _, RandomState},
    io::Write as _,
};

/// A pseudo-random number generator (`SplitMix64`).
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// One of many independent sequences for a seed.
    pub const fn new(seed: u64, stream: u64) -> Self {
        let mut mixed = Self(seed ^ stream.wrapping_mul(0xA076_1D64_78BD_642F));
        Self(mixed.next())
    }

    /// The next number.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below a limit.
    pub const fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// The seed in `MLSDM_TEST_SEED`, or a random one. It is printed.
pub fn seed() -> u64 {
    let given = std::env::var("MLSDM_TEST_SEED").ok();
    let seed = given.map_or_else(
        || RandomState::new().build_hasher().finish(),
        |text| text.parse().expect("MLSDM_TEST_SEED is a number"),
    );
    // a closed stderr has no reader
    drop(writeln!(std::io::stderr(), "MLSDM_TEST_SEED={seed}"));
    seed
}
