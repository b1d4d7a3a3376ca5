//! Where programs lie.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
};

/// The folders in which tools are looked for.
#[derive(Clone, Debug)]
pub struct Places {
    folders: Vec<PathBuf>,
    root: PathBuf,
    variable: fn(&str) -> Option<OsString>,
}

impl Places {
    /// PATH, then cargo's folder for installed programs, which not every shell has on PATH.
    pub fn of_this_process() -> Places {
        let mut folders: Vec<PathBuf> =
            env::split_paths(&env::var_os("PATH").unwrap_or_default()).collect();
        let cargo_home = env::var_os("CARGO_HOME")
            .map(PathBuf::from)
            .or_else(|| env::home_dir().map(|home| home.join(".cargo")));
        folders.extend(cargo_home.map(|home| home.join("bin")));
        Places { folders, root: PathBuf::from("/"), variable: |name| env::var_os(name) }
    }

    /// Only `folders`, with `root` in place of `/` and no environment variables.
    pub fn new(folders: Vec<PathBuf>, root: &Path) -> Places {
        Places { folders, root: root.to_owned(), variable: |_| None }
    }

    /// The first of `names` that is an executable file, in the folder that the environment variable
    /// `folder_variable` names or in one of the places. CI images name the folders of drivers so.
    pub fn program(&self, names: &[&str], folder_variable: Option<&str>) -> Option<PathBuf> {
        let named = folder_variable.and_then(self.variable).map(PathBuf::from);
        names.iter().find_map(|name| {
            let file = format!("{name}{}", env::consts::EXE_SUFFIX);
            named.iter().chain(&self.folders).map(|f| f.join(&file)).find(|p| is_program(p))
        })
    }

    /// `path`, which begins with `/`, if something is there.
    pub fn absolute(&self, path: &str) -> Option<PathBuf> {
        let path = self.root.join(path.trim_start_matches('/'));
        path.exists().then_some(path)
    }
}

#[cfg(unix)]
fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_program(path: &Path) -> bool {
    path.is_file()
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::PermissionsExt};

    fn put(folder: &Path, name: &str, mode: u32) -> PathBuf {
        let path = folder.join(name);
        fs::create_dir_all(folder).unwrap();
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn the_order_of_names_goes_before_the_order_of_folders() {
        let root = tempfile::tempdir().unwrap();
        let (first, second) = (root.path().join("first"), root.path().join("second"));
        put(&first, "chromium", 0o755);
        let chrome = put(&second, "google-chrome", 0o755);
        let places = Places::new(vec![first, second], root.path());
        assert_eq!(places.program(&["google-chrome", "chromium"], None), Some(chrome));
    }

    #[test]
    fn a_file_that_cannot_be_run_is_no_program_and_neither_is_a_folder() {
        let root = tempfile::tempdir().unwrap();
        put(root.path(), "chromedriver", 0o644);
        fs::create_dir(root.path().join("geckodriver")).unwrap();
        let places = Places::new(vec![root.path().to_owned()], root.path());
        assert_eq!(places.program(&["chromedriver"], None), None);
        assert_eq!(places.program(&["geckodriver"], None), None);
    }

    #[test]
    fn the_folder_that_a_variable_names_is_looked_in_first() {
        let root = tempfile::tempdir().unwrap();
        let on_path = put(&root.path().join("path"), "cargo", 0o755);
        let mut places = Places::new(vec![root.path().join("path")], root.path());
        assert_eq!(places.program(&["cargo"], Some("CARGO_MANIFEST_DIR")), Some(on_path));
        // A variable that every test process has stands for the one of a CI image.
        places.variable = |_| Some(env::current_exe().unwrap().parent().unwrap().into());
        let name = env::current_exe().unwrap().file_name().unwrap().to_owned();
        let found = places.program(&[name.to_str().unwrap()], Some("CHROMEWEBDRIVER"));
        assert_eq!(found, Some(env::current_exe().unwrap()));
    }
}
