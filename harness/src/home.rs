//! Where the program finds what it does not hold in itself: the page, the committed cases, and the
//! words by which it is called.
//!
//! A program that cargo built and left in its target folder works with its checkout. One that `pack`
//! made has everything beside it:
//!
//! ```text
//! harness geckodriver README.md NOTICE …
//! share/web/…                          the page
//! share/cases/zoo/… share/cases/published/…
//! ```
//!
//! One that `cargo install --path harness` put elsewhere has neither. The first command that needs
//! the page builds it in the checkout and keeps page and cases in the user's data folder, beside the
//! hash of this very program; from then on the checkout may go, and may change.

use crate::{
    folders::{copy_folder, files, remove},
    ui::Ui,
};
use anyhow::{Context, Result, bail};
use directories::ProjectDirs;
use sha2::{Digest, Sha256};
use std::{
    env,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::LazyLock,
};

/// The folder beside a packed program that has its page and its cases.
pub(crate) const SHARE: &str = "share";

/// The file beside what an installed program keeps, with the hash of the program.
const STAMP: &str = "program.sha256";

/// Where this program belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Home {
    /// The checkout that it was built from, in whose target folder it lies.
    Checkout(PathBuf),
    /// Elsewhere, with nothing of its own yet; the checkout is still there.
    Installed(PathBuf),
    /// A folder with a page and cases.
    Share(PathBuf),
}

impl Home {
    /// Looks beside the program, in the user's data folder, and where it was built.
    ///
    /// # Errors
    ///
    /// If the program has lost all of them.
    pub fn find() -> Result<Home> {
        let program = env::current_exe().context("asking the system where this program is")?;
        let kept = kept().ok().filter(|kept| is_of(kept, &program));
        Home::of(&program, checkout(), kept)
    }

    fn of(program: &Path, checkout: Option<PathBuf>, kept: Option<PathBuf>) -> Result<Home> {
        if let Some(share) = share_beside(program) {
            return Ok(Home::Share(share));
        }
        match (checkout, kept) {
            (Some(root), _) if is_in_target(program) => Ok(Home::Checkout(root)),
            (_, Some(kept)) => Ok(Home::Share(kept)),
            (Some(root), None) => Ok(Home::Installed(root)),
            (None, None) => bail!(
                "{} has neither its folder {SHARE} beside it nor the checkout that it was built \
                 from; unpack the whole archive, or install it again from a checkout",
                program.display()
            ),
        }
    }

    /// The checkout, where there is one.
    pub fn checkout(&self) -> Option<&Path> {
        match self {
            Home::Checkout(root) | Home::Installed(root) => Some(root),
            Home::Share(_) => None,
        }
    }

    /// The folder with the committed cases `zoo`, `trained` or `published`.
    pub fn cases(&self, kind: &str) -> PathBuf {
        match self {
            Home::Checkout(root) | Home::Installed(root) => root.join("tests").join(kind),
            Home::Share(share) => share.join("cases").join(kind),
        }
    }
}

/// The checkout, for a command that cannot do without it.
///
/// # Errors
///
/// If this program has none; `what` is what it was to do.
pub fn needed_checkout(what: &str) -> Result<PathBuf> {
    let root = Home::find()?.checkout().map(Path::to_owned);
    root.with_context(|| {
        format!("{what} takes a checkout of the repository: run `cargo harness` in one")
    })
}

/// What one types to start this program: `cargo harness` in a checkout, `harness` elsewhere.
pub fn command() -> &'static str {
    static COMMAND: LazyLock<&str> = LazyLock::new(|| match env::current_exe() {
        Ok(program) if is_in_target(&program) && share_beside(&program).is_none() => {
            "cargo harness"
        }
        _ => "harness",
    });
    *COMMAND
}

/// The folder of a packed program.
pub(crate) fn pack() -> Option<PathBuf> {
    let program = env::current_exe().ok()?;
    share_beside(&program)?;
    program.parent().map(Path::to_owned)
}

/// Where an installed program keeps page and cases.
fn kept() -> Result<PathBuf> {
    let folders = ProjectDirs::from("", "", "fewbit")
        .context("this user has no home folder in which page and cases could be kept")?;
    Ok(folders.data_dir().join("program"))
}

/// Keeps page and cases for an installed program, so that it outlives its checkout; gives the page.
pub(crate) fn keep(page: &Path, checkout: &Path, ui: &Ui) -> Result<PathBuf> {
    let kept = kept()?;
    // Another process of the program may be about to read it: it is replaced in one step.
    let new = kept.with_extension("new");
    remove(&new)?;
    share(page, checkout, &new)?;
    mark(&new)?;
    remove(&kept)?;
    fs::rename(&new, &kept).with_context(|| format!("cannot make {}", kept.display()))?;
    ui.say(format!("page and cases are kept in {}; the checkout may go", kept.display()));
    Ok(kept.join("web"))
}

