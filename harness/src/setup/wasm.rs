//! A compiler with a standard library for `wasm32-unknown-unknown`.
//!
//! rustup brings one in a few seconds. Where it may not download, Debian's `rustc-web` carries the
//! sources of the standard library, from which cargo builds it together with the engine; that takes
//! a linker and a minute more the first time, and gives the same bundle.

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

/// One way to compile for a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Toolchain {
    /// The toolchain in use has the target's standard library.
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

    /// The flags of rustc.
    pub(crate) fn rustflags(&self) -> Vec<String> {
        let mut flags = vec!["-C".to_owned(), FEATURES.to_owned()];
        if let Toolchain::FromSource { linker, .. } = self {
            let linker = format!("linker={}", linker.display());
            flags.extend(["-C", &linker, "-C", "linker-flavor=wasm-ld"].map(str::to_owned));
        }
        flags
    }

    /// `cargo build` for a page, to be completed with what to build.
    pub(crate) fn cargo_build(&self) -> Command {
        let mut cargo = match self {
            Toolchain::Ready { .. } => Command::new(cargo()),
            Toolchain::FromSource { .. } => Command::new("/usr/bin/cargo"),
        };
        cargo.args(["build", "--target", TRIPLE]);
        if let Toolchain::FromSource { .. } = self {
            // Building the standard library is a nightly feature that the compiler's own version of
            // the library supports as well.
            cargo.arg("-Zbuild-std=std,panic_abort");
            cargo.env("RUSTC", "/usr/bin/rustc").env("RUSTC_BOOTSTRAP", "1");
            cargo.env_remove("RUSTUP_TOOLCHAIN").env_remove("RUSTDOC");
        }
        // This form of the variable wins over every other place in which flags can stand.
        cargo.env("CARGO_ENCODED_RUSTFLAGS", self.rustflags().join("\x1f"));
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
    let library =
        command::answer(rustc.to_str()?, &["--print", "target-libdir", "--target", TRIPLE])?;
    let library = PathBuf::from(library);
    // Asking for the folder succeeds for every target that rustc knows; the library is what counts.
    let mut files = library.read_dir().ok()?.flatten();
    files
        .any(|file| file.file_name().to_string_lossy().starts_with("libstd-"))
        .then_some(Toolchain::Ready { library })
}

fn from_source(places: &Places) -> Option<Toolchain> {
    places.absolute("/usr/bin/rustc")?;
    places.absolute("/usr/bin/cargo")?;
    let sources = places.absolute("/usr/lib/rustlib/src/rust")?;
    places.absolute("/usr/lib/rustlib/src/rust/library/std/Cargo.toml")?;
    let linker = places.program(&["wasm-ld", "wasm-ld-21", "wasm-ld-20", "wasm-ld-19"], None)?;
    Some(Toolchain::FromSource { sources, linker })
}

/// Installs the target: through rustup, else Debian's packages.
pub(super) fn install(ui: &Ui) -> Result<()> {
    let by_rustup = add_target(ui);
    let Err(rustup) = by_rustup else { return Ok(()) };
    if !apt::is_here() {
        return Err(rustup);
    }
    ui.say("rustup cannot add the target here, so Debian's rustc-web is installed");
    apt::install(DEBIAN_PACKAGES, ui).map_err(|apt| anyhow!("{rustup:#}\n{apt:#}"))
}

fn add_target(ui: &Ui) -> Result<()> {
    let places = Places::of_this_process();
    let Some(rustup) = places.program(&["rustup"], None) else {
        bail!("rustup is not on PATH");
    };
    let bar = ui.bar(format!("adding {TRIPLE}"), None, Unit::Steps);
    let mut command = Command::new(rustup);
    command.args(["target", "add", TRIPLE]);
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
        let flags = toolchain.rustflags().join(" ");
        assert!(flags.contains("+simd128") && flags.contains("wasm-ld-19"), "{flags}");
    }

    #[test]
    fn a_compiler_counts_only_with_the_library_of_the_target() {
        let root = tempfile::tempdir().unwrap();
        let library = root.path().join("lib");
        fs::create_dir(&library).unwrap();
        put(&root.path().join("rustc"), &format!("#!/bin/sh\necho {}\n", library.display()));
        let places = Places::new(vec![root.path().to_owned()], root.path());
        assert_eq!(Toolchain::find(&places), None);

        fs::write(library.join("libstd-0123.rlib"), "").unwrap();
        assert_eq!(Toolchain::find(&places), Some(Toolchain::Ready { library }));
    }
}
