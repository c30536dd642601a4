//! The integer kernel of the lattice search.
//!
//! One call scores a chunk of quantised rows against a quantised query. The integer arithmetic
//! cannot overflow, so all CPUs and both kernels give the same numbers; only the speed differs. The
//! meaning of the scores and their error bounds are in `search`.

use multiversion::multiversion;

/// Computes `out[r]`, the dot product of row `r` and the query.
///
/// `rows` holds `out.len()` rows of `query.len()` values each.
pub(super) type Kernel = fn(rows: &[i8], query: &[i16], out: &mut [i32]);

/// The kernel for the widest vector instructions of this CPU, selected at the first call.
#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512vl",
    "x86_64+avx2",
    "x86_64+sse4.1",
    "aarch64+neon"
))]
pub(super) fn widest(rows: &[i8], query: &[i16], out: &mut [i32]) {
    portable(rows, query, out);
}

/// The same kernel without run-time selection.
#[expect(clippy::inline_always, reason = "compiled again, with wider vectors, in each `widest`")]
#[inline(always)]
pub(super) fn portable(rows: &[i8], query: &[i16], out: &mut [i32]) {
    if query.is_empty() {
        return;
    }
    for (row, score) in rows.chunks_exact(query.len()).zip(out) {
        *score = row.iter().zip(query).map(|(&r, &q)| i32::from(r) * i32::from(q)).sum();
    }
}
