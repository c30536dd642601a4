//! The modules of the crate with the names that each of them defines.

use std::{collections::BTreeMap, fs, path::Path};

use proc_macro2::{TokenStream, TokenTree};
use syn::{Attribute, Item, UseTree, Visibility};

/// A module, its source file and its names.
pub(crate) struct Module {
    /// Path in the crate, without the crate itself.
    pub(crate) path: Vec<String>,
    /// The file that holds it, relative to the repository.
    pub(crate) file: String,
    /// Names that the module defines.
    pub(crate) defined: Vec<String>,
    /// Names that it imports, with the path each one stands for.
    pub(crate) imported: BTreeMap<String, Vec<String>>,
    /// Paths that it imports everything from.
    pub(crate) globs: Vec<Vec<String>>,
    /// Paths of its imports that are not re-exports.
    pub(crate) private_imports: Vec<Vec<String>>,
    /// Its items, without child modules.
    pub(crate) items: Vec<Item>,
}

/// Reads a module and all modules below it.
pub(crate) fn read(root: &Path, file: &str, path: &[String], modules: &mut Vec<Module>) {
    let source = fs::read_to_string(root.join(file)).unwrap_or_else(|e| panic!("{file}: {e}"));
    let parsed = syn::parse_file(&source).unwrap_or_else(|error| panic!("{file}: {error}"));
    collect(root, file, path, parsed.items, modules);
}

fn collect(root: &Path, file: &str, path: &[String], items: Vec<Item>, all: &mut Vec<Module>) {
    let mut module = Module {
        path: path.to_vec(),
        file: file.to_owned(),
        defined: Vec::new(),
        imported: BTreeMap::new(),
        globs: Vec::new(),
        private_imports: Vec::new(),
        items: Vec::new(),
    };
    for item in items.into_iter().filter(|item| !is_test(attributes(item))) {
        match item {
            Item::Mod(child) => {
                let name = child.ident.to_string();
                let below = [path, &[name]].concat();
                match child.content {
                    Some((_, items)) => collect(root, file, &below, items, all),
                    None => read(root, &file_of(root, &below), &below, all),
                }
            }
            Item::Use(import) => {
                let mut found = Vec::new();
                flatten(&import.tree, &mut Vec::new(), &mut found);
                for (name, target) in found {
                    if matches!(import.vis, Visibility::Inherited) {
                        module.private_imports.push(target.clone());
                    }
                    match name {
                        Some(name) => drop(module.imported.insert(name, target)),
                        None => module.globs.push(target),
                    }
                }
            }
            other => {
                module.defined.extend(names(&other));
                module.items.push(other);
            }
        }
    }
    all.push(module);
}

/// The file of a module that is declared without a body.
fn file_of(root: &Path, path: &[String]) -> String {
    let file = format!("src/{}.rs", path.join("/"));
    assert!(root.join(&file).is_file(), "{file}: modules are foo.rs, not foo/mod.rs");
    file
}

/// The imports of a `use` tree: the name in this module (none for `*`) and the path.
fn flatten(tree: &UseTree, path: &mut Vec<String>, found: &mut Vec<(Option<String>, Vec<String>)>) {
    match tree {
        UseTree::Path(step) => {
            path.push(step.ident.to_string());
            flatten(&step.tree, path, found);
            path.pop();
        }
        UseTree::Name(name) if name.ident == "self" => {
            found.push((path.last().cloned(), path.clone()));
        }
        UseTree::Name(name) => {
            let name = name.ident.to_string();
            found.push((Some(name.clone()), [path.as_slice(), &[name]].concat()));
        }
        UseTree::Rename(rename) => {
            let mut target = path.clone();
            if rename.ident != "self" {
                target.push(rename.ident.to_string());
            }
            found.push((Some(rename.rename.to_string()), target));
        }
        UseTree::Glob(_) => found.push((None, path.clone())),
        UseTree::Group(group) => {
            for tree in &group.items {
                flatten(tree, path, found);
            }
        }
    }
}

fn names(item: &Item) -> Vec<String> {
    let ident = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        Item::Macro(item) => {
            let own = item.ident.iter().map(ToString::to_string);
            return own.chain(names_in_macro(item.mac.tokens.clone())).collect();
        }
        _ => return Vec::new(),
    };
    vec![ident.to_string()]
}

/// Names that follow `struct`, `enum`, `const`, `fn`, `trait` or `type` in the input of a macro.
fn names_in_macro(tokens: TokenStream) -> Vec<String> {
    let keywords = ["struct", "enum", "const", "fn", "trait", "type", "static"];
    let mut names = Vec::new();
    let mut previous = String::new();
    for token in tokens {
        if let TokenTree::Group(group) = &token {
            names.extend(names_in_macro(group.stream()));
        }
        let text = token.to_string();
        if keywords.contains(&previous.as_str()) {
            names.push(text.clone());
        }
        previous = text;
    }
    names
}

pub(crate) fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// True if `#[cfg(test)]`, alone or as one of several conditions, governs an item.
pub(crate) fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<TokenStream>().is_ok_and(names_test)
    })
}

/// `not(test)` is not a test.
fn names_test(tokens: TokenStream) -> bool {
    let mut negated = false;
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(word) => {
            negated = word == "not";
            word == "test"
        }
        TokenTree::Group(group) => !negated && names_test(group.stream()),
        TokenTree::Punct(_) | TokenTree::Literal(_) => false,
    })
}
