//! The page: the engine compiled for WebAssembly, its JavaScript bindings, and the files of `web/`.
//!
//! [`ensure`] gives the folder `target/web/`, which a server can hand out as it lies:
//!
//! ```text
//! index.html page.js worker.js …     copied from web/
//! pkg/engine/engine.js …_bg.wasm …   made from engine/ and shaders/, for cells
//! pkg/threads/…                      the same for several threads (`module`)
//! pkg/infer/…                        the same with what a question needs
//! *.br *.gz                          what `compressed` makes of the larger ones
//! ```
//!
//! It is made anew only when something that goes into it has changed: the sources, the dependencies,
//! the compiler, this file, or the commit that the engine names in every record. A
//! hash of all of these lies beside the folder. The folder is replaced in one step, under a lock, so a run never
//! serves half of one.
//!
//! Nothing is left to wasm-opt: version 132 made 3.71 MB to 3.39, in minutes, and what is sent of them
//! larger.

pub(crate) mod compressed;
mod module;

pub(crate) use module::Module;

use crate::{
    folders::{copy_folder, files, remove},
    home::{self, Home},
    setup::{
        command,
        search::Places,
        wasm::{TRIPLE, Toolchain},
    },
    ui::{Ui, Unit},
};
use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use std::{
    fs,
    path::{Path, PathBuf},
    thread,
};
use wasm_bindgen_cli_support::Bindgen;

/// What the bundle is made from, below the root of the repository.
const SOURCES: [&str; 5] = ["Cargo.toml", "Cargo.lock", "engine", "shaders", "web"];

/// Gives the folder of the page; in a checkout it is built first if anything in it has changed.
pub fn ensure(ui: &Ui) -> Result<PathBuf> {
    match Home::find()? {
        Home::Checkout(root) => build(&root, ui),
        Home::Installed(root) => home::keep(&build(&root, ui)?, &root, ui),
        Home::Share(share) => Ok(share.join("web")),
    }
}

/// Builds the page in `target/web` of the checkout, unless it is there and as it should be.
fn build(root: &Path, ui: &Ui) -> Result<PathBuf> {
    let places = Places::of_this_process();
    let toolchain = Toolchain::find(&places).with_context(|| {
        format!("no compiler for {TRIPLE} is here; `{} setup` installs one", home::command())
    })?;
    let commit = commit(root);

    let target = root.join("target");
    let bundle = target.join("web");
    fs::create_dir_all(&target).with_context(|| format!("cannot make {}", target.display()))?;
    let lock = fs::File::create(target.join("web.lock")).context("cannot make target/web.lock")?;
    lock.lock().context("cannot lock target/web.lock")?;

    let stamp = stamp(root, &toolchain, commit.as_deref())?;
    let stamp_file = target.join("web.stamp");
    if bundle.is_dir() && fs::read_to_string(&stamp_file).is_ok_and(|last| last == stamp) {
        return Ok(bundle);
    }

    let bar =
        ui.bar("building the engine for WebAssembly, minutes the first time", None, Unit::Steps);
    let new = target.join("web.new");
    remove(&new)?;
    copy_folder(&root.join("web"), &new)?;
    let make = |module: &Module| {
        let engine = compile(root, *module, &toolchain, commit.as_deref(), &bar)?;
        bind(&engine, *module, &new.join(format!("pkg/{module}")))
    };
    // Those with threads share no library with those without, and what takes longest of a build, the engine
    // itself, keeps a single processor busy.
    let (threaded, plain): (Vec<&Module>, Vec<&Module>) =
        Module::ALL.iter().partition(|module| module.has_threads());
    thread::scope(|scope| {
        let threaded = scope.spawn(|| threaded.into_iter().try_for_each(make));
        let plain = plain.into_iter().try_for_each(make);
        plain.and(threaded.join().expect("a build that fails is an error"))
    })?;
    bar.message("compressing");
    for file in files(&new)? {
        compressed::copies(&file)?;
    }
    bar.finish();

    // Without a stamp a folder counts as stale, so a stop between these steps costs a build at most.
    remove(&stamp_file)?;
    remove(&bundle)?;
    fs::rename(&new, &bundle).context("cannot move the new bundle to target/web")?;
    fs::write(&stamp_file, stamp).context("cannot write target/web.stamp")?;
    for module in Module::ALL {
        let file = bundle.join(format!("pkg/{module}/{module}_bg.wasm"));
        let size = |path: &Path| fs::metadata(path).map(|meta| meta.len() / 1000);
        let (whole, sent) = (size(&file)?, size(&compressed::brotli(&file))?);
        ui.say(format!("{module}_bg.wasm takes {whole} KB, of which {sent} KB are sent"));
    }
    Ok(bundle)
}

/// The last commit that changed a source, marked if there are changes since. It names what the
/// engine was built from, and commits to anything else do not call for a new build.
fn commit(root: &Path) -> Option<String> {
    let root = root.to_str()?;
    let git = |arguments: &[&str]| {
        command::answer("git", &[&["-C", root], arguments, &["--"], &SOURCES].concat())
    };
    let commit = git(&["log", "-1", "--format=%h"]).filter(|commit| !commit.is_empty())?;
    let dirty = git(&["status", "--porcelain"]).is_some_and(|changes| !changes.is_empty());
    Some(if dirty { format!("{commit}-dirty") } else { commit })
}

