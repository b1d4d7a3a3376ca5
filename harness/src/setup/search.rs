//! Where programs lie, on each operating system.
//!
//! The system is a value and not a `cfg`, so that tests on one find programs as on the others.

use crate::home;
use std::{
    collections::HashMap,
    env,
    ffi::OsString,
    path::{Path, PathBuf},
};

/// An operating system, as far as places of programs and flags of browsers differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Os {
    /// Linux, and what else has its folders.
    Linux,
    /// macOS.
    Macos,
    /// Windows.
    Windows,
}

impl Os {
    /// The system that this program was built for.
    pub const CURRENT: Os = if cfg!(windows) {
        Os::Windows
    } else if cfg!(target_os = "macos") {
        Os::Macos
    } else {
        Os::Linux
    };
}

/// A program, by its names and by the places where its installers put it.
#[derive(Debug)]
pub struct Program {
    /// Names of its file without `.exe`, the preferred one first.
    pub names: &'static [&'static str],
    /// Environment variable that names its folder; CI images set those of drivers.
    pub folder_variable: Option<&'static str>,
    /// Folders on Linux besides those on PATH; one part of each may be `*`.
    pub linux: &'static [&'static str],
    /// Files below `/Applications` or `~/Applications` on macOS.
    pub macos: &'static [&'static str],
    /// Files below one of the program folders of Windows.
    pub windows: &'static [&'static str],
}

/// The folders in which tools are looked for.
#[derive(Clone, Debug)]
pub struct Places {
    /// The system whose habits count.
    pub os: Os,
    folders: Vec<PathBuf>,
    root: PathBuf,
    variables: HashMap<String, OsString>,
}

impl Places {
    /// PATH, then what a packed program carries, then cargo's folder for installed programs, which not
    /// every shell has on PATH.
    pub fn of_this_process() -> Places {
        let mut folders: Vec<PathBuf> =
            env::split_paths(&env::var_os("PATH").unwrap_or_default()).collect();
        folders.extend(home::pack());
        let cargo_home = env::var_os("CARGO_HOME")
            .map(PathBuf::from)
            .or_else(|| env::home_dir().map(|home| home.join(".cargo")));
        folders.extend(cargo_home.map(|home| home.join("bin")));
        // A variable whose name is no text is none that anything here asks for.
        let variables = env::vars_os().filter_map(|(name, value)| {
            name.into_string().ok().map(|name| (Places::variable_name(Os::CURRENT, &name), value))
        });
        let variables = variables.collect();
        Places { os: Os::CURRENT, folders, root: PathBuf::from("/"), variables }
    }

    /// Only `folders`, with `root` in place of `/` and no environment variables.
    pub fn new(folders: Vec<PathBuf>, root: &Path) -> Places {
        let variables = HashMap::new();
        Places { os: Os::CURRENT, folders, root: root.to_owned(), variables }
    }

    /// The same places seen from another system, with environment variables of its own.
    pub fn on(self, os: Os, variables: &[(&str, &Path)]) -> Places {
        let named = |(name, value): &(&str, &Path)| {
            (Places::variable_name(os, name), OsString::from(value))
        };
        Places { os, variables: variables.iter().map(named).collect(), ..self }
    }

    /// Windows tells no upper case from lower.
    fn variable_name(os: Os, name: &str) -> String {
        if os == Os::Windows { name.to_uppercase() } else { name.to_owned() }
    }

    fn variable(&self, name: &str) -> Option<PathBuf> {
        self.variables.get(&Places::variable_name(self.os, name)).map(PathBuf::from)
    }

    /// Where `program` is: in the folder of its variable, on PATH, or where installers put it.
    pub fn find(&self, program: &Program) -> Option<PathBuf> {
        self.program(program.names, program.folder_variable).or_else(|| self.installed(program))
    }

