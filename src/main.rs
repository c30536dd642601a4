//! The `mlsdm` command.

use std::process::ExitCode;

/// A fold allocates a little for every event; this allocator does so a good deal faster than libc's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    mlsdm::cli::main()
}
