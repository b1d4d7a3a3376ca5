//! The notice: which crates the programs and the page consist of, and the texts of their licences.
//!
//! cargo knows the crates, and each carries its own texts in the source that cargo unpacked to build
//! it. A text that many share is written once. What may be among them is the matter of `deny.toml`.

use crate::setup::{cargo, wasm};
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// What `cargo metadata` tells, as far as it matters here.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Clone, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
struct Package {
    name: String,
    version: String,
    id: String,
    license: Option<String>,
    license_file: Option<String>,
    manifest_path: PathBuf,
    /// None for what is read where it lies, and not from a registry.
    source: Option<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<Kind>,
}

#[derive(Deserialize)]
struct Kind {
    /// None for what is linked; else `dev` or `build`.
    kind: Option<String>,
}

/// The notice of the program for `target`, the page, and geckodriver.
pub(super) fn notice(checkout: &Path, target: &str, geckodriver: Option<&Path>) -> Result<String> {
    let own = checkout.join("Cargo.toml");
    let mut roots = vec![(own.as_path(), "harness", target), (&own, "engine", wasm::TRIPLE)];
    roots.extend(geckodriver.map(|manifest| (manifest, "geckodriver", target)));
    let mut packages = BTreeSet::new();
    for (manifest, root, target) in roots {
        let metadata = metadata(manifest, target)?;
        let linked = linked(&metadata, root).into_iter();
        packages.extend(linked.filter(|package| !is_own(package, checkout)).cloned());
    }
    render(&packages)
}

/// Whether it is a crate of this repository, whose licences lie beside the notice.
fn is_own(package: &Package, checkout: &Path) -> bool {
    package.source.is_none() && package.manifest_path.starts_with(checkout)
}

fn metadata(manifest: &Path, target: &str) -> Result<Metadata> {
    let mut command = cargo();
    command.args(["metadata", "--format-version", "1", "--locked", "--filter-platform", target]);
    let output = command.arg("--manifest-path").arg(manifest).output();
    let output = output.context("cannot start cargo")?;
    if !output.status.success() {
        bail!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    serde_json::from_slice(&output.stdout).context("cargo metadata answers in another form")
}

/// `root` and all that is linked into it.
fn linked<'a>(metadata: &'a Metadata, root: &str) -> Vec<&'a Package> {
    let by_id: BTreeMap<&str, &Package> =
        metadata.packages.iter().map(|package| (package.id.as_str(), package)).collect();
    let nodes: BTreeMap<&str, &Node> =
        metadata.resolve.nodes.iter().map(|node| (node.id.as_str(), node)).collect();
    let roots = metadata.packages.iter().filter(|package| package.name == root);
    let mut left: Vec<&str> = roots.map(|package| package.id.as_str()).collect();
    let mut seen = BTreeSet::new();
    while let Some(id) = left.pop() {
        if seen.insert(id) {
            let deps = nodes.get(id).into_iter().flat_map(|node| &node.deps);
            let linked = deps.filter(|dep| dep.dep_kinds.iter().any(|kind| kind.kind.is_none()));
            left.extend(linked.map(|dep| dep.pkg.as_str()));
        }
    }
    seen.into_iter().filter_map(|id| by_id.get(id).copied()).collect()
}

/// The list of crates, then each text with the crates that carry it.
fn render(packages: &BTreeSet<Package>) -> Result<String> {
    let mut list = String::new();
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in packages {
        let Package { name, version, license, .. } = package;
        let licence = license.as_deref().unwrap_or("see below");
        list += &format!("{name} {version}: {licence}\n");
        for text in licence_texts(package)? {
            texts.entry(text).or_default().push(format!("{name} {version}"));
        }
    }
    let mut notice = format!(
        "Fewbit is made from these crates, each at https://crates.io/crates/NAME; those of the \
         Mozilla Public License are used unchanged.\n\n{list}"
    );
    for (text, names) in texts {
        let line = "-".repeat(80);
        notice += &format!("\n{line}\n{}\n{line}\n\n{text}\n", names.join(", "));
    }
    Ok(notice)
}

/// The texts in the folder of a crate, and in the one that its manifest names.
fn licence_texts(package: &Package) -> Result<BTreeSet<String>> {
    let folder = package.manifest_path.parent().unwrap_or(Path::new(""));
    let context = || format!("reading the folder {}", folder.display());
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in folder.read_dir().with_context(context)? {
        let path = entry.with_context(context)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_uppercase();
        let is_text = ["LICENSE", "LICENCE", "COPYING", "NOTICE", "UNLICENSE", "COPYRIGHT"]
            .iter()
            .any(|begin| name.starts_with(begin));
        if is_text && path.is_file() {
            files.push(path);
        }
    }
    files.extend(package.license_file.iter().map(|file| folder.join(file)));
    // Lines end in one way, so that equal texts are equal.
    let text = |path: &PathBuf| {
        let bytes = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        Ok(String::from_utf8_lossy(&bytes).replace("\r\n", "\n").trim().to_owned())
    };
    files.iter().map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(folder: &Path, name: &str, license: &str) -> Package {
        Package {
            name: name.into(),
            version: "1.0.0".into(),
            id: name.into(),
            license: Some(license.into()),
            license_file: None,
            manifest_path: folder.join(name).join("Cargo.toml"),
            source: Some("registry".into()),
        }
    }

    #[test]
    fn what_is_linked_counts_and_what_builds_or_tests_it_does_not() {
        let root = tempfile::tempdir().unwrap();
        let deps = |names: &[(&str, Option<&str>)]| {
            let dep = |(name, kind): &(&str, Option<&str>)| Dependency {
                pkg: (*name).into(),
                dep_kinds: vec![Kind { kind: kind.map(str::to_owned) }],
            };
            names.iter().map(dep).collect()
        };
        let names = ["harness", "linked", "deeper", "builds", "tests"];
        let metadata = Metadata {
            packages: names.iter().map(|name| package(root.path(), name, "MIT")).collect(),
            resolve: Resolve {
                nodes: vec![
                    Node {
                        id: "harness".into(),
                        deps: deps(&[
                            ("linked", None),
                            ("builds", Some("build")),
                            ("tests", Some("dev")),
                        ]),
                    },
                    Node { id: "linked".into(), deps: deps(&[("deeper", None)]) },
                ],
            },
        };
        let found = linked(&metadata, "harness");
        let found: Vec<&str> = found.iter().map(|package| package.name.as_str()).collect();
        assert_eq!(found, ["deeper", "harness", "linked"]);
    }

    #[test]
    fn a_text_that_two_carry_is_written_once() {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in [("one", "the licence\r\n"), ("two", "the licence\n")] {
            fs::create_dir(root.path().join(name)).unwrap();
            fs::write(root.path().join(name).join("LICENSE-MIT"), text).unwrap();
            fs::write(root.path().join(name).join("README"), "no licence").unwrap();
        }
        let packages = BTreeSet::from(["one", "two"].map(|name| package(root.path(), name, "MIT")));
        let notice = render(&packages).unwrap();
        assert_eq!(notice.matches("the licence").count(), 1, "{notice}");
        assert!(notice.contains("one 1.0.0, two 1.0.0") && notice.contains("two 1.0.0: MIT"));
        assert!(!notice.contains("no licence"));
    }
}
