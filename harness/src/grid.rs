//! Selenium Grid: sessions on other machines, behind one address.
//!
//! The grid says which browsers its nodes have, and how many sessions of each
//! (`GET /status`: <https://www.selenium.dev/documentation/grid/advanced_features/endpoints/>). A
//! request for a session waits in the grid's queue, up to the time that the grid allows there, and
//! a session that sends no command for some minutes is ended, which the polling of a page never lets
//! happen.

use anyhow::{Context, Result, ensure};
use record::Browser;
use serde::Deserialize;
use std::{collections::HashMap, time::Duration};

/// How long the grid or a node may take to say how it is.
const PATIENCE: Duration = Duration::from_secs(5);

/// A grid that answered.
#[derive(Clone, Debug)]
pub struct Grid {
    url: String,
    http: reqwest::Client,
}

/// A session of a grid.
#[derive(Debug)]
pub struct Held {
    grid: Grid,
    session: String,
    node: Option<String>,
}

impl Held {
    /// Why the session is lost without the browser's or the model's doing; none if its node is well.
    /// A grid keeps a dead node on its list for minutes, so the node itself is asked.
    pub async fn lost(&self) -> Option<String> {
        match &self.node {
            Some(node) if self.grid.answers(node).await => None,
            Some(node) => Some(format!("the node {node} of the grid is gone")),
            None => Some("the grid lost the session".to_owned()),
        }
    }
}

impl Drop for Held {
    /// The node would keep the browser until it was silent for minutes.
    fn drop(&mut self) {
        let url = format!("{}session/{}", self.grid.url, self.session);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let end = self.grid.http.delete(url).send();
            runtime.spawn(async move {
                // A node that is gone keeps no browser.
                let _ = end.await;
            });
        }
    }
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
        let grid = Grid { url, http };
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

    /// A session of this grid, which is ended when this is dropped.
    pub async fn hold(&self, session: String) -> Held {
        let node = match self.node_of(&session).await {
            Some(node) if self.answers(&node).await => Some(node),
            // Not to be reached from here, or not told.
            _ => None,
        };
        Held { grid: self.clone(), session, node }
    }

    async fn node_of(&self, session: &str) -> Option<String> {
        let status = self.status().await.ok()?;
        let holds = |node: &Node| {
            let mut running = node.slots.iter().filter_map(|slot| slot.session.as_ref());
            running.any(|running| running.session_id == session)
        };
        status.nodes.into_iter().find(holds)?.uri
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

fn slots(status: &Status) -> Slots {
    let mut slots = Slots::default();
    for node in status.nodes.iter().filter(|node| node.availability != "DOWN") {
        slots.at_once += node.max_sessions;
        for slot in &node.slots {
            let browser = match slot.stereotype.browser_name.as_deref() {
                Some("chrome") => Browser::Chrome,
                Some("firefox") => Browser::Firefox,
                Some("MicrosoftEdge") => Browser::Edge,
                Some("safari" | "Safari") => Browser::Safari,
                Some("MiniBrowser") => Browser::Webkitgtk,
                _ => continue,
            };
            *slots.by_browser.entry(browser).or_insert(0) += 1;
        }
    }
    slots
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Selenium Grid 4.48 answers, cut to two nodes and the fields that are read.
    const STATUS: &str = r#"{"value": {"ready": true, "message": "Selenium Grid ready.", "nodes": [
        {"id": "a", "uri": "http://127.0.0.1:5555", "maxSessions": 2, "availability": "UP", "slots": [
            {"id": {"hostId": "a", "id": "1"}, "session": null,
             "stereotype": {"browserName": "chrome", "platformName": "linux"}},
            {"id": {"hostId": "a", "id": "2"}, "session": {"sessionId": "s1"},
             "stereotype": {"browserName": "firefox", "platformName": "linux"}}]},
        {"id": "b", "uri": "http://127.0.0.1:5556", "maxSessions": 4, "availability": "DOWN", "slots": [
            {"session": null, "stereotype": {"browserName": "chrome"}}]}]}}"#;

    #[test]
    fn slots_are_those_of_nodes_that_are_up() {
        let answer: Answer = serde_json::from_str(STATUS).unwrap();
        let slots = slots(&answer.value);
        let by_browser = HashMap::from([(Browser::Chrome, 1), (Browser::Firefox, 1)]);
        assert_eq!(slots, Slots { by_browser, at_once: 2 });
    }
}
