//! Who uses whom: reads the paths in the sources, and fails on an arrow that the layers forbid, or that
//! closes a circle of files.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use syn::visit::{self, Visit};

/// The layers, and which others each of them may use. The longest path that a file begins with decides.
const LAYERS: [(&str, &str, &[&str]); 14] = [
    ("src/name.rs", "pure", &[]),
    ("src/word.rs", "pure", &[]),
    ("src/address.rs", "pure", &[]),
    ("src/group.rs", "pure", &[]),
    ("src/group/", "pure", &[]),
    ("src/duration.rs", "pure", &[]),
    ("src/choose.rs", "pure", &[]),
    ("src/sync.rs", "pure", &[]),
    ("src/lease", "lease", &["pure"]),
    ("src/state/", "state", &["pure"]),
    ("src/ops/", "ops", &["lease", "state", "pure"]),
    ("src/module/host/", "host", &["lease", "state", "pure"]),
    ("src/module/", "module", &["host", "ops", "lease", "state", "pure"]),
    ("src/bin/", "slotctl", &["ops", "lease", "state", "pure"]),
];

fn layer(file: &str) -> Option<(&'static str, &'static [&'static str])> {
    let of = LAYERS.iter().filter(|(start, ..)| file.starts_with(start));
    of.max_by_key(|(start, ..)| start.len()).map(|(_, name, uses)| (*name, *uses))
}

/// The sources by their paths.
type Sources = BTreeMap<String, String>;

/// A path in absolute form: the crate's name, then modules and items.
type Name = Vec<String>;

/// What a file says.
#[derive(Default)]
struct File {
    /// The paths that it uses, and whether only tests or `pub use` lines do.
    used: Vec<(Name, bool)>,
    /// The modules below it that are for tests only.
    for_tests: BTreeSet<Name>,
    /// What it hands on with `pub use`: a name in it, and where that is from.
    handed_on: BTreeMap<Name, Name>,
}

/// The module that a file is.
fn module(file: &str) -> Name {
    let (root, rest) = match file.strip_prefix("src/bin/slotctl/") {
        Some(rest) => ("slotctl", rest),
        None => ("mod_slot", file.strip_prefix("src/").expect("it is below src")),
    };
    let rest = rest.strip_suffix(".rs").expect("it is Rust");
    let names = rest.split('/').filter(|name| !["lib", "main", "mod"].contains(name));
    std::iter::once(root).chain(names).map(str::to_owned).collect()
}

struct Reader {
    /// The module that is being read; inline modules are a part of it.
    module: Name,
    in_tests: bool,
    file: File,
}

impl Reader {
    fn read(path: &str, source: &str) -> File {
        let file = syn::parse_file(source).unwrap_or_else(|e| panic!("{path}: {e}"));
        let mut reader = Self { module: module(path), in_tests: false, file: File::default() };
        reader.in_tests = is_for_tests(&file.attrs);
        reader.visit_file(&file);
        reader.file
    }

    /// The absolute form of a path that begins with `crate`, `super`, `self` or the library's name.
    fn absolute(&self, names: &[String]) -> Option<Name> {
        let root = self.module[..1].to_vec();
        let (mut at, mut rest) = match names.first()?.as_str() {
            "crate" => (root, &names[1..]),
            "mod_slot" => (vec!["mod_slot".into()], &names[1..]),
            "super" | "self" => (self.module.clone(), names),
            _ => return None,
        };
        while let Some((first, behind)) = rest.split_first() {
            match first.as_str() {
                "super" => drop(at.pop()),
                "self" => {}
                _ => break,
            }
            rest = behind;
        }
        at.extend(rest.iter().cloned());
        Some(at)
    }

    fn tree(&mut self, before: &mut Name, tree: &syn::UseTree, is_public: bool) {
        match tree {
            syn::UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.tree(before, &path.tree, is_public);
                before.pop();
            }
            syn::UseTree::Group(group) => {
                group.items.iter().for_each(|tree| self.tree(before, tree, is_public));
            }
            syn::UseTree::Glob(_) => self.leaf(before.clone(), None, is_public),
            syn::UseTree::Name(name) => {
                let mut path = before.clone();
                path.push(name.ident.to_string());
                self.leaf(path, Some(name.ident.to_string()), is_public);
            }
            syn::UseTree::Rename(name) => {
                let mut path = before.clone();
                path.push(name.ident.to_string());
                self.leaf(path, Some(name.rename.to_string()), is_public);
            }
        }
    }

    fn leaf(&mut self, mut path: Name, name: Option<String>, is_public: bool) {
        if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
            path.pop();
        }
        // Of another crate, or of a child: `use child::Item`.
        let child = || self.module.iter().cloned().chain(path.iter().cloned()).collect();
        let path = self.absolute(&path).unwrap_or_else(child);
        // A `pub use` obeys the layers, but closes no circle: its users lead to where the name is from.
        let name = name.filter(|_| is_public);
        self.file.used.push((path.clone(), self.in_tests || name.is_some()));
        if let Some(name) = name {
            let handed_on = self.module.iter().cloned().chain([name]).collect();
            self.file.handed_on.insert(handed_on, path);
        }
    }
}

fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        syn::Meta::List(list) if list.path.is_ident("cfg") => {
            list.tokens.to_string().split(|c: char| !c.is_alphanumeric()).any(|word| word == "test")
        }
        _ => false,
    })
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        let was = self.in_tests;
        self.in_tests |= is_for_tests(&item.attrs);
        self.module.push(item.ident.to_string());
        if item.content.is_some() {
            visit::visit_item_mod(self, item);
        } else if self.in_tests {
            self.file.for_tests.insert(self.module.clone());
        }
        self.module.pop();
        self.in_tests = was;
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let is_public = !matches!(item.vis, syn::Visibility::Inherited);
        self.tree(&mut Vec::new(), &item.tree, is_public);
    }

    /// `pub(in crate::module)` uses nothing.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}

    /// syn does not parse what a macro is called with.
    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        let text = call.tokens.to_string().replace(" :: ", "::");
        for path in text.split(|c: char| !c.is_alphanumeric() && c != '_' && c != ':') {
            let names: Vec<_> = path.split("::").map(str::to_owned).collect();
            if names.len() > 1
                && let Some(path) = self.absolute(&names)
            {
                self.file.used.push((path, self.in_tests));
            }
        }
        visit::visit_macro(self, call);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<_> = path.segments.iter().map(|part| part.ident.to_string()).collect();
        if names.len() > 1
            && let Some(path) = self.absolute(&names)
        {
            self.file.used.push((path, self.in_tests));
        }
        visit::visit_path(self, path);
    }
}

/// An arrow from a file to a file.
type Arrow = (String, String);

/// All arrows between files, and whether only tests or `pub use` lines make them.
fn arrows(sources: &Sources) -> BTreeMap<Arrow, bool> {
    let modules: BTreeMap<Name, &str> =
        sources.keys().map(|file| (module(file), file.as_str())).collect();
    let files: BTreeMap<&str, File> =
        sources.iter().map(|(path, text)| (path.as_str(), Reader::read(path, text))).collect();
    let handed_on: BTreeMap<&Name, &Name> =
        files.values().flat_map(|file| &file.handed_on).collect();
    let for_tests: BTreeSet<_> = files.values().flat_map(|file| &file.for_tests).collect();
    let find = |name: &Name| {
        let mut name = name.clone();
        // Each round follows one `pub use`.
        for _ in 0..10 {
            let long = (1..=name.len()).rev().find_map(|len| {
                let from = handed_on.get(&name[..len].to_vec())?;
                Some(from.iter().chain(&name[len..]).cloned().collect::<Name>())
            });
            match long {
                Some(next) if next != name => name = next,
                _ => break,
            }
        }
        (1..=name.len()).rev().find_map(|len| modules.get(&name[..len]).copied())
    };
    let mut arrows = BTreeMap::new();
    for (path, file) in &files {
        for (name, in_tests) in &file.used {
            if let Some(to) = find(name).filter(|to| to != path) {
                let only_tests = arrows.entry(((*path).to_owned(), to.to_owned())).or_insert(true);
                *only_tests &= *in_tests || for_tests.contains(&module(path));
            }
        }
    }
    arrows
}

/// The arrows that the layers forbid, as `from -> to`.
fn forbidden(arrows: &BTreeMap<Arrow, bool>) -> Vec<String> {
    let is_forbidden = |(from, to): &&Arrow| {
        let (Some((from, uses)), Some((to, _))) = (layer(from), layer(to)) else { return false };
        from != to && !uses.contains(&to)
    };
    arrows.keys().filter(is_forbidden).map(|(from, to)| format!("{from} -> {to}")).collect()
}

