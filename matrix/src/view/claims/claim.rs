//! A number that the document claims, and what would show it.

use record::{Backend, Browser, Class, KvFormat};
use serde::Deserialize;

/// Every number of the document, with its line. What it says of itself is committed, its verdicts are not: these are
/// computed from records.
const CLAIMS: &str = include_str!("../../../claims.json");

/// A number that the document claims.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// Its line, from 1.
    pub line: u32,
    /// Its words.
    pub quote: String,
    /// What would show it.
    pub measure: Measure,
    /// What it says that there is at least, in the measure's unit.
    #[serde(default)]
    pub at_least: Option<f64>,
    /// What it says that there is at most.
    #[serde(default)]
    pub at_most: Option<f64>,
}

/// What would show a claim. Times count only where a GPU has computed; sizes and answers wherever there are some.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Measure {
    /// How much smaller weights are than at 16 or 32 bits, in per cent.
    Saved {
        /// Of this width.
        bits: u8,
        /// Beside this one.
        #[serde(default = "sixteen")]
        beside: u8,
        /// In these classes; all where there is none.
        #[serde(default)]
        classes: Vec<Class>,
        /// In this browser; any where there is none.
        #[serde(default)]
        browser: Option<Browser>,
    },
    /// How many fewer answers are right than at 32 or 16 bits, in points.
    Lost {
        /// Of this width.
        bits: u8,
    },
    /// What the weights of a model take, in GB.
    Size {
        /// The model.
        case: String,
        /// Its width.
        bits: u8,
    },
    /// How many more tokens a cache has room for than one of 16 bits.
    Context {
        /// How it stores them.
        kv: KvFormat,
        /// In this model; any where there is none.
        #[serde(default)]
        case: Option<String>,
    },
    /// How many times as fast as at 16 bits.
    Speed {
        /// Of this width.
        bits: u8,
        /// In this browser; any where there is none.
        #[serde(default)]
        browser: Option<Browser>,
        /// Whether kernels were chosen by measurement.
        #[serde(default)]
        tuned: bool,
        /// Of this model; any where there is none.
        #[serde(default)]
        case: Option<String>,
    },
    /// Milliseconds a token.
    Token {
        /// The model.
        case: String,
        /// Its width.
        bits: u8,
    },
    /// How many times as fast in one browser as in another.
    Beside {
        /// In this one.
        browser: Browser,
        /// Beside this one.
        than: Browser,
        /// In these classes; all where there is none.
        #[serde(default)]
        classes: Vec<Class>,
    },
    /// How fast WASM is beside WebGPU.
    Fallback,
    /// How many times as long as in Firefox in workgroups of 256 × 1 spectra take in Chrome in those of 128 × 2.
    Spectrum,
    /// How many times as much one browser draws as another.
    Power {
        /// The one that is said to draw less.
        browser: Browser,
        /// The other one.
        than: Browser,
    },
    /// In how many cells a model runs.
    Runs {
        /// The model.
        case: String,
    },
    /// Something that no record can tell.
    Unbuilt {
        /// Why.
        why: String,
    },
    /// A figure about that project's own code, or what others are counted from.
    Own,
}

const fn sixteen() -> u8 {
    16
}

impl Claim {
    /// All of them, in the order of the document.
    pub fn all() -> Vec<Claim> {
        serde_json::from_str(CLAIMS).expect("the file is part of this crate, and a test reads it")
    }

    /// Whether a figure is as good as it says, or so near that rounding explains the rest.
    pub fn is_met_by(&self, value: f64) -> bool {
        const ROUNDING: f64 = 0.005;
        let enough = |bound: f64| value >= bound * (1.0 - ROUNDING);
        let few = |bound: f64| value <= bound * (1.0 + ROUNDING);
        self.at_least.is_none_or(enough) && self.at_most.is_none_or(few)
    }

    /// What it says, with its unit.
    pub fn bound(&self) -> String {
        let with_unit = |bound: f64| match self.measure {
            Measure::Lost { .. } if bound == 1.0 => "1 point".to_owned(),
            Measure::Runs { .. } if bound == 1.0 => "1 cell".to_owned(),
            _ => format!("{bound}{}", self.measure.unit()),
        };
        match (self.at_least, self.at_most) {
            (Some(bound), _) => format!("at least {}", with_unit(bound)),
            (_, Some(bound)) => format!("at most {}", with_unit(bound)),
            _ => String::new(),
        }
    }
}

