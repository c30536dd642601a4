//! Names of configured providers, as labels of metrics and spans need them.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

/// All names so far.
static NAMES: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());

/// A name that lives as long as the process. Equal names are kept once: the configuration, whose
/// number of providers is limited, is the only source of names.
pub fn provider_name(name: &str) -> &'static str {
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = names.get(name) {
        return known;
    }
    let kept: &'static str = Box::leak(name.into());
    names.insert(kept);
    kept
}
