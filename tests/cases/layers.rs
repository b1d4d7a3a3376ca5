//! Modules import downwards: what a file of the engine or of the harness uses lies on a lower floor
//! of the house that ARCHITECTURE.md draws.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};
use syn::visit::{self, Visit};

/// Floors of each crate from the ground up, and the modules on them. Modules that are joined by `+`
/// may use each other.
fn floors(crate_name: &str) -> Vec<Vec<BTreeSet<String>>> {
    let text = fs::read_to_string(tests::root().join("ARCHITECTURE.md")).unwrap();
    let fence = format!("```floors of {crate_name}\n");
    let (_, rest) = text.split_once(&fence).expect("ARCHITECTURE.md draws the floors");
    let (floors, _) = rest.split_once("```").expect("the drawing ends");
    let joined = |word: &str| word.split('+').map(str::to_owned).collect();
    floors.lines().map(|line| line.split_whitespace().map(joined).collect()).collect()
}

/// The modules of a crate that a file names outside its tests.
#[derive(Default)]
struct Uses(BTreeSet<String>);

impl Uses {
    fn tree(&mut self, tree: &syn::UseTree) {
        match tree {
            syn::UseTree::Path(path) => _ = self.0.insert(path.ident.to_string()),
            syn::UseTree::Name(name) => _ = self.0.insert(name.ident.to_string()),
            syn::UseTree::Group(group) => group.items.iter().for_each(|tree| self.tree(tree)),
            syn::UseTree::Rename(_) | syn::UseTree::Glob(_) => {}
        }
    }
}

impl<'a> Visit<'a> for Uses {
    fn visit_item(&mut self, item: &'a syn::Item) {
        let attributes = match item {
            syn::Item::Mod(item) => &item.attrs,
            syn::Item::Fn(item) => &item.attrs,
            syn::Item::Use(item) => &item.attrs,
            syn::Item::Impl(item) => &item.attrs,
            _ => return visit::visit_item(self, item),
        };
        if !is_of_tests(attributes) {
            visit::visit_item(self, item);
        }
    }

    fn visit_use_tree(&mut self, tree: &'a syn::UseTree) {
        if let syn::UseTree::Path(path) = tree
            && path.ident == "crate"
        {
            self.tree(&path.tree);
        }
    }

    fn visit_path(&mut self, path: &'a syn::Path) {
        if let [first, second, ..] = &*path.segments.iter().collect::<Vec<_>>()
            && first.ident == "crate"
        {
            self.0.insert(second.ident.to_string());
        }
        visit::visit_path(self, path);
    }
}

fn is_of_tests(attributes: &[syn::Attribute]) -> bool {
    let is_test = |attribute: &syn::Attribute| {
        attribute.path().is_ident("cfg")
            && matches!(&attribute.meta, syn::Meta::List(list)
                if list.tokens.to_string().split(|c: char| !c.is_alphanumeric()).any(|w| w == "test"))
    };
    attributes.iter().any(is_test)
}

/// Every source file below a folder whose module is no test, with the modules it uses.
fn files(folder: &Path, found: &mut Vec<(PathBuf, BTreeSet<String>)>) {
    let mut entries: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    // A folder's mod.rs says which of its files are for tests alone.
    let mut of_tests = BTreeSet::new();
    for path in entries.iter().filter(|path| path.extension().is_some_and(|end| end == "rs")) {
        let file = syn::parse_file(&fs::read_to_string(path).unwrap()).unwrap();
        for item in &file.items {
            if let syn::Item::Mod(item) = item
                && is_of_tests(&item.attrs)
            {
                let stem = path.file_stem().unwrap().to_str().unwrap();
                let at = if matches!(stem, "mod" | "lib" | "main") {
                    folder
                } else {
                    &folder.join(stem)
                };
                of_tests.insert(at.join(format!("{}.rs", item.ident)));
            }
        }
        let mut uses = Uses::default();
        uses.visit_file(&file);
        found.push((path.clone(), uses.0));
    }
    found.retain(|(path, _)| !of_tests.contains(path));
    for path in entries.iter().filter(|path| path.is_dir()) {
        files(path, found);
    }
    found.retain(|(path, _)| !of_tests.contains(path));
}

fn assert_downwards(crate_name: &str) {
    let floors = floors(crate_name);
    let place: BTreeMap<&str, (usize, usize)> = floors
        .iter()
        .enumerate()
        .flat_map(|(floor, rooms)| {
            rooms.iter().enumerate().flat_map(move |(room, names)| {
                names.iter().map(move |name| (name.as_str(), (floor, room)))
            })
        })
        .collect();
    let source = tests::root().join(crate_name).join("src");
    let mut found = Vec::new();
    files(&source, &mut found);
    assert!(found.len() > 50, "the files are found");
    let mut problems = Vec::new();
    let mut seen = BTreeSet::new();
    for (path, uses) in &found {
        let below = path.strip_prefix(&source).unwrap();
        let top = below.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs");
        if matches!(top, "lib" | "main") {
            continue;
        }
        let Some(&(floor, room)) = place.get(top) else {
            problems.push(format!("{top} is on no floor"));
            continue;
        };
        seen.insert(top.to_owned());
        for used in uses.iter().filter(|used| *used != top) {
            // What is no module is an item of lib.rs.
            let Some(&(lower, other)) = place.get(used.as_str()) else { continue };
            if lower > floor || (lower == floor && other != room) {
                problems.push(format!("{} uses {used}, which is not below it", below.display()));
            }
        }
    }
    problems.extend(
        place
            .keys()
            .filter(|name| !seen.contains(**name))
            .map(|name| format!("there is no {name}")),
    );
    problems.sort();
    problems.dedup();
    assert!(problems.is_empty(), "{crate_name}:\n{}", problems.join("\n"));
}

#[test]
fn the_engine_imports_downwards() {
    assert_downwards("engine");
}

#[test]
fn the_harness_imports_downwards() {
    assert_downwards("harness");
}

/// A rule that nothing breaks proves nothing: an import that goes up is seen.
#[test]
fn imports_are_seen_wherever_they_stand() {
    let text = "use crate::{run::{self, Exit}, ui};\nfn f() { crate::store::open() }\n\
                #[cfg(test)]\nmod tests { use crate::plan; }\n#[cfg(all(test, unix))] mod other { use crate::plan; }";
    let mut uses = Uses::default();
    uses.visit_file(&syn::parse_file(text).unwrap());
    assert_eq!(uses.0.into_iter().collect::<Vec<_>>(), ["run", "store", "ui"]);
}

#[test]
fn no_file_is_longer_than_400_lines() {
    let mut found = Vec::new();
    for crate_name in ["engine", "harness"] {
        files(&tests::root().join(crate_name).join("src"), &mut found);
    }
    let lines = |path: &PathBuf| fs::read_to_string(path).unwrap().lines().count();
    let long: Vec<_> = found
        .iter()
        .map(|(path, _)| (lines(path), path))
        .filter(|(lines, _)| *lines > 400)
        .collect();
    assert!(long.is_empty(), "think again about {long:?}");
}
