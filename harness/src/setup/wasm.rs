//! A compiler with a standard library for `wasm32-unknown-unknown`.
//!
//! rustup brings one in a few seconds. Threads take a library that was built for them, from its
//! sources, which rustup brings as well; cargo builds it together with the engine. Where rustup may
//! not download, Debian's `rustc-web` carries the sources, from which both libraries are built; that
//! takes a linker and a minute more the first time, and gives the same bundle.

use super::{apt, command, search::Places, tools::cargo};
use crate::ui::{Ui, Unit};
use anyhow::{Context, Result, anyhow, bail};
use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

/// The target triple of a page.
pub(crate) const TRIPLE: &str = "wasm32-unknown-unknown";

/// The second way to get the target.
const DEBIAN_PACKAGES: &[&str] = &["rustc-web", "cargo-web", "rust-web-src", "lld-19"];

/// What rustc may use on top of what every WebAssembly engine has: 128-bit vectors and block copies,
/// which Chrome, Firefox and Safari have all had since 2023. Sign extension, saturating conversion
/// and mutable globals need no flag, as rustc takes them for granted.
const FEATURES: &str = "target-feature=+simd128,+bulk-memory";

/// How large a function may be that is put into its callers without being told to: the kernels' loops tell, and
/// with the usual 225 a page loads a tenth more.
const INLINING: &str = "llvm-args=-inline-threshold=100";

/// What modules for threads have on top: atomic instructions, and a memory that is given to them,
/// shared, and no larger than 32 bits address. The exports are what wasm-bindgen makes a thread's own
/// stack and variables of.
const THREADS: [&str; 8] = [
    "target-feature=+atomics",
    "link-arg=--shared-memory",
    "link-arg=--import-memory",
    "link-arg=--max-memory=4294967296",
    "link-arg=--export=__wasm_init_tls",
    "link-arg=--export=__tls_size",
    "link-arg=--export=__tls_align",
    "link-arg=--export=__tls_base",
];

/// The sources of the standard library, below the root of a toolchain.
const SOURCES: &str = "lib/rustlib/src/rust/library/std/Cargo.toml";

/// One way to compile for a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Toolchain {
    /// The toolchain in use has the target's standard library, and its sources.
    Ready {
        /// Where that library is.
        library: PathBuf,
    },
    /// The toolchain in `/usr` has the library's sources.
    FromSource {
        /// Its sources.
        sources: PathBuf,
        /// A linker for WebAssembly.
        linker: PathBuf,
    },
}

impl Toolchain {
    /// Finds a toolchain: the one in use first.
    pub(crate) fn find(places: &Places) -> Option<Toolchain> {
        ready(places).or_else(|| from_source(places))
    }

    /// Where it is, for people.
    pub(crate) fn describe(&self) -> String {
        match self {
            Toolchain::Ready { library } => library.display().to_string(),
            Toolchain::FromSource { sources, .. } => format!("built from {}", sources.display()),
        }
    }

    /// What the compiler calls itself: part of what decides whether a bundle is still good.
    pub(crate) fn version(&self) -> Result<String> {
        let rustc = match self {
            Toolchain::Ready { .. } => rustc_in_use(),
            Toolchain::FromSource { .. } => "/usr/bin/rustc".to_owned(),
        };
        command::answer(&rustc, &["--version", "--verbose"])
            .with_context(|| format!("{rustc} does not tell its version"))
    }

    /// The flags of rustc, for a module with threads or without.
    pub(crate) fn rustflags(&self, threads: bool) -> Vec<String> {
        let mut flags = vec![FEATURES.to_owned(), INLINING.to_owned()];
        flags.extend(THREADS.iter().filter(|_| threads).map(|flag| (*flag).to_owned()));
        if let Toolchain::FromSource { linker, .. } = self {
            let linker = format!("linker={}", linker.display());
            flags.extend([linker, "linker-flavor=wasm-ld".to_owned()]);
        }
        flags.into_iter().flat_map(|flag| ["-C".to_owned(), flag]).collect()
    }

    /// What builds a library for a page, to be completed with which.
    pub(crate) fn cargo_build(&self, threads: bool) -> Command {
        let mut cargo = match self {
            Toolchain::Ready { .. } => cargo(),
            Toolchain::FromSource { .. } => Command::new("/usr/bin/cargo"),
        };
        // The library is a module for a page alone: no other build has to link one.
        cargo.args(["rustc", "--lib", "--crate-type", "cdylib", "--target", TRIPLE]);
        let is_built = matches!(self, Toolchain::FromSource { .. });
        if is_built || threads {
            // Building the standard library is a nightly feature that the compiler's own version of
            // the library supports as well.
            cargo.arg("-Zbuild-std=std,panic_abort").env("RUSTC_BOOTSTRAP", "1");
        }
        if is_built {
            cargo.env("RUSTC", "/usr/bin/rustc");
            cargo.env_remove("RUSTUP_TOOLCHAIN").env_remove("RUSTDOC");
        }
        // This form of the variable wins over every other place in which flags can stand.
        cargo.env("CARGO_ENCODED_RUSTFLAGS", self.rustflags(threads).join("\x1f"));
        cargo
    }
}

