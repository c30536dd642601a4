//! The paths that a module's code uses, in types, expressions, patterns and inputs of macros.

use proc_macro2::{TokenStream, TokenTree};
use syn::{Attribute, ImplItem, Macro, Path, UseTree, Visibility, visit::Visit};

use crate::module::{Module, attributes, is_test};

/// Every path of a module's items, as written.
pub(crate) fn of(module: &Module) -> Vec<Vec<String>> {
    let mut paths = Paths(Vec::new());
    for item in module.items.iter().filter(|item| !is_test(attributes(item))) {
        paths.visit_item(item);
    }
    paths.0
}

struct Paths(Vec<Vec<String>>);

impl<'ast> Visit<'ast> for Paths {
    fn visit_path(&mut self, path: &'ast Path) {
        self.0.push(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        syn::visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, invocation: &'ast Macro) {
        self.visit_path(&invocation.path);
        self.tokens(invocation.tokens.clone());
    }

    fn visit_use_tree(&mut self, tree: &'ast UseTree) {
        // an import inside a function
        let mut paths = Vec::new();
        use_paths(tree, &mut Vec::new(), &mut paths);
        self.0.extend(paths);
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        let attributes: &[Attribute] = match item {
            ImplItem::Fn(item) => &item.attrs,
            ImplItem::Const(item) => &item.attrs,
            _ => &[],
        };
        if !is_test(attributes) {
            syn::visit::visit_impl_item(self, item);
        }
    }

    /// `pub(super)` imports nothing.
    fn visit_visibility(&mut self, _: &'ast Visibility) {}

    /// The API document names types in attributes; the code that uses them counts.
    fn visit_attribute(&mut self, _: &'ast Attribute) {}
}

impl Paths {
    /// Paths of two or more names in the input of a macro.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(word) => {
                    if colons != 2 {
                        self.end(&mut path);
                    }
                    path.push(word.to_string());
                    colons = 0;
                }
                TokenTree::Punct(mark) if mark.as_char() == ':' => colons += 1,
                TokenTree::Group(group) => {
                    self.end(&mut path);
                    self.tokens(group.stream());
                    colons = 0;
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => {
                    self.end(&mut path);
                    colons = 0;
                }
            }
        }
        self.end(&mut path);
    }

    fn end(&mut self, path: &mut Vec<String>) {
        let path = std::mem::take(path);
        let is_type = path.first().is_some_and(|name| name.starts_with(char::is_uppercase));
        if path.len() > 1 || is_type {
            self.0.push(path);
        }
    }
}

fn use_paths(tree: &UseTree, prefix: &mut Vec<String>, paths: &mut Vec<Vec<String>>) {
    match tree {
        UseTree::Path(step) => {
            prefix.push(step.ident.to_string());
            use_paths(&step.tree, prefix, paths);
            prefix.pop();
        }
        UseTree::Name(name) => paths.push([prefix.as_slice(), &[name.ident.to_string()]].concat()),
        UseTree::Rename(name) => {
            paths.push([prefix.as_slice(), &[name.ident.to_string()]].concat());
        }
        UseTree::Glob(_) => paths.push(prefix.clone()),
        UseTree::Group(group) => {
            group.items.iter().for_each(|tree| use_paths(tree, prefix, paths));
        }
    }
}
