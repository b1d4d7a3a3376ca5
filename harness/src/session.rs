//! One WebDriver session: the only file that issues WebDriver commands.
//!
//! Every command has a deadline. What goes wrong becomes a [`Fault`], which says the status that the
//! cell gets and whether the session can go on. A session ends on every path: [`Session::close`] asks
//! the browser to quit, and dropping the driver ends whatever is left.

use crate::browser::{Launch, Look, driver::Driver};
use anyhow::{Context, Result, bail, ensure};
use fantoccini::{Client, ClientBuilder, error::CmdError};
use hyper_util::client::legacy::connect::HttpConnector;
use record::{Answer, BrowserInfo, Event, Outcome, Request, Status};
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
/// How long one call of `window.next` waits for an event.
const POLL: Duration = Duration::from_secs(2);

const RUN: &str = "window.run(arguments[0])";
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
    driver: Driver,
    info: BrowserInfo,
}

impl Session {
    /// Starts driver and browser and opens the page at `url`; tries twice.
    pub async fn open(launch: &Launch, look: Look, url: &str) -> Result<Session> {
        match Session::try_open(launch, look, url).await {
            Ok(session) => Ok(session),
            Err(first) => Session::try_open(launch, look, url)
                .await
                .with_context(|| format!("the first try failed as well: {first:#}")),
        }
    }

    async fn try_open(launch: &Launch, look: Look, url: &str) -> Result<Session> {
        let driver = Driver::start(launch, START).await?;
        match Session::connect(launch, &driver, url).await {
            Ok((client, answered)) => {
                Ok(Session { client, info: launch.info(look, &answered), driver })
            }
            Err(error) => match driver.exited().await {
                Some(exit) => bail!("{exit}"),
                None => bail!("{error:#}{}", driver.log_tail()),
            },
        }
    }

    async fn connect(
        launch: &Launch,
        driver: &Driver,
        url: &str,
    ) -> Result<(Client, Map<String, Value>)> {
        let mut builder = ClientBuilder::new(HttpConnector::new());
        builder.capabilities(launch.capabilities.clone());
        let client = timeout(START, builder.connect(&driver.url()))
            .await
            .with_context(|| format!("no session within {START:?}"))?
            .context("the driver gives no session")?;
        let answered = client.capabilities().cloned().unwrap_or_default();
        timeout(START, client.goto(url))
            .await
            .with_context(|| format!("the page did not load within {START:?}"))?
            .context("opening the page")?;
        let ready = client.execute("return typeof window.run", vec![]).await?;
        ensure!(
            ready == "function",
            "the page is there, but its script is not; is the bundle whole?"
        );
        Ok((client, answered))
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
        let mut stage = "session".to_owned();
        let text = json!(request).to_string();
        self.command(&stage, GRACE, self.client.execute(RUN, vec![json!(text)])).await?;
        loop {
            let left = limit.saturating_sub(started.elapsed());
            if left.is_zero() {
                return Err(self.stop_late(stage, limit).await);
            }
            let wait = left.min(POLL);
            let next = self.client.execute_async(NEXT, vec![json!(wait.as_millis() as u64)]);
            let events = self.command(&stage, wait + GRACE, next).await?;
            for event in read_events(&stage, events)? {
                on_event(&event);
                match event {
                    Event::Stage { stage: name } => stage = name,
                    Event::Done { answer } => return Ok(*answer),
                    Event::Failed { message } => return Err(self.trapped(stage, message).await),
                    Event::Loading { .. } | Event::Token { .. } => {}
                }
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
                let message = format!("the browser did not answer for {} s", limit.as_secs());
                return Err(fault(Status::Timeout, message));
            }
        };
        Err(match self.driver.exited().await {
            Some(exit) => fault(Status::Infra, exit),
            None if is_script_error(&error) => fault(Status::Error, format!("the page: {error}")),
            None => fault(Status::Crash, format!("the browser is gone: {error}")),
        })
    }

    /// Quits the browser in an orderly way and ends the driver.
    pub async fn close(self) {
        // Whatever does not quit in time is ended with the driver.
        let _ = timeout(GRACE, self.client.clone().close()).await;
        self.kill().await;
    }

    /// Ends browser and driver at once.
    pub async fn kill(self) {
        // The drop waits for processes to end, which must not stop other sessions.
        let _ = tokio::task::spawn_blocking(move || drop(self.driver)).await;
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
