//! Where the values of options come from: the command line, the environment, a profile, the defaults.
//!
//! Profiles become the defaults of the command line's own definition, and environment variables are
//! bound to it, so every value is read and checked in one place and `--help` shows what is in effect.
//! `default.toml` holds the built-in profiles and is the manual.

mod aliases;

use crate::{
    cli::{
        Cli,
        Command::{Bench, Run, Tune},
        ConfigCommand,
    },
    home,
    suggest::did_you_mean,
    ui::Ui,
};
use anyhow::{Context, Result, anyhow, bail};
use clap::{
    Arg, ArgMatches, Command, CommandFactory, FromArgMatches,
    error::{ContextKind, ContextValue},
    parser::ValueSource,
};
use serde_json::json;
use std::{collections::BTreeMap, error::Error, ffi::OsString, fs, path::PathBuf};
use toml::{Table, Value};

/// The built-in profiles.
pub const DEFAULT: &str = include_str!("default.toml");
/// The name of a project's own file.
const FILE: &str = "harness.toml";
/// What the names of environment variables begin with.
const PREFIX: &str = "FEWBIT_";
/// Where the values of the built-in profiles are from, with the name of the profile behind it.
const BUILT_IN: &str = "the built-in profile";
/// Where a value is from that nobody has set.
const DEFAULT_ORIGIN: &str = "the built-in profile default";

/// A value and who set it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Set {
    values: Vec<String>,
    origin: String,
}

/// The values of all options that are set by files or foreign variables, by the option's long name.
#[derive(Debug, Default)]
struct Layers(BTreeMap<String, Set>);

/// Reads the command line over all that lies under it.
pub fn parse(words: &[OsString]) -> Result<Cli> {
    let layers = Layers::load(words, &|name| std::env::var(name).ok())?;
    let mut matches = match layers.command().try_get_matches_from(words) {
        Ok(matches) => matches,
        Err(error) => match layers.blame(&error, words, &|name| std::env::var(name).ok()) {
            Some(blamed) => return Err(blamed),
            None => error.exit(),
        },
    };
    layers.read(&mut matches).map_err(|error| error.exit())
}

/// Reads a command line in which an option may be given twice; the last one counts.
pub fn parse_again(words: &[OsString]) -> Result<Cli> {
    let layers = Layers::load(words, &|name| std::env::var(name).ok())?;
    let command = layers.command().mut_subcommand("run", |run| run.args_override_self(true));
    Ok(layers.read(&mut command.try_get_matches_from(words)?)?)
}

/// Prints where the values of a run come from.
pub fn run(command: &ConfigCommand, ui: &Ui) -> Result<()> {
    let args = match command {
        ConfigCommand::Show(args) => args,
        ConfigCommand::Manual => {
            ui.result(DEFAULT.trim_end(), json!({"toml": DEFAULT}));
            return Ok(());
        }
    };
    // The profile may be named before or behind `config show`, so it is looked for in all words.
    let all: Vec<OsString> = std::env::args_os().collect();
    let layers = Layers::load(&all, &|name| std::env::var(name).ok())?;
    let run = ["harness", "run"].map(OsString::from);
    let words: Vec<OsString> = run.into_iter().chain(args.options.clone()).collect();
    let matches = layers.command().get_matches_from(&words);
    let (_, run) = matches.subcommand().context("the options of run are wanted")?;
    for (name, set) in layers.effective(run) {
        let text = format!("{name} = {}  # {}", set.values.join(" "), set.origin);
        ui.result(text, json!({"option": name, "values": set.values, "origin": set.origin}));
    }
    Ok(())
}

impl Layers {
    /// Reads the built-in profiles, the project's file and the variables of other tools.
    fn load(words: &[OsString], env: &dyn Fn(&str) -> Option<String>) -> Result<Layers> {
        let given = |name: &str| {
            named(words, name).or_else(|| env(&format!("{PREFIX}{}", name.to_uppercase())))
        };
        let profile = given("profile").unwrap_or_else(|| "default".to_owned());
        let mut files = vec![(None, read(DEFAULT)?)];
        let file = given("config").map(PathBuf::from);
        if let Some(path) = file.or_else(|| Some(PathBuf::from(FILE)).filter(|path| path.exists()))
        {
            let context = || format!("reading {}", path.display());
            let text = fs::read_to_string(&path).with_context(context)?;
            let profiles = read(&text).with_context(context)?;
            files.push((Some((path, text)), profiles));
        }
        let mut layers = Layers::default();
        let names = if profile == "default" { vec!["default"] } else { vec!["default", &profile] };
        for name in names {
            let mut is_known = false;
            for (file, profiles) in &files {
                let Some(values) = profiles.get(name) else { continue };
                is_known = true;
                let origin = |option: &str| match file {
                    None => format!("{BUILT_IN} {name}"),
                    Some((path, text)) => {
                        let line = line_of(text, name, option);
                        let line = line.map(|line| format!(":{line}")).unwrap_or_default();
                        format!("{}{line}, profile {name}", path.display())
                    }
                };
                layers.add(values, &origin)?;
            }
            if !is_known {
                let known: Vec<_> = files
                    .iter()
                    .flat_map(|(_, profiles)| profiles.keys())
                    .map(String::as_str)
                    .collect();
                let hint = did_you_mean(name, known.iter().copied());
                bail!("there is no profile {name:?}; known: {}{hint}", known.join(" "));
            }
        }
        for (option, values, origin) in aliases::read(env)? {
            layers.0.insert(option.to_owned(), Set { values, origin });
        }
        Ok(layers)
    }