/// The circles: groups of files each of which leads to all others of its group.
fn circles(arrows: &BTreeMap<Arrow, bool>) -> Vec<String> {
    let mut next: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for ((from, to), _) in arrows.iter().filter(|(_, only_tests)| !**only_tests) {
        next.entry(from).or_default().insert(to);
    }
    let reached = |from: &str| {
        let (mut reached, mut open) = (BTreeSet::new(), vec![from.to_owned()]);
        while let Some(at) = open.pop() {
            for to in next.get(at.as_str()).into_iter().flatten() {
                if reached.insert((*to).to_owned()) {
                    open.push((*to).to_owned());
                }
            }
        }
        reached
    };
    let all: BTreeMap<_, _> = next.keys().map(|file| (*file, reached(file))).collect();
    let both = |one: &str, other: &str| {
        all[one].contains(other) && all.get(other).is_some_and(|back| back.contains(one))
    };
    let circles: BTreeSet<Vec<&str>> = all
        .keys()
        .filter(|file| both(file, file))
        .map(|file| all.keys().copied().filter(|other| both(file, other)).collect())
        .collect();
    circles.into_iter().map(|files| files.join(", ")).collect()
}

fn sources(dir: &Path, into: &mut Sources) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let name = path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap();
            into.insert(name.to_str().unwrap().into(), fs::read_to_string(&path).unwrap());
        }
    }
}

fn real() -> BTreeMap<Arrow, bool> {
    let mut all = Sources::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut all);
    let has_none = |file: &&String| *file != "src/lib.rs" && layer(file).is_none();
    assert_eq!(all.keys().find(has_none), None, "a file without a layer");
    let arrows = arrows(&all);
    assert!(arrows.len() > 100, "{arrows:?}");
    arrows
}

#[test]
fn no_arrow_leads_where_its_layer_must_not() {
    assert_eq!(forbidden(&real()), Vec::<String>::new());
}

#[test]
fn no_files_use_each_other_in_a_circle() {
    assert_eq!(circles(&real()), Vec::<String>::new());
}

fn made_up(files: &[(&str, &str)]) -> BTreeMap<Arrow, bool> {
    arrows(&files.iter().map(|(path, text)| ((*path).into(), (*text).into())).collect())
}

#[test]
fn a_forbidden_arrow_is_found_in_every_form() {
    for line in [
        "use crate::ops::flip::flip;",
        "use crate::{name, ops::flip};",
        "use crate::ops::flip as f;",
        "use super::super::ops::flip;",
        "use crate::ops::handed;",
        "use crate::ops::flip::*;",
        "pub(crate) use crate::ops::flip::flip;",
        "fn f() { crate::ops::flip::flip() }",
        "fn f() { assert!(crate::ops::flip::flip()) }",
        "#[cfg(test)] mod tests { use crate::ops::flip; }",
    ] {
        let arrows = made_up(&[
            ("src/lib.rs", "pub mod ops; pub mod state; pub mod name;"),
            ("src/name.rs", ""),
            ("src/ops/mod.rs", "pub mod flip; pub use flip::flip as handed;"),
            ("src/ops/flip.rs", "use crate::name; pub fn flip() {}"),
            ("src/state/mod.rs", "pub mod dirs;"),
            ("src/state/dirs.rs", line),
        ]);
        assert_eq!(forbidden(&arrows), ["src/state/dirs.rs -> src/ops/flip.rs"], "{line}");
    }
}

#[test]
fn a_circle_is_found_unless_only_tests_close_it() {
    let circle = |b: &str| {
        circles(&made_up(&[
            ("src/lib.rs", "pub mod state;"),
            ("src/state/mod.rs", "pub mod a; pub mod b; pub mod c; pub use a::A;"),
            ("src/state/a.rs", "use super::b::B; pub struct A;"),
            ("src/state/b.rs", b),
            ("src/state/c.rs", "use super::A;"),
        ]))
    };
    assert_eq!(circle("pub struct B;"), Vec::<String>::new());
    assert_eq!(circle("use super::A; pub struct B;"), ["src/state/a.rs, src/state/b.rs"]);
    assert_eq!(circle("use super::c::C;"), ["src/state/a.rs, src/state/b.rs, src/state/c.rs"]);
    let in_tests = "pub struct B; #[cfg(test)] mod tests { use super::super::A; }";
    assert_eq!(circle(in_tests), Vec::<String>::new());
}