/// The page and the committed cases, as [`Home`] expects them. Recipes and scripts beside the
/// cases made them and are of no use without the checkout.
pub(crate) fn share(page: &Path, checkout: &Path, folder: &Path) -> Result<()> {
    let web = folder.join("web");
    copy_folder(page, &web)?;
    // Browsers take Brotli from their own machine, and whoever does not takes the files as they are.
    for file in files(&web)?.iter().filter(|file| file.extension().is_some_and(|it| it == "gz")) {
        fs::remove_file(file).with_context(|| format!("cannot remove {}", file.display()))?;
    }
    for kind in ["zoo", "trained", "published"] {
        let from = checkout.join("tests").join(kind);
        let context = || format!("reading the folder {}", from.display());
        for entry in from.read_dir().with_context(context)? {
            let path = entry.with_context(context)?.path();
            let name = path.file_name().unwrap_or_default();
            if path.is_dir() && name != "recipes" && name != "__pycache__" {
                copy_folder(&path, &folder.join("cases").join(kind).join(name))?;
            }
        }
    }
    Ok(())
}

/// Marks a folder as kept for this program.
fn mark(kept: &Path) -> Result<()> {
    let program = env::current_exe().context("asking the system where this program is")?;
    let hash = hash(&program).with_context(|| format!("reading {}", program.display()))?;
    let stamp = kept.join(STAMP);
    fs::write(&stamp, hash).with_context(|| format!("cannot write {}", stamp.display()))
}

/// Whether `kept` was kept for `program` as it is now.
fn is_of(kept: &Path, program: &Path) -> bool {
    let stamp = fs::read_to_string(kept.join(STAMP));
    stamp.is_ok_and(|stamp| hash(program).is_ok_and(|hash| hash == stamp))
}

fn hash(file: &Path) -> io::Result<String> {
    let mut hash = Sha256::new();
    io::copy(&mut File::open(file)?, &mut hash)?;
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn share_beside(program: &Path) -> Option<PathBuf> {
    let share = program.parent()?.join(SHARE);
    (share.join("web").is_dir() && share.join("cases").is_dir()).then_some(share)
}

/// Whether cargo built the program and it is still where it was put: `target/debug/` or, for another
/// system, `target/TRIPLE/debug/`.
fn is_in_target(program: &Path) -> bool {
    program.ancestors().skip(2).take(2).any(|folder| folder.join(".rustc_info.json").is_file())
}

fn checkout() -> Option<PathBuf> {
    // Not in its canonical form, which on Windows is one that compilers and git stumble over.
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?;
    root.join("harness/Cargo.toml").is_file().then(|| root.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_program_finds_its_home() {
        let root = tempfile::tempdir().unwrap();
        let below = |path: &str| root.path().join(path);
        let checkout = || Some(below("checkout"));
        for folder in ["checkout/target/debug", "pack/share/web", "pack/share/cases", "bin"] {
            fs::create_dir_all(below(folder)).unwrap();
        }
        fs::write(below("checkout/target/.rustc_info.json"), "{}").unwrap();

        let built = below("checkout/target/debug/harness");
        assert_eq!(Home::of(&built, checkout(), None).unwrap(), Home::Checkout(below("checkout")));
        let cross = below("checkout/target/aarch64-apple-darwin/release/harness");
        assert_eq!(Home::of(&cross, checkout(), None).unwrap(), Home::Checkout(below("checkout")));

        // A packed program has no use for a checkout that happens to be where it was built.
        let packed = below("pack/harness");
        assert_eq!(Home::of(&packed, checkout(), None).unwrap(), Home::Share(below("pack/share")));
        assert_eq!(Home::of(&packed, None, None).unwrap(), Home::Share(below("pack/share")));

        let installed = below("bin/harness");
        let home = Home::of(&installed, checkout(), None).unwrap();
        assert_eq!(home, Home::Installed(below("checkout")));
        let kept = Home::of(&installed, checkout(), Some(below("kept"))).unwrap();
        assert_eq!(kept, Home::Share(below("kept")));
        let error = Home::of(&installed, None, None).unwrap_err().to_string();
        assert!(error.contains("unpack the whole archive"), "{error}");
    }

    #[test]
    fn what_is_shared_is_compressed_once() {
        let root = tempfile::tempdir().unwrap();
        let below = |path: &str| root.path().join(path);
        let shared = ["tests/zoo/a/case.json", "page/pkg/a.wasm", "page/pkg/a.wasm.br"];
        for file in [
            &shared[..],
            &[
                "page/pkg/a.wasm.gz",
                "tests/zoo/recipes/b",
                "tests/trained/e/f",
                "tests/published/c/d",
            ],
        ]
        .concat()
        {
            fs::create_dir_all(below(file).parent().unwrap()).unwrap();
            fs::write(below(file), "x").unwrap();
        }
        share(&below("page"), root.path(), &below("share")).unwrap();
        let made: Vec<PathBuf> = files(&below("share")).unwrap();
        let made: Vec<_> = made.iter().map(|it| it.strip_prefix(below("share")).unwrap()).collect();
        let wanted = [
            "cases/published/c/d",
            "cases/trained/e/f",
            "cases/zoo/a/case.json",
            "web/pkg/a.wasm",
            "web/pkg/a.wasm.br",
        ];
        assert_eq!(made, wanted.map(Path::new));
    }

    #[test]
    fn what_was_kept_for_another_program_does_not_count() {
        let root = tempfile::tempdir().unwrap();
        let program = root.path().join("harness");
        fs::write(&program, "one program").unwrap();
        assert!(!is_of(root.path(), &program));
        fs::write(root.path().join(STAMP), hash(&program).unwrap()).unwrap();
        assert!(is_of(root.path(), &program));
        fs::write(&program, "another program").unwrap();
        assert!(!is_of(root.path(), &program));
    }
}
