//! Which cells a configuration asks for, in the order in which they run. Pure.

use crate::config::Config;
use record::{Backend, Browser, Cell, Class, KvFormat, Precision};

/// Every cell of `config`: browser by browser and backend by backend, so that one session after the
/// other serves all its cells. The native backend has no browser, so it runs once, on the host.
pub fn plan(config: &Config) -> Vec<Cell> {
    let in_browsers = config
        .browsers
        .iter()
        .filter(|target| target.id.family != Browser::Host)
        .flat_map(|target| {
            let of_pages = config.backends.iter().filter(|backend| **backend != Backend::Native);
            of_pages.map(|backend| (target.id.clone(), *backend))
        });
    let on_host = config.backends.contains(&Backend::Native);
    let places = in_browsers.chain(on_host.then(|| (Browser::Host.into(), Backend::Native)));

    let mut cells = Vec::new();
    for (browser, backend) in places {
        for case in &config.cases {
            let sizes = config.sizes.of(case.class, backend);
            let pairs = config
                .precisions
                .iter()
                .flat_map(|precision| sizes.iter().map(move |axes| (precision, axes.clone())));
            for (precision, axes) in pairs {
                let cell = Cell {
                    class: case.class,
                    case: case.name.clone(),
                    precision: of_class(precision, case.class),
                    backend,
                    browser: browser.family,
                    axes: browser.axes().into_iter().chain(axes).collect(),
                };
                if !cells.contains(&cell) {
                    cells.push(cell);
                }
            }
        }
    }
    cells
}

