//! The multi-level synaptic memory: three decaying traces of the stored vectors.
//!
//! With each stored unit vector `e`, and parameters λ (decay), θ (threshold) and g (gain):
//!
//! - decay: `Lᵢ ← (1 − λᵢ) · Lᵢ` for i = 1, 2, 3
//! - input: `L₁ ← L₁ + e`
//! - spill, for i = 1, 2: if `‖Lᵢ‖ > θᵢ`, then `Lᵢ₊₁ ← Lᵢ₊₁ + gᵢ·Lᵢ` and `Lᵢ ← (1 − gᵢ) · Lᵢ`
//!
//! The traces are for observation: their norms show how strongly recent items point in one
//! direction. Retrieval does not use them.

use std::sync::Arc;

use super::vector::{UnitVector, norm};

/// The parameters of the trace levels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Params {
    /// λ: the fraction of L1, L2, L3 that is lost with each stored item; `1 ≥ λ1 > λ2 > λ3 > 0`.
    pub lambda: [f32; 3],
    /// θ: the norm above which L1 spills into L2, and L2 into L3; positive.
    pub theta: [f32; 2],
    /// g: the fraction that spills; in [0, 1].
    pub gain: [f32; 2],
}

/// The three trace vectors. A clone copies three pointers; recording copies shared vectors.
#[derive(Clone, Debug, PartialEq)]
pub struct SynapticTraces([Arc<[f32]>; 3]);

impl SynapticTraces {
    /// Three zero vectors of `dimension` components.
    pub fn zero(dimension: usize) -> Self {
        let zero: Arc<[f32]> = vec![0.0; dimension].into();
        Self([zero.clone(), zero.clone(), zero])
    }

    /// Records one stored item: decay, input, then the spills L1 → L2 → L3.
    ///
    /// The spill condition is on the norm of a level. The original system compares single
    /// components, which never exceeds θ at 384 dimensions.
    pub fn record(&mut self, params: &Params, item: &UnitVector) {
        for (level, lambda) in self.0.iter_mut().zip(params.lambda) {
            let keep = 1.0 - lambda;
            for v in Arc::make_mut(level) {
                *v *= keep;
            }
        }
        let [l1, l2, l3] = &mut self.0;
        for (v, e) in Arc::make_mut(l1).iter_mut().zip(item.as_slice()) {
            *v += e;
        }
        spill(l1, l2, params.theta[0], params.gain[0]);
        spill(l2, l3, params.theta[1], params.gain[1]);
    }

    /// The Euclidean norms of L1, L2 and L3.
    pub fn norms(&self) -> [f32; 3] {
        [0, 1, 2].map(|level| norm(&self.0[level]) as f32)
    }

    /// The components of L1, L2 and L3.
    pub fn levels(&self) -> [&[f32]; 3] {
        [0, 1, 2].map(|level| &*self.0[level])
    }
}

fn spill(from: &mut Arc<[f32]>, to: &mut Arc<[f32]>, theta: f32, gain: f32) {
    if norm(from) as f32 <= theta {
        return;
    }
    for (a, b) in Arc::make_mut(from).iter_mut().zip(Arc::make_mut(to)) {
        let moved = gain * *a;
        *a -= moved;
        *b += moved;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT: Params =
        Params { lambda: [0.5, 0.1, 0.01], theta: [1.2, 2.5], gain: [0.45, 0.3] };

    /// Items with a common component: any two have a cosine of 0.5.
    fn themed(dimension: usize, index: usize) -> UnitVector {
        let mut values = vec![0.0; dimension];
        values[0] = 1.0;
        values[index + 1] = 1.0;
        UnitVector::normalise(&values, dimension).unwrap()
    }

    #[test]
    fn all_levels_move_at_384_dimensions() {
        let mut traces = SynapticTraces::zero(384);
        for index in 0..40 {
            traces.record(&DEFAULT, &themed(384, index));
        }
        let [l1, l2, l3] = traces.norms();
        assert!(l1 > 0.5 && l2 > 1.0 && l3 > 0.3, "norms {l1} {l2} {l3}");
    }

    #[test]
    fn traces_of_one_dimension_follow_the_formula() {
        let one = UnitVector::normalise(&[1.0], 1).unwrap();
        let mut traces = SynapticTraces::zero(1);
        traces.record(&DEFAULT, &one);
        assert_eq!(traces.norms().map(f32::to_bits), [1.0_f32, 0.0, 0.0].map(f32::to_bits));
        traces.record(&DEFAULT, &one);
        let moved = 0.45_f32 * 1.5;
        let expected = [1.5 - moved, moved, 0.0];
        assert_eq!(traces.norms().map(f32::to_bits), expected.map(f32::to_bits));
    }

    #[test]
    fn a_clone_is_a_snapshot() {
        let mut traces = SynapticTraces::zero(8);
        traces.record(&DEFAULT, &themed(8, 1));
        let before = traces.clone();
        let copy = before.levels().map(<[f32]>::to_vec);
        traces.record(&DEFAULT, &themed(8, 2));
        assert_eq!(before.levels().map(<[f32]>::to_vec), copy);
        assert_ne!(traces, before);
    }
}
