//! The imports of the crate: an edge from each file to each file whose names it uses.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::OnceLock,
};

use crate::{
    module::{self, Module},
    paths,
};

/// Re-exports followed before a path counts as unresolvable: a re-export may lead to itself.
const REEXPORTS_MAX: usize = 16;

/// For each file the files it imports from, with one of the paths that does so.
pub(crate) type Imports = BTreeMap<String, BTreeMap<String, String>>;

/// The imports of `src/`, read once.
pub(crate) fn imports() -> &'static Imports {
    static IMPORTS: OnceLock<Imports> = OnceLock::new();
    IMPORTS.get_or_init(|| {
        let mut modules = Vec::new();
        module::read(Path::new(env!("CARGO_MANIFEST_DIR")), "src/lib.rs", &[], &mut modules);
        CrateGraph::new(modules).imports()
    })
}

struct CrateGraph {
    modules: BTreeMap<Vec<String>, Module>,
}

impl CrateGraph {
    fn new(modules: Vec<Module>) -> Self {
        let modules = modules.into_iter().map(|module| (module.path.clone(), module)).collect();
        Self { modules }
    }

    fn imports(&self) -> Imports {
        let mut imports = Imports::new();
        for module in self.modules.values() {
            let targets = imports.entry(module.file.clone()).or_default();
            let used = paths::of(module);
            for path in used.iter().chain(&module.private_imports) {
                for file in self.files(&module.path, path, 0) {
                    if file != module.file {
                        targets.entry(file).or_insert_with(|| path.join("::"));
                    }
                }
            }
        }
        imports
    }

    /// The files that a path leads to from a module: more than one where two items share a name.
    fn files(&self, from: &[String], path: &[String], depth: usize) -> BTreeSet<String> {
        let Some((first, rest)) = path.split_first() else { return BTreeSet::new() };
        if depth > REEXPORTS_MAX {
            return BTreeSet::new();
        }
        match first.as_str() {
            "crate" => self.below(&[], rest, depth, Unknown::OfModule),
            "self" => self.below(from, rest, depth, Unknown::OfModule),
            "super" => self.below(parent(from), rest, depth, Unknown::OfModule),
            _ => self.below(from, path, depth, Unknown::OfOthers),
        }
    }

    /// The files that a path leads to in a module. A path to the module itself leads to no file: its
    /// names count where they are used.
    fn below(
        &self,
        place: &[String],
        path: &[String],
        depth: usize,
        unknown: Unknown,
    ) -> BTreeSet<String> {
        let Some(module) = self.modules.get(place) else { return BTreeSet::new() };
        let Some((name, rest)) = path.split_first() else { return BTreeSet::new() };
        if name == "super" {
            return self.below(parent(place), rest, depth, unknown);
        }
        let mut files = BTreeSet::new();
        let child = [place, std::slice::from_ref(name)].concat();
        let is_module = self.modules.contains_key(&child);
        if is_module {
            files.extend(self.below(&child, rest, depth, Unknown::OfModule));
        }
        if module.defined.contains(name) {
            files.insert(module.file.clone());
        }
        if let Some(target) = module.imported.get(name) {
            let whole = [target.as_slice(), rest].concat();
            if whole != path {
                files.extend(self.files(place, &whole, depth + 1));
            }
        }
        let is_known = is_module || module.imported.contains_key(name);
        if files.is_empty() && !is_known {
            for glob in &module.globs {
                files.extend(self.files(place, &[glob.as_slice(), path].concat(), depth + 1));
            }
            if files.is_empty() && unknown == Unknown::OfModule {
                files.insert(module.file.clone());
            }
        }
        files
    }
}

/// The owner of a name that no module defines in plain sight.
#[derive(Clone, Copy, PartialEq)]
enum Unknown {
    /// The module that the path names: a macro defines it there.
    OfModule,
    /// Another crate or the prelude.
    OfOthers,
}

fn parent(path: &[String]) -> &[String] {
    &path[..path.len().saturating_sub(1)]
}