/// A precision as far as it has a meaning for a class: only decoders have a cache.
fn of_class(precision: &Precision, class: Class) -> Precision {
    let (kv, window) = match class.decodes() {
        true => (precision.kv, precision.window),
        false => (KvFormat::default(), None),
    };
    Precision { kv, window, ..precision.clone() }.canonical()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        browser::{SessionOptions, Target},
        cases::Case,
    };
    use record::{Bits, CaseFile, Scheme, TuningMode};
    use std::time::Duration;

    fn grouped(bits: Bits) -> Precision {
        Precision { scheme: Scheme::Asymmetric, group_size: 64, ..Precision::of(bits) }
    }

    fn config() -> Config {
        let case = |name: &str, class| Case {
            name: name.into(),
            class,
            folder: "unused".into(),
            files: vec![],
            synthetic_weights: false,
            untrained: false,
            selector: vec!["--models".into(), name.into()],
        };
        Config {
            browsers: vec![Browser::Chrome.into(), Browser::Firefox.into()],
            cases: vec![case("bert-tiny", Class::Bert), case("my llama", Class::Llama)],
            precisions: [16, 4].map(|bits| grouped(Bits::Fixed(bits))).to_vec(),
            backends: vec![Backend::Webgpu, Backend::Wasm],
            sizes: Default::default(),
            repeat: 3,
            rounds: 1,
            lower_to: None,
            trace: false,
            tuning_budget: Duration::ZERO,
            timeout: None,
            run_timeout: None,
            retries: 0,
            session: SessionOptions::default(),
            grid: None,
            listen: Default::default(),
            jobs: 1,
            expectations: Default::default(),
        }
    }

    #[test]
    fn cells_of_a_browser_and_of_a_backend_are_neighbours() {
        let cells: Vec<_> = plan(&config()).iter().map(ToString::to_string).collect();
        assert_eq!(cells.len(), 16);
        assert_eq!(cells[0], "bert-tiny 16-bit webgpu chrome");
        assert_eq!(cells[3], "my llama 4-bit asymmetric g64 webgpu chrome");
        assert_eq!(cells[4], "bert-tiny 16-bit wasm chrome");
        assert_eq!(cells[8], "bert-tiny 16-bit webgpu firefox");
    }

    #[test]
    fn scheme_and_group_belong_to_grouped_weights_only() {
        let cells = plan(&config());
        assert_eq!(cells[0].precision, Precision::of(Bits::Fixed(16)));
        assert_eq!(cells[1].precision, grouped(Bits::Fixed(4)));
    }

    #[test]
    fn only_decoders_have_caches() {
        let mut config = config();
        config.precisions = [KvFormat::F32, KvFormat::Q8]
            .map(|kv| Precision { kv, ..Precision::of(Bits::Fixed(4)) })
            .to_vec();
        let cells: Vec<_> = plan(&config).iter().take(3).map(ToString::to_string).collect();
        let expected = ["bert-tiny 4-bit", "my llama 4-bit", "my llama 4-bit kv=8"];
        assert_eq!(cells, expected.map(|cell| format!("{cell} webgpu chrome")));
    }

    #[test]
    fn native_runs_once_and_only_on_the_host() {
        let mut config = config();
        config.backends = vec![Backend::Native, Backend::Wasm];
        config.browsers.push(Browser::Host.into());
        let cells = plan(&config);
        assert_eq!(cells.len(), 12);
        assert!(
            cells
                .iter()
                .all(|cell| (cell.browser == Browser::Host) == (cell.backend == Backend::Native))
        );
    }

    #[test]
    fn what_is_named_twice_runs_once() {
        let mut config = config();
        config.browsers = vec![Browser::Chrome.into(), Browser::Chrome.into()];
        config.precisions = vec![grouped(Bits::Fixed(4)), grouped(Bits::Fixed(4))];
        assert_eq!(plan(&config).len(), 4);
    }

    #[test]
    fn two_browsers_of_a_family_have_cells_of_their_own() {
        let mut config = config();
        let mut beta = Target::from(Browser::Chrome);
        beta.id.label = Some("beta".to_owned());
        beta.programs.binary = Some("/opt/beta/chrome".into());
        config.browsers = vec![Browser::Chrome.into(), beta];
        let cells = plan(&config);
        assert_eq!(cells.len(), 16);
        assert_eq!(cells[8].to_string(), "bert-tiny 16-bit webgpu chrome channel=beta");
        let repro = config.repro(&cells[8]);
        let chosen =
            "--browsers chrome@beta --browser-binary 'chrome@beta=/opt/beta/chrome' --backends";
        assert!(repro.contains(chosen), "{repro}");
    }

    #[test]
    fn a_software_adapter_has_time_for_a_large_model() {
        let mut config = config();
        let mut case = config.cases[0].clone();
        case.files = vec![CaseFile { name: "model.gguf".into(), bytes: 151_000_000 }];
        assert_eq!(config.limit(&case, false), Duration::from_secs(120));
        assert_eq!(config.limit(&case, true), Duration::from_secs(120 + 1208));
        config.timeout = Some(Duration::from_secs(7));
        assert_eq!(config.limit(&case, true), Duration::from_secs(7), "as it was asked for");
    }

    #[test]
    fn a_cell_can_be_repeated_alone() {
        let mut config = config();
        let cells = plan(&config);
        assert_eq!(
            config.repro(&cells[0]),
            "cargo harness run --browsers chrome --backends webgpu --bits 16 --repeat 3 \
             --models bert-tiny"
        );
        assert_eq!(
            config.repro(&cells[3]),
            "cargo harness run --browsers chrome --backends webgpu --bits 4 --scheme asymmetric \
             --group-size 64 --repeat 3 --models 'my llama'"
        );
        config.timeout = Some(Duration::from_secs(7));
        assert!(config.repro(&cells[0]).contains("--timeout 7 "));
    }

    #[test]
    fn decoders_come_in_every_size_that_is_asked_for() {
        let mut config = config();
        config.browsers.truncate(1);
        config.backends.truncate(1);
        config.precisions.truncate(1);
        config.sizes.prompt_tokens = vec![64, 512];
        config.sizes.batch = vec![1, 4];
        let cells = plan(&config);
        let named: Vec<_> = cells.iter().map(ToString::to_string).collect();
        assert_eq!(named.len(), 5);
        assert_eq!(named[0], "bert-tiny 16-bit webgpu chrome");
        assert_eq!(named[2], "my llama 16-bit webgpu chrome prompt_tokens=64 batch=4");
        let repro = config.repro(&cells[2]);
        assert!(repro.contains("--prompt-tokens 64 --batch 4"), "{repro}");
    }

    #[test]
    fn kernels_are_tuned_where_there_are_some() {
        let mut config = config();
        config.browsers.truncate(1);
        config.cases.truncate(1);
        config.precisions.truncate(1);
        config.sizes.tuning = vec![TuningMode::Off, TuningMode::Auto];
        let named: Vec<_> = plan(&config).iter().map(ToString::to_string).collect();
        let [by_rules, tuned, on_the_cpu] = &named[..] else { panic!("{named:?}") };
        assert_eq!(by_rules, "bert-tiny 16-bit webgpu chrome");
        assert_eq!(tuned, "bert-tiny 16-bit webgpu chrome tuning=auto");
        assert_eq!(on_the_cpu, "bert-tiny 16-bit wasm chrome");
        let repro = config.repro(&plan(&config)[1]);
        assert!(repro.contains("--bits 16 --tuning auto --repeat 3"), "{repro}");
    }
}
