//! One WebDriver session: the only file that issues WebDriver commands.
//!
//! Every command has a deadline. What goes wrong becomes a [`Fault`], which says the status that the
//! cell gets and whether the session can go on. A session ends on every path: [`Session::close`] asks
//! the browser to quit, and dropping the driver ends whatever is left.

use crate::{
    browser::{Launch, SessionOptions, SessionRequest, driver::Driver},
    bundle::Module,
    grid::{self, Grid, Held},
};
use anyhow::{Context, Result, bail, ensure};
use axum::{body::Body, http::Request as HttpRequest};
use fantoccini::{Client, error::CmdError};
use hyper_util::{
    client::legacy::{Client as HttpClient, connect::HttpConnector},
    rt::TokioExecutor,
};
use record::{Answer, Browser, BrowserInfo, Event, Outcome, Request, Status};
use serde_json::{Map, Value, json};
use std::{
    pin::pin,
    time::{Duration, Instant},
};
use tokio::time::timeout;

/// How long a driver and a browser may take to start; slow disks and first starts take long.
const START: Duration = Duration::from_secs(45);
/// How long a command may take beyond the time that it waits in the page.
const GRACE: Duration = Duration::from_secs(15);
/// How long the news of a driver's end may take on a machine that is not busy.
const NEWS: Duration = Duration::from_millis(500);
/// How long one call of `window.next` waits for an event.
const POLL: Duration = Duration::from_secs(2);

/// Most bytes of an answer to a request for a session.
const LARGEST_ANSWER: usize = 1 << 20;

const RUN: &str = "window.run(arguments[0], arguments[1])";
const NEXT: &str = "const [wait, done] = arguments; window.next(wait).then(done)";
const STOP: &str = "window.stop()";

/// Why a request has no answer.
#[derive(Clone, Debug)]
pub struct Fault {
    /// What the cell gets.
    pub status: Status,
    /// The stage that was last heard of.
    pub stage: String,
    /// What happened.
    pub message: String,
    /// Whether the session is of no more use.
    pub is_fatal: bool,
}

impl Fault {
    /// The outcome of a cell that met this fault.
    pub fn outcome(&self) -> Outcome {
        Outcome::without_figures(self.status, &self.stage, &self.message)
    }
}

/// A browser with the page open.
#[derive(Debug)]
pub struct Session {
    client: Client,
    keeper: Keeper,
    info: BrowserInfo,
    /// Whether the browser stays when its driver goes, and must be asked to quit.
    must_be_asked: bool,
}

/// Who keeps the browser.
#[derive(Debug)]
enum Keeper {
    /// A driver of this machine.
    Driver(Driver),
    /// A node of a grid.
    Grid(Held),
}

impl Keeper {
    /// How it ended; none while it is well.
    async fn ended(&self, patience: Duration) -> Option<String> {
        match self {
            Keeper::Driver(driver) => driver.exited(patience).await,
            Keeper::Grid(held) => held.lost().await,
        }
    }

    /// What does not answer although it runs; none if it is well.
    async fn hangs(&self) -> Option<String> {
        match self {
            Keeper::Driver(driver) => driver.hangs().await,
            Keeper::Grid(held) => held.lost().await,
        }
    }
}

impl Session {
    /// Starts driver and browser and opens the page at `url`.
    pub async fn open(launch: &Launch, options: SessionOptions, url: &str) -> Result<Session> {
        let driver = Driver::start(launch, START).await?;
        match Session::connect(launch, &driver, url).await {
            Ok((client, answered)) => {
                let info = launch.info(options, &answered);
                let must_be_asked = launch.takes_turns.is_some();
                Ok(Session { client, keeper: Keeper::Driver(driver), info, must_be_asked })
            }
            Err(error) => match driver.exited(NEWS).await {
                Some(exit) => bail!("{exit}"),
                None => {
                    let said = format!("{error:#}");
                    let remedy = (launch.remedy)(&said).map(|remedy| format!("; {remedy}"));
                    bail!("{said}{}{}", remedy.unwrap_or_default(), driver.log_tail())
                }
            },
        }
    }