    /// Takes the values of a profile; `origin` says where the one of an option stands.
    fn add(&mut self, values: &Table, origin: &dyn Fn(&str) -> String) -> Result<()> {
        let options = options(&definition());
        for (name, value) in values {
            let origin = origin(name);
            if !options.contains(name) {
                let hint = did_you_mean(name, options.iter().map(String::as_str));
                let known = options.join(" ");
                bail!("{origin}: there is no option {name:?}; known: {known}{hint}");
            }
            let values = texts(value).with_context(|| format!("{origin}: the value of {name}"))?;
            self.0.insert(name.clone(), Set { values, origin });
        }
        Ok(())
    }

    /// What was said on the command line, with what only the layers know: whether anybody named the
    /// browsers.
    fn read(&self, matches: &mut ArgMatches) -> Result<Cli, clap::Error> {
        let is_default = matches.subcommand().is_some_and(|(_, sub)| {
            let source =
                sub.try_contains_id("browsers").ok().and_then(|_| sub.value_source("browsers"));
            let origin = self.0.get("browsers").map(|set| set.origin.as_str());
            source == Some(ValueSource::DefaultValue) && origin == Some(DEFAULT_ORIGIN)
        });
        // The definition that made the matches is the one that reads them.
        let mut cli = Cli::from_arg_matches_mut(matches)?;
        match &mut cli.command {
            Run(args) => args.cells.browsers.are_default = is_default,
            Bench(args) => args.browsers.are_default = is_default,
            Tune(args) => args.browsers.are_default = is_default,
            _ => {}
        }
        Ok(cli)
    }

