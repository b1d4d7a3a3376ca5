//! What the harness asks of a page and what the page says back.

use crate::{
    Adapter, Backend, BenchReport, BenchRequest, Capabilities, Cell, EngineInfo, InferRequest,
    Inference, MemoryLimit, Outcome, Tuning,
};
use serde::{Deserialize, Serialize};

/// One request to the page; it is answered before the next one is sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum Request {
    /// Says who the page is: adapter, engine and the self-test of every op on `backend`.
    Probe {
        /// What to look at.
        backend: Backend,
        /// Whether the ops are run as well; without it only the adapter is asked.
        self_test: bool,
    },
    /// Runs one cell.
    Run(RunRequest),
    /// Puts a question to a model.
    Infer(Box<InferRequest>),
    /// Measures single calls of ops.
    Bench(BenchRequest),
}

/// Everything the engine needs to run one cell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunRequest {
    /// What to run.
    pub cell: Cell,
    /// Where the files of the case are: an URL in a page, a folder on the host.
    pub case_url: String,
    /// The files that can be asked for below `case_url`.
    pub files: Vec<CaseFile>,
    /// Measured passes, at least.
    pub repeat: u32,
    /// Measured passes of a cell that is quick, at most.
    #[serde(default)]
    pub repeat_quick: u32,
    /// A cell is quick as long as its measured passes took less than this together.
    #[serde(default)]
    pub quick_ms: f64,
    /// Passes before them that are not measured.
    pub warmup: u32,
    /// Most new tokens to generate; the case's expected continuation can be shorter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_new_tokens: Option<u32>,
    /// What weights and cache may take together once everything is measured: the model is then lowered where it
    /// lies, and judged again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lower_to: Option<MemoryLimit>,
    /// Whether to say where the time of a pass goes, op by op.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub trace: bool,
    /// What is known of the fastest kernels here, for a cell that is tuned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tuning: Option<Box<Tuning>>,
    /// How long a cell may measure kernels before its passes; where it may not at all, it takes what is known.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub tuning_ms: f64,
}

fn is_zero(ms: &f64) -> bool {
    *ms == 0.0
}

/// One file of a case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaseFile {
    /// Name below the folder, with `/` between parts.
    pub name: String,
    /// Its size.
    pub bytes: u64,
}

/// What the page says while a request runs; `Done` and `Failed` are the last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A new stage began: `load`, `compile`, `measure`, `generate`, `compare`, `self-test`.
    Stage {
        /// Its name.
        stage: String,
    },
    /// Bytes of the weights read so far.
    Loading {
        /// Bytes in place.
        done_bytes: u64,
        /// All bytes.
        total_bytes: u64,
    },
    /// A token was generated.
    Token {
        /// Its id.
        id: u32,
        /// How many there are now.
        count: u32,
    },
    /// A piece of a text that is being generated; the pieces of a row are its text.
    Text {
        /// Which of the prompts or recordings it belongs to.
        row: usize,
        /// The piece: whole characters.
        text: String,
    },
    /// The page is not visible, at the beginning or from now on: browsers slow such pages down.
    Hidden,
    /// The request is answered.
    Done {
        /// The answer.
        answer: Box<Answer>,
    },
    /// The worker broke in a way the engine could not turn into an outcome: a trap, or a bundle
    /// that does not load.
    Failed {
        /// The error as JavaScript raised it.
        message: String,
    },
}

/// The answer to a [`Request`], in the same order of variants.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// To [`Request::Probe`].
    Probe(Box<PageReport>),
    /// To [`Request::Run`].
    Run(Box<Outcome>),
    /// To [`Request::Infer`].
    Infer(Box<Inference>),
    /// To [`Request::Bench`].
    Bench(Box<BenchReport>),
}

/// Who the page is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PageReport {
    /// The adapter, where the backend has one.
    pub adapter: Option<Adapter>,
    /// The engine.
    pub engine: EngineInfo,
    /// What the page can do, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Capabilities>,
    /// Why the backend cannot be used here, such as `no navigator.gpu`.
    pub unsupported: Option<String>,
    /// What each op's self-test found.
    pub checks: Vec<SelfCheck>,
}

impl PageReport {
    /// The first check that failed.
    pub fn failure(&self) -> Option<&SelfCheck> {
        self.checks.iter().find(|check| check.error.is_some())
    }
}

/// What the self-test of one op found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SelfCheck {
    /// Name of the op and its variant.
    pub op: String,
    /// Distance from the CPU path.
    pub rel_l2: f64,
    /// What is wrong; none when it passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
