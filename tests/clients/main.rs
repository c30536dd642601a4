//! Clients and providers: unmodified clients, recorded sessions and published answers.
#![expect(clippy::unwrap_used, reason = "a failed test panics")]

#[cfg(test)]
mod strict;