    /// Asks a grid for a browser and opens the page at `url` in it.
    pub async fn open_on(
        grid: &Grid,
        browser: Browser,
        options: SessionOptions,
        url: &str,
    ) -> Result<Session> {
        let request = SessionRequest::of(browser, options)?;
        let ask = async |url: &str| new_session(url, &request.capabilities).await;
        let (id, answered) = grid.session(browser, ask).await?;
        let held = grid.hold(id.clone()).await;
        let client = Client::with_existing_session(grid.url(), &id, HttpConnector::new()).await?;
        if let Err(error) = open_page(&client, url).await {
            if let Some(lost) = held.lost().await {
                bail!("{lost}");
            }
            // Whoever reads this needs the address, and not the token behind it.
            let origin = url.split('/').take(3).collect::<Vec<_>>().join("/");
            let question = format!("can the node reach {origin}? see --bind and --public-url");
            return Err(error.context(question));
        }
        let keeper = Keeper::Grid(held);
        let text = |key: &str| answered.get(key).and_then(Value::as_str).unwrap_or_default();
        let info = BrowserInfo {
            name: text("browserName").to_owned(),
            version: text("browserVersion").to_owned(),
            driver: "selenium grid".to_owned(),
            driver_version: grid::driver_version(&answered),
            headless: !options.headed && browser != Browser::Safari,
            flags: request.flags,
        };
        // The node would keep the browser until it is silent for minutes.
        Ok(Session { client, keeper, info, must_be_asked: true })
    }

    async fn connect(
        launch: &Launch,
        driver: &Driver,
        url: &str,
    ) -> Result<(Client, Map<String, Value>)> {
        let (id, answered) = timeout(START, new_session(&driver.url(), &launch.capabilities))
            .await
            .with_context(|| format!("no session within {START:?}"))?
            .context("the driver gives no session")?;
        let client =
            Client::with_existing_session(&driver.url(), &id, HttpConnector::new()).await?;
        match open_page(&client, url).await {
            Ok(()) => Ok((client, answered)),
            Err(error) => {
                if launch.takes_turns.is_some() {
                    let _ = timeout(GRACE, client.close()).await;
                }
                Err(error)
            }
        }
    }

    /// What a record says about the browser.
    pub fn info(&self) -> &BrowserInfo {
        &self.info
    }

    /// Sends a request and waits at most `limit` for its answer.
    pub async fn ask(
        &mut self,
        request: &Request,
        limit: Duration,
        on_event: &mut (dyn FnMut(&Event) + Send),
    ) -> Result<Answer, Fault> {
        let started = Instant::now();
        let (mut stage, mut hidden) = ("session".to_owned(), false);
        let text = json!(request).to_string();
        let module = Module::of(request).to_string();
        self.command(&stage, GRACE, self.client.execute(RUN, vec![json!(text), json!(module)]))
            .await?;
        loop {
            // A session whose guard was killed works on, and nothing would end it with the harness.
            if let Keeper::Driver(driver) = &self.keeper
                && let Some(message) = driver.exited(Duration::ZERO).await
            {
                return Err(Fault { status: Status::Infra, stage, message, is_fatal: true });
            }
            // Past the limit there is one more look: an answer may have come while nobody looked, as
            // this machine, its driver or its store was busy.
            let left = limit.saturating_sub(started.elapsed());
            let wait = left.min(POLL);
            let next = self.client.execute_async(NEXT, vec![json!(wait.as_millis() as u64)]);
            let events = self.command(&stage, wait + GRACE, next).await?;
            // What geckodriver answers for a tab that is gone.
            if events.is_null() {
                let message = "the tab is gone: its script gave nothing back".to_owned();
                return Err(Fault { status: Status::Crash, stage, message, is_fatal: true });
            }
            for event in read_events(&stage, events)? {
                on_event(&event);
                match event {
                    Event::Stage { stage: name } => stage = name,
                    Event::Done { mut answer } => {
                        if let Answer::Run(outcome) = &mut *answer {
                            outcome.hidden = hidden;
                        }
                        return Ok(*answer);
                    }
                    Event::Failed { message } => return Err(self.trapped(stage, message).await),
                    Event::Hidden => hidden = true,
                    Event::Loading { .. } | Event::Token { .. } | Event::Text { .. } => {}
                }
            }
            if left.is_zero() {
                return Err(self.stop_late(stage, limit).await);
            }
        }
    }

    /// The worker does not come back in time: it is ended, and the page stays in use if that worked.
    async fn stop_late(&self, stage: String, limit: Duration) -> Fault {
        let message = format!("no answer within {} s", limit.as_secs_f64());
        match self.command(&stage, GRACE, self.client.execute(STOP, vec![])).await {
            Ok(_) => Fault { status: Status::Timeout, stage, message, is_fatal: false },
            Err(fault) => fault,
        }
    }

    /// After a trap the memory of the module is in an unknown state, so the next run gets a new one.
    async fn trapped(&self, stage: String, message: String) -> Fault {
        let stopped = self.command(&stage, GRACE, self.client.execute(STOP, vec![])).await;
        Fault { status: Status::Error, stage, message, is_fatal: stopped.is_err() }
    }

