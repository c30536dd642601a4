//! The `mlsdm` command.

use std::process::ExitCode;

/// Folding allocates for every event, and mimalloc does so considerably faster than libc.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    mlsdm::cli::main()
}