impl Measure {
    /// What a figure is counted in.
    pub fn unit(&self) -> &'static str {
        match self {
            Measure::Saved { .. } => "%",
            Measure::Lost { .. } => " points",
            Measure::Size { .. } => " GB",
            Measure::Token { .. } => " ms",
            Measure::Runs { .. } => " cells",
            Measure::Own | Measure::Unbuilt { .. } => "",
            _ => " ×",
        }
    }

    /// What is measured, in words.
    pub fn words(&self) -> String {
        let within = |classes: &[Class]| match classes {
            [] => String::new(),
            some => {
                format!(" ({})", some.iter().map(|it| it.name()).collect::<Vec<_>>().join(", "))
            }
        };
        let of =
            |case: &Option<String>| case.as_ref().map_or(String::new(), |it| format!(" of {it}"));
        let through =
            |browser: &Option<Browser>| browser.map_or(String::new(), |it| format!(" in {it}"));
        match self {
            Measure::Saved { bits, beside, classes, browser } => {
                let (classes, browser) = (within(classes), through(browser));
                format!(
                    "bytes of all weights saved at {bits} bits beside {beside}{classes}{browser}"
                )
            }
            Measure::Lost { bits } => {
                format!(
                    "right answers fewer at {bits} bits, in trained models with labelled samples"
                )
            }
            Measure::Size { case, bits } => {
                format!("bytes of all weights of {case} at {bits} bits")
            }
            Measure::Context { kv, case } => {
                format!("tokens in the bytes of a cache of 16 bits, at {kv} bits{}", of(case))
            }
            Measure::Speed { bits, browser, tuned, case } => {
                let tuned = if *tuned { ", kernels chosen by measurement" } else { "" };
                let (case, browser) = (of(case), through(browser));
                format!("speed{case} at {bits} bits beside 16, on a GPU{browser}{tuned}")
            }
            Measure::Token { case, bits } => {
                format!("time of a token of {case} at {bits} bits, on a GPU")
            }
            Measure::Beside { browser, than, classes } => {
                format!("speed in {browser} beside {than}, on one GPU{}", within(classes))
            }
            Measure::Fallback => {
                format!("speed on {} beside {}, on a GPU", Backend::Wasm, Backend::Webgpu)
            }
            Measure::Spectrum => {
                "time of a spectrum in chrome in workgroups of 128 × 2 beside firefox \
                                  in those of 256 × 1, on one GPU"
                    .to_owned()
            }
            Measure::Power { browser, than } => {
                format!("joules that {than} takes beside {browser}")
            }
            Measure::Runs { case } => format!("cells of {case} that pass in a browser"),
            Measure::Unbuilt { .. } | Measure::Own => String::new(),
        }
    }

    /// What to do where there is no figure, or why there cannot be one.
    pub fn missing(&self) -> String {
        let on_gpu = "no record of a GPU in a browser has it: run with --gpu hardware";
        match self {
            Measure::Unbuilt { why } => why.clone(),
            Measure::Own => {
                "a figure about that project's own code, or what others are counted from".into()
            }
            Measure::Lost { .. } => "no record has it: run --size trained --bits 16 4 3 2".into(),
            Measure::Context { .. } => "no record has it: run --kv-bits 16 4".into(),
            Measure::Spectrum => {
                "no bench has it: bench --ops log_mel --gpu hardware in both browsers".into()
            }
            Measure::Power { .. } => "no record has joules: none of the machines told them".into(),
            Measure::Beside { browser: Browser::Safari, .. }
            | Measure::Speed { browser: Some(Browser::Safari), .. }
            | Measure::Saved { browser: Some(Browser::Safari), .. } => {
                "no record of safari, which runs on macOS alone".into()
            }
            Measure::Saved { browser: Some(Browser::Edge), .. } => "no record of edge".into(),
            Measure::Saved { bits, beside, .. } => {
                format!("no record has it: run --bits {beside} {bits}")
            }
            Measure::Size { case, bits } | Measure::Token { case, bits } => {
                format!(
                    "no record has it: run --size published --models {case} --bits {bits} --gpu hardware"
                )
            }
            Measure::Runs { case } => {
                format!(
                    "no record has it: run --size published --models {case} --bits 4 --gpu hardware"
                )
            }
            Measure::Speed { .. } | Measure::Beside { .. } | Measure::Fallback => on_gpu.into(),
        }
    }
}
