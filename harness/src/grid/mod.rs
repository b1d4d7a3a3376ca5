//! Selenium Grid: sessions on other machines, behind one address.
//!
//! The grid says which browsers its nodes have, and how many sessions of each
//! (`GET /status`: <https://www.selenium.dev/documentation/grid/advanced_features/endpoints/>). A
//! request for a session waits in the grid's queue, up to the time that the grid allows there
//! (`--session-request-timeout`, 300 s), and a session that sends no command for some minutes is ended
//! (`--session-timeout`, 300 s), which the polling of a page every two seconds never lets happen,
//! however long a cell takes.
//!
//! This file is the side that asks; `local` starts a grid on this machine.

pub mod local;

use anyhow::{Context, Result, anyhow, ensure};
use futures_util::future::join_all;
use record::Browser;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    runtime::Handle,
    task::JoinSet,
    time::{sleep, timeout},
};

/// How long the grid or a node may take to say how it is.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a request may wait in the queue of a grid, whose own limit is 300 s by default.
const QUEUE: Duration = Duration::from_secs(330);
/// How long a grid may give sessions to a node that is gone: it looks every 120 s by default.
const SETTLES: Duration = Duration::from_secs(150);
/// The wait before a request that was refused is sent again.
const PAUSE: Duration = Duration::from_secs(2);

/// A grid that answered.
#[derive(Clone, Debug)]
pub struct Grid {
    url: String,
    http: reqwest::Client,
    ours: Arc<Ours>,
}

/// What this run knows about its own sessions.
#[derive(Debug, Default)]
struct Ours {
    /// Sessions that it has.
    held: AtomicUsize,
    /// When it last lost one.
    lost: Mutex<Option<Instant>>,
    /// Requests to end some.
    ending: Mutex<JoinSet<()>>,
}

/// A session of a grid.
#[derive(Debug)]
pub struct Held {
    grid: Grid,
    session: String,
    node: Option<String>,
}

impl Held {
    /// Why the session is lost without the browser's or the model's doing; none if it is not.
    pub async fn lost(&self) -> Option<String> {
        let why = self.why_lost().await?;
        *lock(&self.grid.ours.lost) = Some(Instant::now());
        Some(why)
    }

    async fn why_lost(&self) -> Option<String> {
        let grid = &self.grid;
        // A grid keeps a node that is gone on its list for minutes, so the node itself is asked.
        if let Some(node) = &self.node
            && !grid.answers(node).await
        {
            return Some(format!("the node {node} of the grid is gone"));
        }
        // A driver answers this without its browser, if only by saying that the session has ended.
        match grid.http.get(format!("{}session/{}/timeouts", grid.url, self.session)).send().await {
            Ok(answer) if answer.status().is_server_error() => {
                let text = answer.text().await.unwrap_or_default();
                Some(format!("the grid lost the session: {}", message(&text)))
            }
            Err(error) if !error.is_timeout() => Some(format!("the grid at {} is gone", grid.url)),
            // A browser that hangs may keep its driver busy.
            Ok(_) | Err(_) => None,
        }
    }
}

/// The version of a node's driver, where the driver puts it among the capabilities of a session.
pub fn driver_version(session: &Map<String, Value>) -> String {
    let places = [
        ("chrome", "/chromedriverVersion"),
        ("msedge", "/msedgedriverVersion"),
        ("moz:geckodriverVersion", ""),
    ];
    let told = |(key, pointer): &(&str, &str)| session.get(*key)?.pointer(pointer)?.as_str();
    let told = places.iter().find_map(told).unwrap_or_default();
    // The commit that chromedriver was built from follows its version.
    told.split_whitespace().next().unwrap_or_default().to_owned()
}

/// The first line of what a WebDriver error says.
fn message(answer: &str) -> String {
    let answer: Value = serde_json::from_str(answer).unwrap_or_default();
    let message = answer["value"]["message"].as_str().unwrap_or_default();
    message.lines().next().unwrap_or_default().trim().to_owned()
}

impl Drop for Held {
    /// The node would keep the browser until it was silent for minutes.
    fn drop(&mut self) {
        let Grid { http, url, ours } = &self.grid;
        ours.held.fetch_sub(1, Ordering::Relaxed);
        let end = http.delete(format!("{url}session/{}", self.session)).send();
        let end = async {
            // A node that is gone keeps no browser.
            let _ = end.await;
        };
        if let Ok(runtime) = Handle::try_current() {
            lock(&ours.ending).spawn_on(end, &runtime);
        }
    }
}

/// What is locked here is whole between any two statements that hold the lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many sessions a grid can have at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slots {
    /// Of each browser.
    pub by_browser: HashMap<Browser, usize>,
    /// In all: a node may have slots of more browsers than it runs sessions.
    pub at_once: usize,
}

#[derive(Deserialize)]
struct Answer {
    value: Status,
}

