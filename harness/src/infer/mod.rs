//! `harness infer`: one question to one model, on the host or in a page.
//!
//! The model is any folder or GGUF file as it is published; nothing of a case is needed. What is
//! given is copied to a scratch folder (`crate::input`), from where the engine reads it as it reads the
//! model: the page over the server, the host from the disk. Decoding and preparation are the
//! engine's. Texts are printed as they come, all else when it is there (`screen.rs`).

mod screen;

use crate::{
    browser::{GpuChoice, Launch, SessionOptions},
    bundle,
    exit::Exit,
    groups::{Cache, Groups, megabytes},
    input::Input,
    models::located::Located,
    native,
    server::{Listen, Served, Server},
    session::Session,
    setup::{self, Need},
    ui::Ui,
};
use anyhow::{Context, Result, bail};
use record::{
    Answer, Backend, Bits, Browser, Chat, Generation, InferRequest, MemoryLimit, Precision, Request,
};
use screen::Screen;
use std::{path::PathBuf, time::Duration};

/// What `infer` takes.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo harness infer --model whisper-tiny.en --input speech.wav
      the transcript, computed on the host's GPU
  cargo harness infer --model whisper-tiny.en --input speech.wav --browser chrome --bits 4
      the same in a page, at 4 bits
  cargo harness infer --model smollm2-135m --input 'The capital of France is' --backend wasm
      a continuation, or an answer if the model has a chat template, computed on the host's CPU
  cargo harness infer --model ./clip --input cat.png --text 'a cat' 'a dog'
      which text fits the picture: your own model, a folder as transformers saves it")]
pub struct Args {
    /// A name that `harness models list` knows, OWNER/NAME on the Hub, a folder, or a .gguf file.
    #[arg(long)]
    pub model: String,

    /// Files (.wav, .flac, .mp3, .ogg, .png, .jpg, .txt), folders of frames, or texts.
    #[arg(long, num_args = 1.., value_name = "FILE|TEXT")]
    pub input: Vec<String>,

    /// Texts, whatever files may be called so.
    #[arg(long, num_args = 1..)]
    pub text: Vec<String>,

    /// What a model with a chat template is told before each text.
    #[arg(long, value_name = "TEXT")]
    pub system: Option<String>,

    /// Continue texts as they are, though the model has a chat template.
    #[arg(long, conflicts_with = "system")]
    pub raw: bool,

    /// Run in a page of this browser instead of on the host.
    #[arg(long)]
    pub browser: Option<Browser>,

    /// Where the arithmetic runs: native or wasm (the same kernels on the host's CPU), with --browser
    /// webgpu or wasm [default: native, with --browser webgpu].
    #[arg(long)]
    pub backend: Option<Backend>,

    /// Bits of the stored weights: 32, 16, 8, 4, 3 or 2.
    #[arg(long, default_value = "16")]
    pub bits: Bits,

    /// How grouped weights are stored.
    #[command(flatten)]
    pub groups: Groups,

    /// How the key-value cache is stored.
    #[command(flatten)]
    pub cache: Cache,

    /// Megabytes (10⁶ bytes) that weights and key-value cache may take together: adaptive bits become fewer until they
    /// fit, other bits are refused where they do not.
    #[arg(long, value_name = "MB", value_parser = megabytes)]
    pub memory_limit: Option<MemoryLimit>,

    /// Threads that compute on the backend wasm [default: as many as there are processors, and eight at
    /// most].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,

    /// Most new tokens of a text.
    #[arg(long, default_value = "128", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_new_tokens: u32,

    /// 0 takes the most likely token each time; above it, tokens are drawn.
    #[arg(long, default_value = "0", value_parser = temperature)]
    pub temperature: f32,

    /// Draw from this many of the most likely tokens.
    #[arg(long, default_value = "50", value_parser = clap::value_parser!(u32).range(1..=256))]
    pub top_k: u32,

    /// Of those, draw from the fewest that hold this share of their mass.
    #[arg(long, default_value = "1", value_parser = share)]
    pub top_p: f32,

    /// The same seed draws the same tokens.
    #[arg(long, default_value = "0")]
    pub seed: u32,

    /// Language of the recordings, such as de; for models that know several.
    #[arg(long)]
    pub language: Option<String>,

    /// Seconds allowed.
    #[arg(long, default_value = "600", value_parser = clap::value_parser!(u64).range(1..))]
    pub timeout: u64,

    /// What WebGPU runs on.
    #[arg(long, value_enum, default_value_t)]
    pub gpu: GpuChoice,

    /// Install and fetch nothing, and stop if something is missing.
    #[arg(long)]
    pub no_setup: bool,

