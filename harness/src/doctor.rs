//! Says what is there and how to get what is not. What a browser can do is asked of the browser: each
//! one is started, and its page says which adapter it was given.

use crate::{
    browser::{Launch, Look},
    bundle,
    exit::Exit,
    host, native,
    server::Server,
    session::{Fault, Session},
    setup::{self, search::Places, wasm::Toolchain},
    ui::Ui,
};
use anyhow::Result;
use record::{Adapter, Answer, Backend, Browser, BrowserInfo, Request};
use serde_json::json;
use std::time::Duration;

/// How long a GPU may take to say who it is.
const PATIENCE: Duration = Duration::from_secs(60);

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

    // Of the tools above a run takes those for the page and for the browsers that it defaults to.
    let drives = |browser| Launch::find(browser, Look::default()).is_ok();
    let is_ready = Toolchain::find(&Places::of_this_process()).is_some()
        && [Browser::Chrome, Browser::Firefox].into_iter().all(drives);
    if is_ready && let Err(error) = adapters(ui) {
        ui.warn(format!("the adapters could not be asked for: {error:#}"));
    }
    let (text, exit) = match is_ready {
        true => ("ready for `cargo harness run`", Exit::Ok),
        false => ("not ready; `cargo harness setup` installs what is needed", Exit::Usage),
    };
    ui.result(text, json!({"ready": is_ready}));
    exit
}

/// Asks every browser that can be driven, and the host, for its WebGPU adapter.
fn adapters(ui: &Ui) -> Result<()> {
    let page = bundle::ensure(ui)?;
    tokio::runtime::Runtime::new()?.block_on(async {
        let server = Server::start(Some(&page), &[]).await?;
        for browser in [Browser::Chrome, Browser::Firefox] {
            let Ok(launch) = Launch::find(browser, Look::default()) else { continue };
            match Session::open(&launch, Look::default(), &server.page_url()).await {
                Ok(mut session) => {
                    let info = session.info().clone();
                    let request = Request::Probe { backend: Backend::Webgpu, self_test: false };
                    let answer = session.ask(&request, PATIENCE, &mut |_| {}).await;
                    session.close().await;
                    show(browser, &info, answer, ui);
                }
                Err(error) => ui.warn(format!("{browser} does not start: {error:#}")),
            }
        }
        let request = Request::Probe { backend: Backend::Native, self_test: false };
        let answer = native::ask(&request, PATIENCE, &mut |_| {}).await;
        show(Browser::Host, &BrowserInfo::default(), answer, ui);
        Ok(())
    })
}

fn show(browser: Browser, info: &BrowserInfo, answer: Result<Answer, Fault>, ui: &Ui) {
    let (found, remedy) = match answer {
        Ok(Answer::Probe(report)) => {
            (report.adapter.map(|adapter| named(&adapter)), report.unsupported.unwrap_or_default())
        }
        Ok(Answer::Run(_)) => (None, "the page answered something else".to_owned()),
        Err(fault) => (None, fault.message),
    };
    let who = match browser {
        Browser::Host => "adapter of the host".to_owned(),
        _ => {
            let BrowserInfo { version, driver, driver_version, .. } = info;
            format!("adapter of {browser} {version} ({driver} {driver_version})")
        }
    };
    let text = match &found {
        Some(adapter) => format!("ok       {who}: {adapter}"),
        None => format!("absent   {who}: {remedy}"),
    };
    ui.result(text, json!({"what": who, "found": found, "remedy": remedy, "browser": info}));
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