#[derive(Deserialize)]
struct Status {
    #[serde(default)]
    message: String,
    #[serde(default)]
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Node {
    #[serde(alias = "externalUri")]
    uri: Option<String>,
    #[serde(default)]
    availability: String,
    max_sessions: usize,
    slots: Vec<Slot>,
}

#[derive(Deserialize)]
struct Slot {
    stereotype: Stereotype,
    session: Option<Running>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stereotype {
    browser_name: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Running {
    session_id: String,
}

impl Grid {
    /// Looks whether a grid is there.
    pub async fn open(url: &str) -> Result<Grid> {
        let url = url.trim_end_matches('/').trim_end_matches("/wd/hub").to_owned() + "/";
        let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build()?;
        let grid = Grid { url, http, ours: Arc::default() };
        let status = grid.status().await.with_context(|| {
            format!("asking the grid at {}; is its address right, and has it started?", grid.url)
        })?;
        ensure!(
            !status.nodes.is_empty(),
            "the grid at {} has no node: {}",
            grid.url,
            status.message
        );
        Ok(grid)
    }

    /// Where it takes WebDriver commands.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// How many sessions it can have at once, in all and of each browser.
    pub async fn slots(&self) -> Result<Slots> {
        Ok(slots(&self.status().await.context("asking the grid for its slots")?))
    }

    /// Asks for a session of `browser` until there is one.
    ///
    /// A refusal is the last word only if asking again promises nothing. While a node that is gone is
    /// still on the grid's list, requests are sent to it and fail; and where this run has the slots
    /// itself, they become free as its queues end, which can take longer than the grid lets a request
    /// wait.
    pub async fn session<T>(
        &self,
        browser: Browser,
        ask: impl AsyncFn(&str) -> Result<T>,
    ) -> Result<T> {
        let slots = self.slots().await?;
        // It would wait in the queue for what never comes.
        ensure!(
            slots.by_browser.contains_key(&browser),
            "no node of the grid at {} has {browser}",
            self.url
        );
        let started = Instant::now();
        loop {
            let refusal = match timeout(QUEUE, ask(&self.url)).await {
                Ok(Ok(session)) => return Ok(session),
                Ok(Err(error)) => error.context("the grid gives no session"),
                Err(_) => anyhow!("the grid gave no session within {QUEUE:?}"),
            };
            let settles = started.elapsed() < SETTLES && self.is_unsettled().await;
            if !settles && !self.is_full_of_ours(browser).await {
                return Err(refusal);
            }
            sleep(PAUSE).await;
        }
    }

    /// Whether a node may be gone without the grid's knowing.
    async fn is_unsettled(&self) -> bool {
        let lost = *lock(&self.ours.lost);
        if lost.is_some_and(|lost| lost.elapsed() < SETTLES) {
            return true;
        }
        let Ok(status) = self.status().await else { return false };
        let nodes = status.nodes.iter().filter(|node| node.is_up()).filter_map(|n| n.uri.as_ref());
        let answers = join_all(nodes.map(|node| self.answers(node))).await;
        // Where none answers, the nodes are in a network of their own.
        answers.contains(&true) && answers.contains(&false)
    }

    /// Whether no slot is free, and some of them are this run's.
    async fn is_full_of_ours(&self, browser: Browser) -> bool {
        let Ok(status) = self.status().await else { return false };
        self.ours.held.load(Ordering::Relaxed) > 0
            && !status.nodes.iter().any(|node| node.is_free_for(browser))
    }

    /// Waits until the sessions that were dropped have ended, which no request does whose sender left.
    pub async fn settle(&self) {
        let ending = std::mem::take(&mut *lock(&self.ours.ending));
        ending.join_all().await;
    }

    /// A session of this grid, which is ended when this is dropped.
    pub async fn hold(&self, session: String) -> Held {
        self.ours.held.fetch_add(1, Ordering::Relaxed);
        let mut held = Held { grid: self.clone(), session, node: None };
        held.node = match self.node_of(&held.session).await {
            Some(node) if self.answers(&node).await => Some(node),
            // Not to be reached from here, or not told.
            _ => None,
        };
        held
    }

    async fn node_of(&self, session: &str) -> Option<String> {
        let status = self.status().await.ok()?;
        let holds = |node: &Node| {
            let mut running = node.slots.iter().filter_map(|slot| slot.session.as_ref());
            running.any(|running| running.session_id == session)
        };
        status.nodes.into_iter().find(holds)?.uri
    }

    /// The addresses of its nodes.
    async fn nodes(&self) -> Result<Vec<String>> {
        let nodes = self.status().await?.nodes;
        Ok(nodes.into_iter().filter(Node::is_up).filter_map(|node| node.uri).collect())
    }

    async fn answers(&self, node: &str) -> bool {
        let status = self.http.get(format!("{}/status", node.trim_end_matches('/'))).send().await;
        status.is_ok_and(|answer| answer.status().is_success())
    }

    async fn status(&self) -> Result<Status> {
        let answer = self.http.get(format!("{}status", self.url)).send().await?;
        let text = answer.error_for_status()?.text().await?;
        let answer: Answer =
            serde_json::from_str(&text).context("what answers there is no Selenium Grid")?;
        Ok(answer.value)
    }
}

impl Node {
    /// Whether it takes new sessions, as far as the grid knows.
    fn is_up(&self) -> bool {
        !matches!(self.availability.as_str(), "DOWN" | "DRAINING")
    }

    /// Whether it can have one more session of `browser`.
    fn is_free_for(&self, browser: Browser) -> bool {
        let running = self.slots.iter().filter(|slot| slot.session.is_some()).count();
        let is_free = |slot: &Slot| slot.session.is_none() && slot.browser() == Some(browser);
        self.is_up() && running < self.max_sessions && self.slots.iter().any(is_free)
    }
}

impl Slot {
    fn browser(&self) -> Option<Browser> {
        Some(match self.stereotype.browser_name.as_deref()? {
            "chrome" => Browser::Chrome,
            "firefox" => Browser::Firefox,
            "MicrosoftEdge" => Browser::Edge,
            "safari" | "Safari" => Browser::Safari,
            "MiniBrowser" => Browser::Webkitgtk,
            _ => return None,
        })
    }
}

fn slots(status: &Status) -> Slots {
    let mut slots = Slots::default();
    for node in status.nodes.iter().filter(|node| node.is_up()) {
        slots.at_once += node.max_sessions;
        for browser in node.slots.iter().filter_map(Slot::browser) {
            *slots.by_browser.entry(browser).or_insert(0) += 1;
        }
    }
    slots
}

#[cfg(test)]
mod tests;