    fn installed(&self, program: &Program) -> Option<PathBuf> {
        let (folders, files): (Vec<PathBuf>, Vec<&str>) = match self.os {
            Os::Linux => {
                let folders = program.linux.iter().flat_map(|folder| self.expand(folder)).collect();
                (folders, program.names.to_vec())
            }
            Os::Macos => {
                let of_user = self.variable("HOME").map(|home| home.join("Applications"));
                let of_all = self.root.join("Applications");
                ([of_all].into_iter().chain(of_user).collect(), program.macos.to_vec())
            }
            Os::Windows => {
                let variables = ["ProgramFiles", "ProgramFiles(x86)", "LOCALAPPDATA"];
                let folders = variables.iter().filter_map(|name| self.variable(name)).collect();
                (folders, program.windows.to_vec())
            }
        };
        let paths = folders.iter().flat_map(|folder| files.iter().map(|file| folder.join(file)));
        paths.into_iter().find(|path| is_program(path))
    }

    /// The folders that an absolute path with at most one `*` among its parts stands for, sorted.
    fn expand(&self, path: &str) -> Vec<PathBuf> {
        let path = path.trim_start_matches('/');
        let Some((before, after)) = path.split_once("/*/") else {
            return vec![self.root.join(path)];
        };
        let entries = self.root.join(before).read_dir().into_iter().flatten().flatten();
        let mut folders: Vec<PathBuf> = entries.map(|entry| entry.path().join(after)).collect();
        folders.sort();
        folders
    }

    /// The first of `names` that is an executable file, in the folder that the environment variable
    /// `folder_variable` names or in one of the places. CI images name the folders of drivers so.
    pub fn program(&self, names: &[&str], folder_variable: Option<&str>) -> Option<PathBuf> {
        let named = folder_variable.and_then(|name| self.variable(name));
        let suffix = if self.os == Os::Windows { ".exe" } else { "" };
        names.iter().find_map(|name| {
            let file = format!("{name}{suffix}");
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
        let (path, ci) = (root.path().join("path"), root.path().join("ci"));
        let on_path = put(&path, "chromedriver", 0o755);
        let of_image = put(&ci, "chromedriver", 0o755);
        let places = Places::new(vec![path], root.path());
        let find = |places: &Places| places.program(&["chromedriver"], Some("CHROMEWEBDRIVER"));
        assert_eq!(find(&places), Some(on_path));
        let places = places.on(Os::CURRENT, &[("CHROMEWEBDRIVER", &ci)]);
        assert_eq!(find(&places), Some(of_image));
    }

    const PROGRAM: Program = Program {
        names: &["edge"],
        folder_variable: None,
        linux: &["/opt/edge", "/usr/lib/*/edge"],
        macos: &["Edge.app/Contents/MacOS/Edge"],
        windows: &["Microsoft/Edge/edge.exe"],
    };

    #[test]
    fn each_system_has_its_own_places() {
        let root = tempfile::tempdir().unwrap();
        let below = |folder: &str| root.path().join(folder);
        let linux = put(&below("usr/lib/x86_64-linux-gnu/edge"), "edge", 0o755);
        let macos = put(&below("home/Applications/Edge.app/Contents/MacOS"), "Edge", 0o755);
        let windows = put(&below("local/Microsoft/Edge"), "edge.exe", 0o755);
        let places = |os, variables: &[(&str, &Path)]| {
            Places::new(Vec::new(), root.path()).on(os, variables).find(&PROGRAM)
        };
        assert_eq!(places(Os::Linux, &[]), Some(linux));
        assert_eq!(places(Os::Macos, &[("HOME", &below("home"))]), Some(macos));
        assert_eq!(places(Os::Macos, &[]), None);
        assert_eq!(places(Os::Windows, &[("LocalAppData", &below("local"))]), Some(windows));
    }

    #[test]
    fn programs_of_windows_end_in_exe() {
        let root = tempfile::tempdir().unwrap();
        put(root.path(), "msedgedriver", 0o755);
        let places = Places::new(vec![root.path().to_owned()], root.path()).on(Os::Windows, &[]);
        assert_eq!(places.program(&["msedgedriver"], None), None);
        let path = put(root.path(), "msedgedriver.exe", 0o755);
        assert_eq!(places.program(&["msedgedriver"], None), Some(path));
    }
}
