//! Says what is there and how to get what is not. What a browser can do is asked of the browser: each
//! one is started, and its page says which adapter it was given and what else it offers.

use crate::{
    browser::{Gpu, GpuChoice, Launch, SessionOptions},
    bundle,
    exit::Exit,
    home::{self, Home},
    host, native,
    server::Server,
    session::{Fault, Session},
    setup::{self, search::Places, wasm::Toolchain},
    ui::Ui,
};
use anyhow::Result;
use matrix::view::platform::facts;
use record::{Adapter, Answer, Backend, Browser, BrowserInfo, Environment, PageReport, Request};
use serde_json::json;
use std::time::Duration;

/// How long a GPU may take to say who it is.
const PATIENCE: Duration = Duration::from_secs(60);

/// Without a window, on software, and with all that browsers keep behind flags.
const LOOK: SessionOptions =
    SessionOptions { headed: false, gpu: Gpu::Software, webnn: true, precise_gpu_clock: false };

/// Prints one line for each tool that any command can use, and whether a plain `run` can start.
pub fn run(ui: &Ui) -> Exit {
    let host = host::host();
    let gib = host.memory_bytes as f64 / f64::from(1 << 30);
    let text = format!("{}, {} × {}, {gib:.1} GiB", host.os, host.cores, host.cpu);
    ui.result(format!("ok       host: {text}"), json!({"what": "host", "found": text}));
    for setup::Check { what, found, remedy } in setup::checks() {
        let text = match &found {
            Some(found) => format!("ok       {what}: {found}"),
            None => format!("absent   {what}: {remedy}"),
        };
        ui.result(text, json!({"what": what, "found": found, "remedy": remedy}));
    }

    let text = match GpuChoice::Auto.settle() {
        Gpu::Hardware => "a real one is there: --gpu auto uses it",
        Gpu::Software => "no real one is there: --gpu auto means software",
    };
    ui.result(format!("ok       gpu: {text}"), json!({"what": "gpu", "found": text}));

    // Of the tools above a run takes those for the page and for the browsers that it defaults to.
    let drives = |browser| Launch::find(browser, LOOK).is_ok();
    let has_page = matches!(Home::find(), Ok(Home::Share(_)))
        || Toolchain::find(&Places::of_this_process()).is_some();
    let is_ready = has_page && [Browser::Chrome, Browser::Firefox].into_iter().all(drives);
    if has_page && let Err(error) = browsers(ui) {
        ui.warn(format!("the browsers could not be asked what they offer: {error:#}"));
    }
    let harness = home::command();
    let (text, exit) = match is_ready {
        true => (format!("ready for `{harness} run`"), Exit::Ok),
        false => (format!("not ready; `{harness} setup` installs what is needed"), Exit::Usage),
    };
    ui.result(text, json!({"ready": is_ready}));
    exit
}

/// Asks every browser that can be driven, and the host, for its WebGPU adapter and what else it
/// offers.
fn browsers(ui: &Ui) -> Result<()> {
    let page = bundle::ensure(ui)?;
    tokio::runtime::Runtime::new()?.block_on(async {
        let server = Server::start(Some(&page), &[], &Default::default()).await?;
        for &browser in Browser::ALL.iter().filter(|browser| **browser != Browser::Host) {
            match Launch::find(browser, LOOK) {
                Ok(launch) => ask(browser, &launch, &server.page_url(), ui).await,
                Err(error) => show(browser.name(), Err(format!("{error:#}")), json!({}), ui),
            }
        }
        let request = Request::Probe { backend: Backend::Native, self_test: false };
        let report = report(native::ask(&request, PATIENCE, &mut |_| {}).await);
        show("host", report.and_then(adapter), json!({}), ui);
        Ok(())
    })
}

async fn ask(browser: Browser, launch: &Launch, page: &str, ui: &Ui) {
    let mut session = match Session::open(launch, LOOK, page).await {
        Ok(session) => session,
        Err(error) => {
            let why = format!("it does not start: {error:#}");
            return show(browser.name(), Err(why), json!({}), ui);
        }
    };
    let info = session.info().clone();
    let mut reports = Vec::new();
    for backend in [Backend::Webgpu, Backend::Webnn] {
        let request = Request::Probe { backend, self_test: false };
        reports.push(report(session.ask(&request, PATIENCE, &mut |_| {}).await));
    }
    session.close().await;

    let BrowserInfo { version, driver, driver_version, .. } = &info;
    let driver = format!("{driver} {driver_version}");
    let who = format!("{browser} {version} ({})", driver.trim());
    let [webgpu, webnn] = <[_; 2]>::try_from(reports).expect("two were asked for");
    let Ok(webgpu) = webgpu else { return show(&who, webgpu.and_then(adapter), json!(info), ui) };
    let environment = Environment {
        adapter: webgpu.adapter.clone(),
        capabilities: webgpu.capabilities.clone(),
        ..Environment::default()
    };
    show(
        &who,
        adapter(webgpu),
        json!({"browser": info, "capabilities": environment.capabilities}),
        ui,
    );
    let webnn = webnn.map_or_else(|error| error, |report| report.unsupported.unwrap_or_default());
    let facts = facts(&environment).into_iter().map(|fact| (fact.about, fact.found));
    for (about, found) in facts.chain([("WebNN", webnn)]) {
        let value = json!({"what": who, "about": about, "found": found});
        ui.result(format!("         {about}: {found}"), value);
    }
}

fn report(answer: Result<Answer, Fault>) -> Result<PageReport, String> {
    match answer {
        Ok(Answer::Probe(report)) => Ok(*report),
        Ok(_) => Err("the page answered something else".to_owned()),
        Err(fault) => Err(fault.message),
    }
}

fn adapter(report: PageReport) -> Result<String, String> {
    match report.adapter {
        Some(adapter) => Ok(named(&adapter)),
        None => Err(report.unsupported.unwrap_or_default()),
    }
}

/// Says which adapter `who` has, or why none.
fn show(who: &str, adapter: Result<String, String>, more: serde_json::Value, ui: &Ui) {
    let text = match &adapter {
        Ok(adapter) => format!("ok       WebGPU of {who}: {adapter}"),
        Err(why) => format!("absent   WebGPU of {who}: {why}"),
    };
    let value = json!({
        "what": who, "found": adapter.as_ref().ok(), "remedy": adapter.as_ref().err(), "more": more,
    });
    ui.result(text, value);
}

/// An adapter in a few words.
fn named(adapter: &Adapter) -> String {
    let Adapter { vendor, architecture, device, description, .. } = adapter;
    let words = [vendor, architecture, device, description].map(String::as_str);
    let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
    let name = match words.is_empty() {
        true => "not named by the browser".to_owned(),
        false => words.join(" "),
    };
    let kind = match adapter.software {
        Some(true) => ", software",
        Some(false) => "",
        None => ", hardware or software: it does not say",
    };
    format!("{name}{kind}, {} features", adapter.features.len())
}
