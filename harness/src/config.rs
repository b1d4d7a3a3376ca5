//! What a run is to do, with every name resolved.

use crate::{
    browser::{BrowserId, Look, Target},
    cases::{self, Case, Size},
    expectations::Expectations,
    home, models,
    server::Listen,
    suggest::did_you_mean,
    ui::Ui,
};
use anyhow::{Context, Result, bail, ensure};
use record::{Backend, Browser, Cell, Class, Precision};
use std::{path::PathBuf, time::Duration};

/// What a run is to do.
#[derive(Clone, Debug)]
pub struct Config {
    /// Browsers to drive.
    pub browsers: Vec<Target>,
    /// Cases to run.
    pub cases: Vec<Case>,
    /// Precisions to run each case at.
    pub precisions: Vec<Precision>,
    /// Backends to run each case on.
    pub backends: Vec<Backend>,
    /// Measured passes.
    pub repeat: u32,
    /// Visits to each cell.
    pub rounds: u32,
    /// Time allowed for one cell.
    pub timeout: Duration,
    /// Time allowed for the whole run.
    pub run_timeout: Option<Duration>,
    /// How often a cell that failed is tried again.
    pub retries: u32,
    /// Headless or not, and on which GPU.
    pub look: Look,
    /// The address of a Selenium Grid that has the browsers.
    pub grid: Option<String>,
    /// Where the page and the cases are served.
    pub listen: Listen,
    /// Browsers that may run at once.
    pub jobs: usize,
    /// Known failures.
    pub expectations: Expectations,
}

impl Config {
    /// The case that `cell` is about.
    pub fn case(&self, cell: &Cell) -> Option<&Case> {
        self.cases.iter().find(|case| case.name == cell.case)
    }

    /// The browser that `cell` is for, with its programs.
    pub fn target(&self, cell: &Cell) -> Target {
        let id = BrowserId::of(cell);
        let named = self.browsers.iter().find(|target| target.id == id);
        named.cloned().unwrap_or_else(|| Target::from(cell.browser))
    }

    /// The command that repeats `cell` alone, under the same conditions.
    pub fn repro(&self, cell: &Cell) -> String {
        let mut words: Vec<String> = home::command().split(' ').map(str::to_owned).collect();
        words.push("run".to_owned());
        if cell.browser != Browser::Host {
            words.extend(self.target(cell).options());
        }
        let mut option = |name: &str, value: String| words.extend([format!("--{name}"), value]);
        option("backends", cell.backend.to_string());
        let precision = &cell.precision;
        option("bits", precision.bits.to_string());
        if precision.bits.is_grouped() {
            option("scheme", precision.scheme.to_string());
            option("group-size", precision.group_size.to_string());
        }
        option("repeat", self.repeat.to_string());
        if self.rounds > 1 {
            option("rounds", self.rounds.to_string());
        }
        option("timeout", self.timeout.as_secs().to_string());
        if self.look.gpu != crate::browser::Gpu::Software {
            option("gpu", "hardware".to_owned());
        }
        if self.look.headed {
            words.push("--headed".to_owned());
        }
        words.extend(self.case(cell).into_iter().flat_map(|case| case.selector.clone()));
        words.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ")
    }
}

/// A word as a POSIX shell reads it back.
pub(crate) fn quote(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Where cases come from.
#[derive(Clone, Copy, Debug)]
pub struct Selection<'a> {
    /// Class names and model names.
    pub models: &'a [String],
    /// Case folders and folders of them.
    pub paths: &'a [PathBuf],
    /// Which committed cases there are to choose from.
    pub size: Size,
    /// Whether models that are not on this machine are fetched.
    pub may_fetch: bool,
}

impl Selection<'_> {
    /// The cases that are asked for: the named models and the given folders, or, if neither is
    /// there, every committed case.
    pub fn cases(&self, ui: &Ui) -> Result<Vec<Case>> {
        let mut chosen: Vec<Case> = Vec::new();
        let committed = if self.models.is_empty() && !self.paths.is_empty() {
            Vec::new()
        } else {
            self.size.cases()?
        };
        for name in self.models {
            chosen.extend(self.named(name, &committed, ui)?);
        }
        if self.models.is_empty() {
            chosen.extend(committed);
        }
        for path in self.paths {
            chosen.extend(cases::given(path)?);
        }
        let mut cases: Vec<Case> = Vec::new();
        for case in chosen {
            match cases.iter().find(|other| other.name == case.name) {
                None => cases.push(case),
                // Named twice, by its class and by its own name for example.
                Some(other) if other.folder == case.folder => {}
                Some(other) => bail!(
                    "two cases are called {:?}: {} and {}; rename one folder",
                    case.name,
                    other.folder.display(),
                    case.folder.display()
                ),
            }
        }
        ensure!(!cases.is_empty(), "there is no case to run; name some with --cases PATH");
        Ok(cases)
    }

    fn named(&self, name: &str, committed: &[Case], ui: &Ui) -> Result<Vec<Case>> {
        if let Some(case) = committed.iter().find(|case| case.name == name) {
            return Ok(vec![case.clone()]);
        }
        if let Ok(class) = name.parse::<Class>() {
            let of_class: Vec<Case> =
                committed.iter().filter(|case| case.class == class).cloned().collect();
            ensure!(!of_class.is_empty(), "there is no committed case of the class {class}");
            return Ok(of_class);
        }
        if self.size == Size::Tiny && models::NAMES.contains(&name) {
            if models::case_folder(name).is_none() && self.may_fetch {
                models::fetch(name, ui).with_context(|| format!("fetching the model {name}"))?;
            }
            let folder = models::case_folder(name).with_context(|| {
                let harness = home::command();
                format!("{name} is not on this machine; `{harness} models fetch {name}` gets it")
            })?;
            let selector = vec!["--models".to_owned(), name.to_owned()];
            let mut case = Case::open(&folder, selector)?;
            // The cache may call the folder by another name than the command line does.
            case.name = name.to_owned();
            return Ok(vec![case]);
        }
        let classes = Class::ALL.iter().map(|class| class.name());
        let known: Vec<&str> = classes
            .chain(committed.iter().map(|case| case.name.as_str()))
            .chain(models::NAMES.iter().copied().filter(|_| self.size == Size::Tiny))
            .collect();
        let hint = did_you_mean(name, known.iter().copied());
        bail!("unknown model {name:?}; known: {}{hint}", known.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_the_shell() {
        assert_eq!(quote("tests/zoo/bert-tiny"), "tests/zoo/bert-tiny");
        assert_eq!(quote("my model"), "'my model'");
        assert_eq!(quote("it's"), r"'it'\''s'");
        assert_eq!(quote(""), "''");
    }
}
