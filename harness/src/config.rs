//! What a run is to do, with every name resolved.

use crate::{
    browser::{BrowserId, SessionOptions, Target},
    cases::{self, Case, Size},
    expectations::Expectations,
    home,
    input::Input,
    models::{
        self,
        located::{Located, is_repository},
    },
    reference,
    server::Listen,
    sizes::Sizes,
    suggest::did_you_mean,
    ui::Ui,
};
use anyhow::{Result, bail, ensure};
use record::{
    Backend, Browser, Cell, Class, KvFormat, MemoryLimit, Mix, Precision, Quantizer, Window,
};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// Enough for a cell, where nothing else is asked for: a machine that is shared takes three times as long as
/// one that is not.
pub const LIMIT: Duration = Duration::from_secs(120);
/// What a cell gets beyond [`LIMIT`] where a software adapter computes: thirty seconds of speech take SwiftShader thirty
/// times as long as the WASM backend, and a cell has a dozen passes.
const SECONDS_PER_MB: f64 = 8.0;

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
    /// Sizes to run each decoder at, numbers of threads, and how kernels are chosen.
    pub sizes: Sizes,
    /// Measured passes.
    pub repeat: u32,
    /// Visits to each cell.
    pub rounds: u32,
    /// What weights and cache of a cell may take once it is measured.
    pub lower_to: Option<MemoryLimit>,
    /// Whether to say where the time of a cell's passes goes.
    pub trace: bool,
    /// How long a cell may measure kernels before its passes, if it is to.
    pub tuning_budget: Duration,
    /// Time allowed for one cell, where it is not as [`Config::limit`] has it.
    pub timeout: Option<Duration>,
    /// Time allowed for the whole run.
    pub run_timeout: Option<Duration>,
    /// How often a cell that failed is tried again.
    pub retries: u32,
    /// Headless or not, and on which GPU.
    pub session: SessionOptions,
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

    /// Time allowed for a cell of `case`: what was asked for, or what is enough, which grows with the model
    /// where the processor plays the GPU.
    pub fn limit(&self, case: &Case, is_software: bool) -> Duration {
        self.timeout.unwrap_or_else(|| {
            let bytes: u64 = case.files.iter().map(|file| file.bytes).sum();
            let more = if is_software { SECONDS_PER_MB * (bytes as f64 / 1e6) } else { 0.0 };
            LIMIT + Duration::from_secs_f64(more)
        })
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
        if precision.quantizer != Quantizer::default() {
            option("quantizer", precision.quantizer.to_string());
        }
        if precision.kv != KvFormat::default() {
            option("kv-bits", precision.kv.to_string());
        }
        if let Some(Window { latest, sinks }) = precision.window {
            option("window", latest.to_string());
            option("sinks", sinks.to_string());
        }
        if let Some(limit) = precision.limit {
            option("memory-limit", limit.to_string());
        }
        if let Some(limit) = self.lower_to {
            option("lower-to", limit.to_string());
        }
        if let Some(Mix::Rule { bits, critical }) = precision.mix() {
            option("base-bits", bits.to_string());
            option("critical-bits", critical.to_string());
        }
        for (name, value) in Sizes::options(&cell.axes) {
            option(&name, value);
        }
        option("repeat", self.repeat.to_string());
        if self.rounds > 1 {
            option("rounds", self.rounds.to_string());
        }
        if let Some(timeout) = self.timeout {
            option("timeout", timeout.as_secs().to_string());
        }
        if self.session.gpu != crate::browser::Gpu::Software {
            option("gpu", "hardware".to_owned());
        }
        let flags = [("--trace", self.trace), ("--headed", self.session.headed)];
        words.extend(flags.iter().filter(|(_, on)| *on).map(|(flag, _)| (*flag).to_owned()));
        words.extend(self.case(cell).into_iter().flat_map(|case| case.selector.clone()));
        shell_words::join(words)
    }
}

/// Where cases come from.
#[derive(Clone, Copy, Debug)]
pub struct Selection<'a> {
    /// Classes, names and paths of models, and repositories of the Hub.
    pub models: &'a [String],
    /// Case folders, models, and folders of them.
    pub paths: &'a [PathBuf],
    /// What is given to models as they are published, in place of what is built in.
    pub input: &'a [String],
    /// Which committed cases there are to choose from.
    pub size: Size,
    /// Whether models that are not on this machine are fetched.
    pub may_fetch: bool,
    /// Whether models as they are published become cases, with inputs and what is expected; a plan
    /// asks for their classes alone.
    pub makes: bool,
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
        let input = match self.input.is_empty() {
            true => None,
            false => Some(Input::collect(self.input, &[])?),
        };
        for name in self.models {
            chosen.extend(self.named(name, &committed, input.as_ref(), ui)?);
        }
        if self.models.is_empty() {
            chosen.extend(committed);
        }
        for path in self.paths {
            let make = |path: &Path, selector| {
                self.made(&Located::at(path)?, input.as_ref(), selector, ui)
            };
            chosen.extend(cases::given(path, &make)?);
        }
        let takes_input = |case: &Case| case.selector.iter().any(|word| word == "--input");
        ensure!(
            self.input.is_empty() || chosen.iter().any(takes_input),
            "--input is for models as they are published; these cases have inputs of their own"
        );
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

    fn named(
        &self,
        name: &str,
        committed: &[Case],
        input: Option<&Input>,
        ui: &Ui,
    ) -> Result<Vec<Case>> {
        if let Some(case) = committed.iter().find(|case| case.name == name) {
            return Ok(vec![case.clone()]);
        }
        if let Ok(class) = name.parse::<Class>() {
            let of_class: Vec<Case> =
                committed.iter().filter(|case| case.class == class).cloned().collect();
            ensure!(!of_class.is_empty(), "there is no committed case of the class {class}");
            return Ok(of_class);
        }
        let is_path = Path::new(name).exists();
        let has_name = self.size == Size::Tiny && models::NAMES.contains(&name);
        if is_path || has_name || is_repository(name) {
            let selector = vec!["--models".to_owned(), name.to_owned()];
            let model = Located::find(name, self.may_fetch, ui)?;
            if model.is_case() {
                // The cache may call the folder by another name than the command line does.
                let case = Case::open(&model.folder, selector)?;
                return Ok(vec![Case { name: model.name, ..case }]);
            }
            return Ok(vec![self.made(&model, input, selector, ui)?]);
        }
        let classes = Class::ALL.iter().map(|class| class.name());
        let known: Vec<&str> = classes
            .chain(committed.iter().map(|case| case.name.as_str()))
            .chain(models::NAMES.iter().copied().filter(|_| self.size == Size::Tiny))
            .collect();
        let hint = did_you_mean(name, known.iter().copied());
        bail!(
            "unknown model {name:?}; known: {}; or give a folder, a .gguf file or OWNER/NAME{hint}",
            known.join(" ")
        )
    }

    /// The case of a model as it was published, or its outline.
    fn made(
        &self,
        model: &Located,
        input: Option<&Input>,
        mut selector: Vec<String>,
        ui: &Ui,
    ) -> Result<Case> {
        for given in self.input {
            selector.extend(["--input".to_owned(), given.clone()]);
        }
        match self.makes {
            true => reference::case(model, input, selector, ui),
            false => reference::outline(model, selector),
        }
    }
}