/// A hash of everything that decides what the bundle is.
fn stamp(root: &Path, toolchain: &Toolchain, commit: Option<&str>) -> Result<String> {
    let mut hash = Sha256::new();
    // Each part ends with a byte that no text has, so that parts cannot run into each other.
    let mut add = |part: &[u8]| {
        hash.update(part);
        hash.update([0xff]);
    };
    add(include_bytes!("mod.rs"));
    add(include_bytes!("compressed.rs"));
    add(include_bytes!("module.rs"));
    add(toolchain.version()?.as_bytes());
    for module in Module::ALL {
        add(toolchain.rustflags(module.has_threads()).join(" ").as_bytes());
    }
    add(commit.unwrap_or_default().as_bytes());
    for source in SOURCES {
        for file in files(&root.join(source))? {
            let bytes =
                fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
            add(file.strip_prefix(root).unwrap_or(&file).to_string_lossy().as_bytes());
            add(&Sha256::digest(&bytes));
        }
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Compiles the engine and gives the `.wasm` file, which the next module takes the place of.
fn compile(
    root: &Path,
    module: Module,
    toolchain: &Toolchain,
    commit: Option<&str>,
    bar: &crate::ui::Bar,
) -> Result<PathBuf> {
    // Cargo builds one thing at a time in a folder.
    let folder = if module.has_threads() { "target/web-build-threads" } else { "target/web-build" };
    let target = root.join(folder);
    let mut cargo = toolchain.cargo_build(module.has_threads());
    cargo.args(["--package", "engine", "--profile", "web"]).args(module.features());
    cargo.arg("--target-dir");
    cargo.arg(&target).current_dir(root);
    if let Some(commit) = commit {
        cargo.env("ENGINE_COMMIT", commit);
    }
    command::run(cargo, bar).context("the engine does not build for WebAssembly")?;
    Ok(target.join(TRIPLE).join("web/engine.wasm"))
}

/// Writes the JavaScript bindings of a module and the module that they load, without the names of
/// functions: a seventh of it, which only stacks of traps would show. Each has a folder of its own, as
/// the JavaScript that stands in the engine is numbered anew in each.
fn bind(engine: &Path, module: Module, folder: &Path) -> Result<()> {
    let mut bindgen = Bindgen::new();
    bindgen.input_path(engine).out_name(&module.to_string()).typescript(false);
    bindgen.remove_name_section(true).remove_producers_section(true);
    // The page calls the module's `default()` without an address: it loads its own neighbour.
    bindgen.omit_default_module_path(false);
    bindgen.web(true)?.generate(folder).context("wasm-bindgen cannot make the bindings")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkout() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (file, text) in [
            ("Cargo.toml", "[workspace]"),
            ("engine/src/lib.rs", "// engine"),
            ("web/index.html", "<!doctype html>"),
            ("web/more/page.js", "// page"),
            ("README.md", "read me"),
        ] {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    fn stamp_of(root: &Path) -> String {
        let toolchain = Toolchain::Ready { library: PathBuf::new() };
        stamp(root, &toolchain, Some("0123abc")).unwrap()
    }

    #[test]
    fn the_stamp_follows_sources_and_nothing_else() {
        let root = checkout();
        let first = stamp_of(root.path());
        fs::write(root.path().join("README.md"), "changed").unwrap();
        assert_eq!(stamp_of(root.path()), first);

        fs::write(root.path().join("engine/src/lib.rs"), "// changed").unwrap();
        let edited = stamp_of(root.path());
        assert_ne!(edited, first);
        fs::rename(root.path().join("web/index.html"), root.path().join("web/i.html")).unwrap();
        assert_ne!(stamp_of(root.path()), edited);
    }

    #[test]
    fn the_commit_is_the_last_one_that_changed_a_source() {
        let root = checkout();
        let path = root.path().to_str().unwrap();
        let git = |arguments: &[&str]| {
            let who = ["-c", "user.name=t", "-c", "user.email=t@example.org"];
            let all = [&["-C", path], &who[..], arguments].concat();
            command::answer("git", &all).unwrap_or_else(|| panic!("git {arguments:?} failed"))
        };
        assert_eq!(commit(root.path()), None);
        git(&["init", "--quiet"]);
        git(&["add", "."]);
        git(&["commit", "--quiet", "-m", "first"]);
        let first = git(&["log", "-1", "--format=%h"]);
        assert_eq!(commit(root.path()), Some(first.clone()));

        fs::write(root.path().join("README.md"), "changed").unwrap();
        git(&["commit", "--quiet", "-am", "second"]);
        assert_eq!(commit(root.path()), Some(first.clone()));
        fs::write(root.path().join("engine/src/lib.rs"), "// changed").unwrap();
        assert_eq!(commit(root.path()), Some(format!("{first}-dirty")));
    }
}