fn rustc_in_use() -> String {
    env::var("RUSTC").unwrap_or_else(|_| "rustc".into())
}

fn ready(places: &Places) -> Option<Toolchain> {
    let named = rustc_in_use();
    let rustc = match Path::new(&named).is_absolute() {
        true => places.absolute(&named)?,
        false => places.program(&[&named], None)?,
    };
    let asked = |what: &[&str]| command::answer(rustc.to_str()?, what).map(PathBuf::from);
    let library = asked(&["--print", "target-libdir", "--target", TRIPLE])?;
    asked(&["--print", "sysroot"])?.join(SOURCES).is_file().then_some(())?;
    // Asking for the folder succeeds for every target that rustc knows; the library is what counts.
    let mut files = library.read_dir().ok()?.flatten();
    files
        .any(|file| file.file_name().to_string_lossy().starts_with("libstd-"))
        .then_some(Toolchain::Ready { library })
}

fn from_source(places: &Places) -> Option<Toolchain> {
    places.absolute("/usr/bin/rustc")?;
    places.absolute("/usr/bin/cargo")?;
    places.absolute(&format!("/usr/{SOURCES}"))?;
    let sources = places.absolute("/usr/lib/rustlib/src/rust")?;
    let linker = places.program(&["wasm-ld", "wasm-ld-21", "wasm-ld-20", "wasm-ld-19"], None)?;
    Some(Toolchain::FromSource { sources, linker })
}

/// Installs the target: through rustup, else Debian's packages.
pub(super) fn install(ui: &Ui) -> Result<()> {
    let by_rustup = add(&["target", "add", TRIPLE], ui)
        .and_then(|()| add(&["component", "add", "rust-src"], ui));
    let Err(rustup) = by_rustup else { return Ok(()) };
    if !apt::is_here() {
        return Err(rustup);
    }
    ui.say("rustup cannot add the target here, so Debian's rustc-web is installed");
    apt::install(DEBIAN_PACKAGES, ui).map_err(|apt| anyhow!("{rustup:#}\n{apt:#}"))
}

fn add(what: &[&str], ui: &Ui) -> Result<()> {
    let places = Places::of_this_process();
    let Some(rustup) = places.program(&["rustup"], None) else {
        bail!("rustup is not on PATH");
    };
    let bar = ui.bar(format!("rustup {}", what.join(" ")), None, Unit::Steps);
    let mut command = Command::new(rustup);
    command.args(what);
    command::run(command, &bar)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::PermissionsExt};

    fn put(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn sources_without_a_linker_are_no_toolchain() {
        let root = tempfile::tempdir().unwrap();
        for file in ["bin/rustc", "bin/cargo", "lib/rustlib/src/rust/library/std/Cargo.toml"] {
            put(&root.path().join("usr").join(file), "");
        }
        let bin = root.path().join("bin");
        let places = Places::new(vec![bin.clone()], root.path());
        assert_eq!(Toolchain::find(&places), None);

        put(&bin.join("wasm-ld-19"), "");
        let toolchain = Toolchain::find(&places).unwrap();
        let flags = toolchain.rustflags(false).join(" ");
        assert!(flags.contains("+simd128") && flags.contains("wasm-ld-19"), "{flags}");
        assert!(!flags.contains("atomics"), "{flags}");
        let flags = toolchain.rustflags(true).join(" ");
        assert!(flags.contains("+simd128") && flags.contains("+atomics"), "{flags}");
    }

    #[test]
    fn a_compiler_counts_only_with_the_library_of_the_target_and_its_sources() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().display();
        let rustc = format!(
            "#!/bin/sh\n[ $2 = sysroot ] && echo {path}/usr || echo {path}/usr/lib/of-target\n"
        );
        put(&root.path().join("rustc"), &rustc);
        let places = Places::new(vec![root.path().to_owned()], root.path());
        let library = root.path().join("usr/lib/of-target");
        put(&library.join("libstd-0123.rlib"), "");
        assert_eq!(Toolchain::find(&places), None);

        put(&root.path().join("usr").join(SOURCES), "");
        assert_eq!(Toolchain::find(&places), Some(Toolchain::Ready { library: library.clone() }));
        fs::remove_file(library.join("libstd-0123.rlib")).unwrap();
        assert_eq!(Toolchain::find(&places), None);
    }
}