    async fn command(
        &self,
        stage: &str,
        limit: Duration,
        command: impl Future<Output = Result<Value, CmdError>>,
    ) -> Result<Value, Fault> {
        let fault =
            |status, message| Fault { status, stage: stage.to_owned(), message, is_fatal: true };
        let error = match timeout(limit, pin!(command)).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => error,
            Err(_) => {
                return Err(match self.keeper.hangs().await {
                    Some(hung) => fault(Status::Infra, hung),
                    None => {
                        let seconds = limit.as_secs();
                        let message = format!("the browser did not answer for {seconds} s");
                        fault(Status::Timeout, message)
                    }
                });
            }
        };
        // A driver that answers is alive; of one that does not, a busy machine may tell late.
        let patience = if matches!(error, CmdError::Standard(_)) { NEWS } else { GRACE };
        Err(match self.keeper.ended(patience).await {
            Some(exit) => fault(Status::Infra, exit),
            None if is_script_error(&error) => {
                fault(Status::Error, format!("the page: {}", said(&error)))
            }
            None => fault(Status::Crash, format!("the browser is gone: {}", said(&error))),
        })
    }

    /// Quits the browser in an orderly way and ends the driver.
    pub async fn close(self) {
        // Whatever does not quit in time is ended with the driver.
        let _ = timeout(GRACE, self.client.clone().close()).await;
        self.end().await;
    }

    /// Ends browser and driver at once.
    pub async fn kill(self) {
        // A Safari that is not asked stays paired with a driver that is gone, and refuses the next.
        match self.must_be_asked {
            true => self.close().await,
            false => self.end().await,
        }
    }

    async fn end(self) {
        // The drop waits for processes to end, which must not stop other sessions.
        let _ = tokio::task::spawn_blocking(move || drop(self.keeper)).await;
    }
}

async fn open_page(client: &Client, url: &str) -> Result<()> {
    timeout(START, client.goto(url))
        .await
        .with_context(|| format!("the page did not load within {START:?}"))?
        .context("opening the page")?;
    let ready = client.execute("return typeof window.run", vec![]).await?;
    ensure!(ready == "function", "the page is there, but its script is not; is the bundle whole?");
    Ok(())
}

/// Asks for a session with exactly these capabilities: fantoccini would ask every browser for Chrome's
/// as well, which a driver may refuse.
async fn new_session(
    driver: &str,
    capabilities: &Map<String, Value>,
) -> Result<(String, Map<String, Value>)> {
    let asked = json!({"capabilities": {"alwaysMatch": capabilities, "firstMatch": [{}]}});
    let request = HttpRequest::post(format!("{driver}session"))
        .header("content-type", "application/json; charset=utf-8")
        .body(Body::from(asked.to_string()))?;
    let http = HttpClient::builder(TokioExecutor::new()).build(HttpConnector::new());
    let body = http.request(request).await?.into_body();
    let text = axum::body::to_bytes(Body::new(body), LARGEST_ANSWER).await?;
    let answer: Value = serde_json::from_slice(&text)
        .with_context(|| format!("it answers no JSON: {}", String::from_utf8_lossy(&text)))?;
    let value = &answer["value"];
    if let Some(error) = value["error"].as_str() {
        bail!("{error}: {}", value["message"].as_str().unwrap_or_default());
    }
    match (value["sessionId"].as_str(), value["capabilities"].as_object()) {
        (Some(id), Some(answered)) => Ok((id.to_owned(), answered.clone())),
        _ => bail!("it answers without a session: {answer}"),
    }
}

/// What a driver said: its messages are empty at times, its codes never.
fn said(error: &CmdError) -> String {
    match error {
        CmdError::Standard(error) if error.message.is_empty() => error.error.to_string(),
        CmdError::Standard(error) => format!("{}: {}", error.error, error.message),
        other => other.to_string(),
    }
}

/// Whether the browser is well and the script in it is not.
fn is_script_error(error: &CmdError) -> bool {
    use fantoccini::error::ErrorStatus::{JavascriptError, ScriptTimeout};
    matches!(error, CmdError::Standard(error) if matches!(error.error, JavascriptError | ScriptTimeout))
}

fn read_events(stage: &str, events: Value) -> Result<Vec<Event>, Fault> {
    let texts: Result<Vec<String>, _> = serde_json::from_value(events);
    texts.and_then(|texts| texts.iter().map(|text| serde_json::from_str(text)).collect()).map_err(
        |error| Fault {
            status: Status::Error,
            stage: stage.to_owned(),
            message: format!("the page sent an event that this harness does not know: {error}"),
            is_fatal: true,
        },
    )
}
