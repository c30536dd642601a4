//! The `mlsdm-dev` command: benchmarks and generators, which the shipped binary does not contain.

use std::process::ExitCode;

/// The allocator of `mlsdm`, so that benchmarks measure the same one.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    mlsdm::cli::dev::main()
}
