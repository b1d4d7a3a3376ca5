use super::*;
use crate::cli::Command;
use record::{Backend, Bits, Browser};

fn layers(line: &str, env: &[(&str, &str)]) -> Result<Layers> {
    let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
    let env = |name: &str| {
        let found = env.iter().find(|(other, _)| *other == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    Layers::load(&words, &env)
}

fn parse(line: &str) -> Result<Cli, clap::Error> {
    let mut matches = layers(line, &[]).unwrap().command().try_get_matches_from(line.split(' '))?;
    Cli::from_arg_matches_mut(&mut matches)
}

#[test]
fn the_definition_is_consistent() {
    layers("harness run", &[]).unwrap().command().debug_assert();
}

#[test]
fn lists_take_several_values() {
    let cli = parse("harness run --browsers chrome firefox --bits 4,adaptive --models a b");
    let Command::Run(args) = cli.unwrap().command else { panic!("another command") };
    assert_eq!(args.cells.browsers.families(), [Browser::Chrome, Browser::Firefox]);
    assert_eq!(args.cells.bits, [Bits::Fixed(4), Bits::Adaptive]);
    assert_eq!(args.cells.models, ["a", "b"]);
    assert_eq!(args.cells.backends, [Backend::Webgpu, Backend::Wasm]);
}

#[test]
fn what_is_not_known_is_answered_with_what_is() {
    for (line, said) in [
        ("harness run --browsers opera", "unknown browser \"opera\"; known: chrome firefox"),
        ("harness plan --bits 5", "unknown bit-width \"5\"; known: 32 16 8 4 3 2 adaptive"),
        ("harness plan --backends cuda", "unknown backend \"cuda\"; known: webgpu wasm"),
        ("harness run --scheme fancy", "unknown scheme \"fancy\"; known: auto symmetric"),
        ("harness run --group-size 48", "groups of 32, 64 or 128"),
        ("harness run --timeout 0", "0 is not in 1.."),
    ] {
        let error = parse(line).unwrap_err().to_string();
        assert!(error.contains(said), "{line}: {error}");
    }
}

/// Runs `test` with a file harness.toml of this text; gives its path as `--config` wants it.
fn with_file<T>(text: &str, test: impl FnOnce(&str) -> T) -> T {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE);
    fs::write(&path, text).unwrap();
    test(path.to_str().unwrap())
}

fn run_of(line: &str) -> crate::cli::RunArgs {
    let Command::Run(args) = parse(line).unwrap().command else { panic!("another command") };
    *args
}

#[test]
fn a_file_goes_over_what_is_built_in_and_the_command_line_over_the_file() {
    let text = "[profile.default]\nbits = [4, \"adaptive\"]\nheaded = true\ntimeout = 7\n\
                [profile.mine]\ntimeout = 8\nbackends = \"wasm\"";
    with_file(text, |path| {
        let cells = run_of(&format!("harness run --config {path}")).cells;
        assert_eq!(cells.bits, [Bits::Fixed(4), Bits::Adaptive]);
        assert!(cells.headed && cells.timeout == Some(7));
        assert_eq!(cells.backends, [Backend::Webgpu, Backend::Wasm]);
        let cells = run_of(&format!("harness --profile mine run --config {path} --bits 2")).cells;
        assert_eq!((cells.bits, cells.timeout), (vec![Bits::Fixed(2)], Some(8)));
        assert_eq!(cells.backends, [Backend::Wasm]);
        // A named profile goes over everybody's defaults, wherever it stands.
        let cells = run_of(&format!("harness run --profile ci --config {path}")).cells;
        assert_eq!(cells.timeout, Some(300));
    });
}

#[test]
fn what_a_file_gets_wrong_is_named() {
    for (text, said) in [
        (
            "[profile.default]\nbrowser = \"chrome\"",
            "harness.toml:2, profile default: there is no option \"browser\"; known: browsers",
        ),
        ("[profile.default]\nretries = 1.5", "the value of retries: 1.5 is neither a word"),
        ("[profiles.default]", "unknown field `profiles`"),
        ("[profile.default", "reading "),
        ("[profile.default]\nresume = \"x\"", "there is no option \"resume\""),
    ] {
        with_file(text, |path| {
            let error = layers(&format!("harness run --config {path}"), &[]).unwrap_err();
            assert!(format!("{error:#}").contains(said), "{error:#}");
        });
    }
    let error = layers("harness run --profile none", &[]).unwrap_err().to_string();
    assert!(error.contains("no profile \"none\"; known: ci default gpu nightly"), "{error}");
    let error = format!("{:#}", layers("harness run --config absent", &[]).unwrap_err());
    assert!(error.contains("reading absent"), "{error}");
    // Values are checked where those of the command line are.
    with_file("[profile.default]\ngroup-size = 48", |path| {
        let error = parse(&format!("harness run --config {path}")).unwrap_err().to_string();
        assert!(error.contains("groups of 32, 64 or 128"), "{error}");
    });
}

#[test]
fn a_value_that_is_not_taken_is_blamed_on_who_set_it() {
    let blamed = |line: &str, env: &[(&str, &str)]| {
        let layers = layers(line, env).unwrap();
        let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let error = layers.command().try_get_matches_from(&words).unwrap_err();
        let env = |name: &str| {
            let found = env.iter().find(|(other, _)| *other == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        layers.blame(&error, &words, &env).map(|error| error.to_string())
    };
    let said = blamed("harness run", &[("WEBGPU_DEFAULT_BITS", "7")]).unwrap();
    assert!(said.starts_with("WEBGPU_DEFAULT_BITS: bits is \"7\": unknown bit-width"), "{said}");
    with_file("[profile.default]\nretries = 1\n\n[profile.mine]\nsize = \"big\"", |path| {
        let said = blamed(&format!("harness run --profile mine --config {path}"), &[]).unwrap();
        let expected =
            format!("{path}:5, profile mine: size is \"big\": known: tiny trained published");
        assert_eq!(said, expected);
    });
    with_file("[profile.default]\ntimeout = 0", |path| {
        let said = blamed(&format!("harness plan --config {path}"), &[]).unwrap();
        assert!(said.starts_with(&format!("{path}:2, profile default: timeout is")), "{said}");
        // What the command line says is the command line's fault.
        let line = format!("harness run --config {path} --timeout 0");
        assert_eq!(blamed(&line, &[]), None);
    });
}

#[test]
fn browsers_are_named_by_whoever_sets_them() {
    let is_default = |line: &str| {
        let layers = layers(line, &[]).unwrap();
        let mut matches = layers.command().try_get_matches_from(line.split(' ')).unwrap();
        let Command::Run(args) = layers.read(&mut matches).unwrap().command else {
            panic!("another command")
        };
        args.cells.browsers.are_default
    };
    assert!(is_default("harness run") && is_default("harness run --profile ci"));
    assert!(!is_default("harness run --browsers chrome"));
    with_file("[profile.default]\nbrowsers = [\"chrome\", \"firefox\"]", |path| {
        assert!(!is_default(&format!("harness run --config {path}")));
    });
}

#[test]
fn variables_of_other_tools_count_where_they_mean_something() {
    let set = |env: &[(&str, &str)]| layers("harness run", env).map(|layers| layers.0);
    let values = set(&[("WEBGPU_DEFAULT_BITS", "3"), ("TARGET_BROWSER", "firefox")]).unwrap();
    assert_eq!(values["bits"].values, ["3"]);
    assert_eq!(values["bits"].origin, "WEBGPU_DEFAULT_BITS");
    assert_eq!(values["browsers"].values, ["firefox"]);
    let values = set(&[("WEBGPU_4BIT_INFERENCE", "0"), ("TARGET_BROWSER", "auto")]).unwrap();
    assert_eq!(values["bits"].values.len(), 5);
    assert_eq!(values["browsers"].values, ["chrome", "firefox"]);
    let mixed = [
        ("WEBGPU_ADAPTIVE_PRECISION", "1"),
        ("WEBGPU_DEFAULT_BITS", "3"),
        ("WEBGPU_CRITICAL_LAYERS_BITS", "16"),
    ];
    let values = set(&mixed).unwrap();
    let said = ["bits", "base-bits", "critical-bits"].map(|name| values[name].values.join(" "));
    assert_eq!(said, ["adaptive", "3", "16"]);
    // A width that cannot be mixed is one all the same.
    let values = set(&[("WEBGPU_DEFAULT_BITS", "32")]).unwrap();
    assert_eq!(values["bits"].values, ["32"]);
    let limited = [
        ("WEBGPU_MEMORY_THRESHOLD_MB", "3800"),
        ("WEBGPU_EFFICIENT_KV_CACHE", "1"),
        ("WEBGPU_MEASURE_ACCURACY", "1"),
    ];
    let values = set(&limited).unwrap();
    assert_eq!(values["memory-limit"].values, ["3800"]);
    assert_eq!(values["kv-bits"].values, ["8"]);
    let fixed = [limited[0], ("WEBGPU_DYNAMIC_ADJUSTMENT", "0")];
    assert_eq!(set(&fixed).unwrap()["memory-limit"].values, ["off"], "nothing is adjusted");
    let error = set(&[("WEBGPU_MEASURE_ACCURACY", "0")]).unwrap_err().to_string();
    assert!(error.contains("part of every cell"), "{error}");
    let error = set(&[("WEBGPU_ADAPTIVE_PRECISION", "yes")]).unwrap_err().to_string();
    assert!(error.contains("WEBGPU_ADAPTIVE_PRECISION is \"yes\""), "{error}");
    let values = set(&[("FEWBIT_PROFILE", "nightly")]).unwrap();
    assert_eq!(values["rounds"].values, ["3"]);
}

#[test]
fn every_value_says_where_it_comes_from() {
    let line = "harness run --profile ci --bits 4";
    let layers = layers(line, &[("WEBGPU_4BIT_SCHEME", "asymmetric")]).unwrap();
    let matches = layers.command().get_matches_from(line.split(' '));
    let effective = layers.effective(matches.subcommand().unwrap().1);
    let of = |name: &str| {
        let (_, set) = effective.iter().find(|(other, _)| other == name).unwrap();
        (set.values.join(" "), set.origin.as_str())
    };
    assert_eq!(of("bits"), ("4".into(), "the command line"));
    assert_eq!(of("scheme"), ("asymmetric".into(), "WEBGPU_4BIT_SCHEME"));
    assert_eq!(of("timeout"), ("300".into(), "the built-in profile ci"));
    assert_eq!(of("repeat"), ("3".into(), "the built-in profile default"));
}

#[test]
fn the_manual_tells_of_every_option() {
    for option in options(&definition()) {
        let is_told =
            |line: &str| line.trim_start_matches("# ").starts_with(&format!("{option} = "));
        assert!(DEFAULT.lines().any(is_told), "default.toml says nothing of {option}");
    }
}
