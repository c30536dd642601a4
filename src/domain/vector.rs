//! Unit vectors, the form in which texts are stored and searched.
//!
//! All conditions are checked on construction, so no other code meets a NaN, a wrong dimension or a
//! zero vector. Sums are accumulated in `f64` in one fixed order, so the same text gives the same
//! bits on every CPU. Not here: the embedding of texts (`embed`).

use multiversion::multiversion;

use std::sync::Arc;

/// The minimum Euclidean norm of a vector before it is normalised.
pub const NORM_MIN: f64 = 1e-9;

/// The maximum deviation of a stored vector's norm from 1.
pub const STORED_NORM_TOLERANCE: f64 = 1e-3;

/// Independent partial sums of a dot product.
const LANES: usize = 16;

/// The reason why numbers are not a unit vector.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum VectorError {
    /// The number of components differs from the engine's dimension.
    #[error("a vector has {actual} components where this engine's dimension is {expected}")]
    Dimension {
        /// The engine's dimension.
        expected: usize,
        /// The number of components.
        actual: usize,
    },
    /// A component is NaN or infinite.
    #[error("component {index} of a vector is not a finite number")]
    NotFinite {
        /// The index of the first such component, from 0.
        index: usize,
    },
    /// The norm is too small for the vector to have a direction.
    #[error("a vector of norm {norm:e} has no direction; its norm must be above {NORM_MIN:e}")]
    TooShort {
        /// The Euclidean norm.
        norm: f64,
    },
    /// The norm of a stored vector differs from 1.
    #[error("a stored vector has norm {norm} instead of 1; the stored bytes are damaged")]
    NotUnit {
        /// The Euclidean norm.
        norm: f64,
    },
    /// The stored bytes are not a whole number of 32-bit components.
    #[error("{bytes} stored bytes are not a whole number of 32-bit components")]
    Ragged {
        /// The number of bytes.
        bytes: usize,
    },
}

/// A vector of norm 1 (up to rounding), immutable and shared: a clone copies a pointer.
#[derive(Clone, Debug, PartialEq)]
pub struct UnitVector(Arc<[f32]>);

impl UnitVector {
    /// Checks `values` and scales them to norm 1.
    ///
    /// # Errors
    /// The number of components is not `dimension`, a component is not finite, or the norm is at
    /// most [`NORM_MIN`].
    pub fn normalise(values: &[f32], dimension: usize) -> Result<Self, VectorError> {
        check(values, dimension)?;
        let norm = norm(values);
        if norm <= NORM_MIN {
            return Err(VectorError::TooShort { norm });
        }
        Ok(Self(values.iter().map(|&v| (f64::from(v) / norm) as f32).collect()))
    }

    /// Reads bytes written by [`to_bytes`](Self::to_bytes), without scaling.
    pub fn from_stored(bytes: &[u8], dimension: usize) -> Result<Self, VectorError> {
        let (words, rest) = bytes.as_chunks::<4>();
        if !rest.is_empty() {
            return Err(VectorError::Ragged { bytes: bytes.len() });
        }
        let values: Arc<[f32]> = words.iter().map(|&word| f32::from_le_bytes(word)).collect();
        check(&values, dimension)?;
        let norm = norm(&values);
        if (norm - 1.0).abs() > STORED_NORM_TOLERANCE {
            return Err(VectorError::NotUnit { norm });
        }
        Ok(Self(values))
    }

    /// The components as little-endian `f32`.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|v| v.to_le_bytes()).collect()
    }

    /// The components.
    pub fn as_slice(&self) -> &[f32] {
        &self.0
    }

    /// The dot product of two vectors of the same dimension: their cosine, up to the rounding of
    /// their norms; the same bits on every CPU.
    pub fn dot(&self, other: &Self) -> f64 {
        dot(&self.0, &other.0)
    }
}

fn check(values: &[f32], dimension: usize) -> Result<(), VectorError> {
    if values.len() != dimension {
        return Err(VectorError::Dimension { expected: dimension, actual: values.len() });
    }
    match values.iter().position(|v| !v.is_finite()) {
        Some(index) => Err(VectorError::NotFinite { index }),
        None => Ok(()),
    }
}

/// The Euclidean norm. It cannot overflow: a square of an `f32` is at most 1.2e77.
pub(super) fn norm(values: &[f32]) -> f64 {
    dot(values, values).sqrt()
}

/// The dot product: component `i` is added to partial sum `i % 16` in `f64`, then the sums are
/// added in order. The product of two `f32` is exact in `f64`, so a fused multiply-add gives the
/// same bits.
#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512vl",
    "x86_64+avx2",
    "x86_64+sse4.1",
    "aarch64+neon"
))]
fn dot(a: &[f32], b: &[f32]) -> f64 {
    let (a_blocks, a_rest) = a.as_chunks::<LANES>();
    let (b_blocks, b_rest) = b.as_chunks::<LANES>();
    let mut sums = [0.0_f64; LANES];
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        for lane in 0..LANES {
            sums[lane] += f64::from(a[lane]) * f64::from(b[lane]);
        }
    }
    for ((sum, &a), &b) in sums.iter_mut().zip(a_rest).zip(b_rest) {
        *sum += f64::from(a) * f64::from(b);
    }
    sums.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalising_gives_length_one() {
        let unit = UnitVector::normalise(&[3.0, 0.0, -4.0], 3).unwrap();
        assert_eq!(unit.as_slice(), [0.6, 0.0, -0.8]);
        assert!((unit.dot(&unit) - 1.0).abs() < 1e-6);
    }

    #[test]
    fn extreme_lengths_neither_overflow_nor_vanish() {
        for scale in [f32::MAX, 1e30, 1e-8] {
            let unit = UnitVector::normalise(&[scale; 100], 100).unwrap();
            assert!(unit.as_slice().iter().all(|v| (v - 0.1).abs() < 1e-6));
        }
    }

    #[test]
    fn each_invalid_vector_has_its_error() {
        let normalise = UnitVector::normalise;
        assert_eq!(normalise(&[1.0], 2), Err(VectorError::Dimension { expected: 2, actual: 1 }));
        assert_eq!(normalise(&[1.0, f32::NAN], 2), Err(VectorError::NotFinite { index: 1 }));
        assert_eq!(normalise(&[f32::INFINITY], 1), Err(VectorError::NotFinite { index: 0 }));
        assert!(matches!(normalise(&[0.0, 1e-10], 2), Err(VectorError::TooShort { .. })));
        assert_eq!(UnitVector::from_stored(&[0; 7], 2), Err(VectorError::Ragged { bytes: 7 }));
        let long: Vec<u8> = [1.0_f32, 0.1].iter().flat_map(|v| v.to_le_bytes()).collect();
        assert!(matches!(UnitVector::from_stored(&long, 2), Err(VectorError::NotUnit { .. })));
    }

    #[test]
    fn stored_bytes_are_read_back_bit_for_bit() {
        let values: Vec<f32> = (0_u8..37).map(|i| f32::from(i) - 17.3).collect();
        let unit = UnitVector::normalise(&values, 37).unwrap();
        assert_eq!(UnitVector::from_stored(&unit.to_bytes(), 37).unwrap(), unit);
    }
}