    /// Who is to blame for a value that its option does not take: clap knows the option, and blames the
    /// command line. None if that is right.
    fn blame(
        &self,
        error: &clap::Error,
        words: &[OsString],
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Option<anyhow::Error> {
        let text = |kind| match error.get(kind) {
            Some(ContextValue::String(text)) => Some(text.as_str()),
            _ => None,
        };
        let option = text(ContextKind::InvalidArg)?.strip_prefix("--")?.split([' ', '=']).next()?;
        if named(words, option).is_some() {
            return None;
        }
        let origin = match env(&variable(option)) {
            Some(_) => variable(option),
            None => self.0.get(option)?.origin.clone(),
        };
        let reason = match (error.source(), error.get(ContextKind::ValidValue)) {
            (Some(source), _) => source.to_string(),
            (None, Some(ContextValue::Strings(known))) => format!("known: {}", known.join(" ")),
            (None, _) => "it does not take that".to_owned(),
        };
        let value = text(ContextKind::InvalidValue).unwrap_or_default();
        Some(anyhow!("{origin}: {option} is {value:?}: {reason}"))
    }

    /// The definition of the command line, with what lies under it as its defaults.
    fn command(&self) -> Command {
        let command = definition();
        let options = options(&command);
        let names: Vec<String> =
            command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
        let lay = |arg: Arg| {
            let Some(name) =
                arg.get_long().filter(|name| options.iter().any(|option| option == name))
            else {
                return arg;
            };
            let name = name.to_owned();
            let arg = arg.env(variable(&name)).hide_env(true);
            match self.0.get(&name) {
                Some(set) => arg.required(false).default_values(set.values.clone()),
                None => arg,
            }
        };
        // Other commands share where records and reports are, and nothing else of a run.
        let lay_outputs = |arg: Arg| match arg.get_long() {
            Some("db" | "output-matrix" | "output-report") => lay(arg),
            _ => arg,
        };
        // `bench` and `tune` have sessions as a run has them, and measure otherwise.
        let lay_sessions = |arg: Arg| match arg.get_long() {
            Some(
                "browsers" | "browser-binary" | "driver-binary" | "backends" | "headed" | "gpu"
                | "db",
            ) => lay(arg),
            _ => arg,
        };
        let lay_budgets = |arg: Arg| match arg.get_long() {
            Some(name) if name == "db" || name.starts_with("max-") => lay(arg),
            _ => arg,
        };
        names.iter().fold(command, |command, name| match name.as_str() {
            "run" | "plan" => command.mut_subcommand(name, |sub| sub.mut_args(&lay)),
            "gate" => command.mut_subcommand(name, |sub| sub.mut_args(lay_budgets)),
            "bench" | "tune" => command.mut_subcommand(name, |sub| sub.mut_args(lay_sessions)),
            _ => command.mut_subcommand(name, |sub| sub.mut_args(lay_outputs)),
        })
    }

    /// Every option of `run` that has a value, with that value and who set it.
    fn effective(&self, run: &ArgMatches) -> Vec<(String, Set)> {
        let mut all = Vec::new();
        let command = definition();
        for name in options(&command) {
            let id = name.replace('-', "_");
            let Ok(Some(raw)) = run.try_get_raw(&id) else { continue };
            let values: Vec<String> =
                raw.map(|value| value.to_string_lossy().into_owned()).collect();
            let origin = match run.value_source(&id) {
                Some(ValueSource::CommandLine) => "the command line".to_owned(),
                Some(ValueSource::EnvVariable) => variable(&name),
                _ => match self.0.get(&name) {
                    Some(set) => set.origin.clone(),
                    None => continue,
                },
            };
            all.push((name, Set { values, origin }));
        }
        all
    }
}

/// The definition of the command line, in the words by which this program is called.
fn definition() -> Command {
    in_words(Cli::command(), home::command()).bin_name(home::command())
}

/// Help texts are written for a checkout.
fn in_words(command: Command, harness: &str) -> Command {
    let examples = command.get_after_help().map(ToString::to_string);
    let command = match examples {
        Some(examples) => command.after_help(examples.replace("cargo harness", harness)),
        None => command,
    };
    command.mut_subcommands(|sub| in_words(sub, harness))
}

/// The value of `--name VALUE` or `--name=VALUE`, which decides what lies under the command line
/// before that is read as a whole.
fn named(words: &[OsString], name: &str) -> Option<String> {
    let mut words = words.iter().map(|word| word.to_string_lossy()).take_while(|word| word != "--");
    let option = format!("--{name}");
    while let Some(word) = words.next() {
        match word.strip_prefix(&option) {
            Some("") => return words.next().map(String::from),
            Some(rest) if rest.starts_with('=') => return Some(rest[1..].to_owned()),
            _ => {}
        }
    }
    None
}

/// The line of a file in which a profile sets an option, from 1.
fn line_of(text: &str, profile: &str, option: &str) -> Option<usize> {
    let document = toml_edit::Document::parse(text).ok()?;
    let profile = document.get("profile")?.get(profile)?.as_table_like()?;
    let start = profile.get_key_value(option)?.0.span()?.start;
    Some(text[..start].matches('\n').count() + 1)
}

/// The environment variable of an option.
fn variable(name: &str) -> String {
    format!("{PREFIX}{}", name.replace('-', "_").to_uppercase())
}

/// The options of `run` that a profile may set, and the budgets of `gate`.
fn options(command: &Command) -> Vec<String> {
    let of = |name| {
        let command = command.get_subcommands().find(move |sub| sub.get_name() == name);
        command.into_iter().flat_map(Command::get_arguments)
    };
    let budgets = of("gate").filter(|arg| arg.get_long().is_some_and(|it| it.starts_with("max-")));
    let args = of("run").chain(budgets);
    let longs = args.filter(|arg| !arg.is_global_set()).filter_map(|arg| arg.get_long());
    // These say what this one run is, not how runs are.
    longs.filter(|name| !["help", "version", "resume"].contains(name)).map(str::to_owned).collect()
}

/// The tables `[profile.NAME]` of a file.
fn read(text: &str) -> Result<BTreeMap<String, Table>> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        #[serde(default)]
        profile: BTreeMap<String, Table>,
    }
    let file: File = toml::from_str(text)?;
    Ok(file.profile)
}

/// A value as the command line would be given it: one word, or several.
fn texts(value: &Value) -> Result<Vec<String>> {
    Ok(match value {
        Value::String(text) => vec![text.clone()],
        Value::Integer(number) => vec![number.to_string()],
        Value::Boolean(is_set) => vec![is_set.to_string()],
        Value::Array(values) => values.iter().map(texts).collect::<Result<Vec<_>>>()?.concat(),
        other => bail!("{other} is neither a word nor a number nor a list of them"),
    })
}

#[cfg(test)]
mod tests;
