//! Clients and providers: unmodified clients, recorded sessions and published answers.

#[cfg(test)]
mod agent_loop;
#[cfg(test)]
mod agents;
#[cfg(test)]
mod corpus;
#[cfg(test)]
mod gateway;
#[cfg(test)]
mod property;
#[cfg(test)]
mod recorded;
#[cfg(test)]
mod sdk;
#[cfg(test)]
mod strict;

/// True in the extended tier (`.ci/test --extended`).
#[cfg(test)]
fn extended() -> bool {
    std::env::var_os("MLSDM_TEST_EXTENDED").is_some_and(|value| value == "1")
}