    /// A folder with a built page, used as it is instead of building one.
    #[arg(long, value_name = "FOLDER")]
    pub bundle: Option<PathBuf>,
}

fn temperature(text: &str) -> Result<f32, String> {
    let number = text.parse().ok().filter(|number: &f32| (0.0..=100.0).contains(number));
    number.ok_or_else(|| "a temperature is a number from 0 to 100".to_owned())
}

fn share(text: &str) -> Result<f32, String> {
    let number = text.parse().ok().filter(|number: &f32| *number > 0.0 && *number <= 1.0);
    number.ok_or_else(|| "a share of the mass is a number above 0 and up to 1".to_owned())
}

/// Carries out `harness infer`.
pub fn run(args: &Args, ui: &Ui) -> Result<Exit> {
    let backend = backend(args)?;
    let model = Located::find(&args.model, !args.no_setup, ui)?;
    let model = Served { name: "model".to_owned(), folder: model.folder, files: model.files };
    let mut input = Input::collect(&args.input, &args.text)?;
    input.question.language = args.language.clone();
    let runtime = tokio::runtime::Runtime::new().context("starting the runtime")?;
    runtime.block_on(async {
        tokio::select! {
            exit = ask(args, backend, &model, &input, ui) => exit,
            // Dropping the question ends the browser or the child.
            _ = tokio::signal::ctrl_c() => Ok(Exit::Interrupted),
        }
    })
}

fn backend(args: &Args) -> Result<Backend> {
    let default = if args.browser.is_some() { Backend::Webgpu } else { Backend::Native };
    let backend = args.backend.unwrap_or(default);
    match (backend, args.browser) {
        (_, Some(Browser::Host)) => bail!("the host is no browser; leave out --browser"),
        (Backend::Native, Some(browser)) => {
            bail!("--backend native runs on the host; {browser} has webgpu and wasm")
        }
        (Backend::Webgpu | Backend::Webnn, None) => {
            bail!("--backend {backend} is in pages alone; add --browser chrome or firefox")
        }
        _ => Ok(backend),
    }
}

async fn ask(
    args: &Args,
    backend: Backend,
    model: &Served,
    input: &Input,
    ui: &Ui,
) -> Result<Exit> {
    let mut request = InferRequest {
        precision: Precision {
            limit: args.memory_limit,
            ..args.cache.with(args.groups.precision(args.bits))
        },
        backend,
        threads: args.threads.map(usize::from),
        model_url: model.folder.to_string_lossy().into_owned(),
        model_files: model.files.clone(),
        input_url: input.served.folder.to_string_lossy().into_owned(),
        input_files: input.served.files.clone(),
        question: input.question.clone(),
        chat: Chat {
            raw: args.raw,
            system: args.system.clone(),
            now: jiff::Timestamp::now().to_string(),
        },
        generation: Generation {
            max_new_tokens: args.max_new_tokens,
            temperature: args.temperature,
            top_k: args.top_k,
            top_p: args.top_p,
            seed: args.seed,
        },
    };
    let limit = Duration::from_secs(args.timeout);
    let mut screen = Screen::new(args, ui);
    let answer = match args.browser {
        None => {
            native::ask(&Request::Infer(Box::new(request)), limit, &mut |e| screen.show(e)).await
        }
        Some(browser) => {
            let web = page(args, browser, ui)?;
            let served = [model.clone(), input.served.clone()];
            let server = Server::serve(Some(&web), &served, &Listen::default()).await?;
            request.model_url = server.case_url("model");
            request.input_url = server.case_url("input");
            let options = SessionOptions { gpu: args.gpu.settle(), ..SessionOptions::default() };
            let launch = Launch::find(browser, options)?;
            let mut session = Session::open(&launch, options, &server.page_url()).await?;
            let request = Request::Infer(Box::new(request));
            let answer = session.ask(&request, limit, &mut |event| screen.show(event)).await;
            session.close().await;
            answer
        }
    };
    screen.finish();
    match answer {
        Ok(Answer::Infer(inference)) => Ok(screen.tell(&inference, &input.question.texts)),
        Ok(_) => bail!("the engine answered another request"),
        Err(fault) => {
            ui.error(format!("{} in {}: {}", fault.status.name(), fault.stage, fault.message));
            Ok(Exit::CellFailed)
        }
    }
}

/// The folder with the page.
fn page(args: &Args, browser: Browser, ui: &Ui) -> Result<PathBuf> {
    let mut needs = vec![Need::Browser(browser)];
    if args.bundle.is_none() {
        needs.push(Need::WasmBundle);
    }
    if !args.no_setup {
        setup::ensure(&needs, ui)?;
    }
    match &args.bundle {
        Some(folder) => Ok(folder.clone()),
        None => bundle::ensure(ui).context("building the page"),
    }
}
