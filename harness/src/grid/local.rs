//! `harness grid`: a Selenium Grid out of the browsers of this machine.
//!
//! A hub and its nodes are processes of their own, each under a guard as drivers are, so nothing of
//! them is left however this one ends. The nodes get the drivers that the harness itself finds;
//! Selenium's own search, which would download what it misses, is off.

use super::Grid;
use crate::{
    browser::{GpuChoice, Launch, Port, SessionOptions, driver::Driver},
    interruption,
    setup::{self, Need, search::Places, selenium},
    ui::Ui,
};
use anyhow::{Context, Result, bail, ensure};
use futures_util::future::{select_all, try_join_all};
use record::Browser;
use reqwest::Url;
use serde_json::{Map, Value, json};
use std::{
    fs, io,
    net::{IpAddr, SocketAddr, TcpListener},
    pin::pin,
    time::{Duration, Instant},
};
use tokio::time::sleep;

/// How long a hub or a node may take to start; Java takes seconds on a machine that is not busy.
const START: Duration = Duration::from_secs(90);
/// After so many seconds without a command a node ends a session: its slot would otherwise be lost for
/// five minutes where a driver is killed, or a harness.
const SILENCE: u32 = 60;
/// What the hub is called here.
const HUB: &str = "the hub";
/// The wait between two looks at whether the hub has taken the nodes.
const PAUSE: Duration = Duration::from_millis(200);

/// What `grid` takes.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo harness grid
      a hub and two nodes here; `cargo harness run --grid http://127.0.0.1:4444` uses them
  cargo harness grid --host 192.0.2.1
      the same for harnesses on other machines. Whoever reaches the port can drive the browsers
  cargo harness grid --host 192.0.2.2 --hub http://192.0.2.1:4444
      nodes on a second machine for the hub on the first")]
pub struct Args {
    /// Nodes to start, each with one session at a time; more than one disturbs the timings of each
    /// other.
    #[arg(long, default_value = "2", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub nodes: u16,

    /// Browsers of each node: chrome, firefox, edge.
    #[arg(long, num_args = 1.., value_delimiter = ',', default_values = ["chrome", "firefox"])]
    pub browsers: Vec<Browser>,

    /// The hub's port; the two ports below it connect it to its nodes.
    #[arg(long, default_value = "4444", value_parser = clap::value_parser!(u16).range(1026..))]
    pub port: u16,

    /// The address of this machine to listen on, by which the others reach it.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub host: IpAddr,

    /// Start nodes alone, for this hub of another `harness grid`.
    #[arg(long, value_name = "URL", conflicts_with = "port")]
    pub hub: Option<Url>,

    /// What WebGPU is to run on.
    #[arg(long, value_enum, default_value = "software")]
    pub gpu: GpuChoice,
}

/// A hub or a node.
struct Part {
    name: &'static str,
    driver: Driver,
}

/// Starts the grid and keeps it until a signal ends it.
pub fn run(args: &Args, ui: &Ui) -> Result<()> {
    for browser in &args.browsers {
        let is_known = matches!(browser, Browser::Chrome | Browser::Firefox | Browser::Edge);
        ensure!(is_known, "a node here can have chrome, firefox and edge, and not {browser}");
    }
    let browsers = args.browsers.iter().map(|browser| Need::Browser(*browser));
    setup::ensure(&[Need::Grid].into_iter().chain(browsers).collect::<Vec<_>>(), ui)?;
    tokio::runtime::Runtime::new()?.block_on(keep(args, ui))
}

async fn keep(args: &Args, ui: &Ui) -> Result<()> {
    let mut stop = pin!(interruption::interruption());
    let mut parts = tokio::select! {
        parts = start(args, ui) => parts?,
        signal = &mut stop => return Ok(signal?),
    };
    loop {
        let ends = parts.iter().map(|part| Box::pin(part.driver.exited(Duration::MAX)));
        let (end, which) = tokio::select! {
            (end, which, _) = select_all(ends) => (end.unwrap_or_default(), which),
            signal = &mut stop => return Ok(signal?),
        };
        let gone = parts.remove(which).name;
        let is_over = gone == HUB || parts.iter().all(|part| part.name == HUB);
        ensure!(!is_over, "{gone} is gone, and the grid with it: {end}");
        ui.warn(format!("{gone} is gone, and the rest of the grid goes on: {end}"));
    }
}

/// Starts all parts, and waits until the hub has taken the nodes.
async fn start(args: &Args, ui: &Ui) -> Result<Vec<Part>> {
    let options = SessionOptions { gpu: args.gpu.settle(), ..SessionOptions::default() };
    let launches = args.browsers.iter().map(|browser| Launch::find(*browser, options));
    let launches = launches.collect::<Result<Vec<Launch>>>()?;
    let mut parts = Vec::new();
    let hub = match &args.hub {
        Some(hub) => hub.clone(),
        None => {
            let address = SocketAddr::new(args.host, args.port);
            // Java would say it in forty lines.
            for port in args.port - 2..=args.port {
                TcpListener::bind((args.host, port)).with_context(|| {
                    format!(
                        "a hub cannot listen on port {port} of {}; is that an address of this \
                         machine, and does no other grid have the port? see --host and --port",
                        args.host
                    )
                })?;
            }
            let hub = Url::parse(&format!("http://{address}"))?;
            let words = [words(&["hub"]), listen(address), bus(&hub)?].concat();
            parts.push(Part { name: HUB, driver: serve(words, &[]).await.context(HUB)? });
            hub
        }
    };

    // A node reads it as it starts, so it need not outlive this function.
    let drivers = tempfile::Builder::new().prefix("fewbit-").suffix(".toml").tempfile()?;
    fs::write(&drivers, drivers_toml(&launches)?)?;
    let config = words(&["--config", &drivers.path().to_string_lossy()]);
    let to_hub = [words(&["--hub", hub.as_str().trim_end_matches('/')]), bus(&hub)?].concat();
    let addresses = free_addresses(args.host, args.nodes).context("looking for free ports")?;
    let nodes = addresses.iter().map(|address| {
        let words = [words(&["node"]), listen(*address), to_hub.clone(), config.clone()].concat();
        serve(words, &launches)
    });
    let nodes = try_join_all(nodes).await.context("a node")?;
    parts.extend(nodes.into_iter().map(|driver| Part { name: "a node", driver }));
    wait_for(&addresses, &hub, &parts).await?;

    let browsers: Vec<&str> = args.browsers.iter().map(|browser| browser.name()).collect();
    let text = format!(
        "{} nodes, each for one session of {}; use them with: {} run --grid {}",
        args.nodes,
        browsers.join(" or "),
        crate::home::command(),
        hub.as_str().trim_end_matches('/')
    );
    ui.result(text, json!({"grid": hub.as_str(), "nodes": addresses}));
    Ok(parts)
}

/// Starts the Selenium server with `words` and the environment that the drivers of `launches` need.
async fn serve(words: Vec<String>, launches: &[Launch]) -> Result<Driver> {
    let java = selenium::java(&Places::of_this_process()).context("no Java is here")?;
    let jar = selenium::jar().context("the Selenium server is not here")?;
    let java_words = [
        // Java would otherwise keep its counters in a file that outlives it where it is killed.
        "-XX:-UsePerfData",
        // What passes messages on starts in half the time if it is not compiled for speed.
        "-XX:TieredStopAtLevel=1",
        "-jar",
        &jar.to_string_lossy(),
    ];
    let java_words = java_words.map(str::to_owned);
    let launch = Launch {
        driver_args: java_words.into_iter().chain(words).collect(),
        env: launches.iter().flat_map(|launch| launch.env.clone()).collect(),
        ..Launch::of(java, Map::new(), Port::Printed(listening))
    };
    Driver::start(&launch, START).await
}

/// The port in `… Started Selenium node 4.48.0 (revision 27f5213): http://127.0.0.1:5555`.
fn listening(line: &str) -> Option<u16> {
    line.split_once("Started Selenium ")?.1.rsplit(':').next()?.trim().parse().ok()
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Where a server listens. Traces are for those who look into Selenium itself.
fn listen(address: SocketAddr) -> Vec<String> {
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    words(&["--host", &host, "--port", &port, "--tracing", "false"])
}

/// Where hub and nodes send each other news: two ports below the hub's own, which are Selenium's
/// defaults where that is 4444.
fn bus(hub: &Url) -> Result<Vec<String>> {
    let (host, port) = (hub.host_str(), hub.port_or_known_default());
    let (Some(host), Some(port @ 3..)) = (host, port) else {
        bail!("{hub} is no address of a hub; one is http://192.0.2.1:4444");
    };
    let events = |port: u16| format!("tcp://{host}:{port}");
    Ok(words(&["--publish-events", &events(port - 2), "--subscribe-events", &events(port - 1)]))
}

/// What a node is told about its drivers (`[[node.driver-configuration]]`:
/// <https://www.selenium.dev/documentation/grid/configuration/toml_options/>).
fn drivers_toml(launches: &[Launch]) -> Result<String> {
    let driver = |launch: &Launch| {
        let stereotype = stereotype(&launch.capabilities);
        json!({
            "display-name": stereotype["browserName"],
            "webdriver-executable": launch.driver,
            "max-sessions": 1,
            "stereotype": Value::Object(stereotype).to_string(),
        })
    };
    let drivers: Vec<Value> = launches.iter().map(driver).collect();
    let node = json!({
        "detect-drivers": false,
        "selenium-manager": false,
        "max-sessions": 1,
        "session-timeout": SILENCE,
        "driver-configuration": drivers,
    });
    Ok(toml::to_string(&json!({"node": node}))?)
}

/// Of the capabilities of a session those that say which browser it is and where that lies; flags are
/// the business of who asks for a session.
fn stereotype(capabilities: &Map<String, Value>) -> Map<String, Value> {
    let kept = capabilities.iter().filter_map(|(name, value)| {
        let value = match value.get("binary") {
            Some(binary) => json!({"binary": binary}),
            None => value.is_string().then(|| value.clone())?,
        };
        Some((name.clone(), value))
    });
    kept.collect()
}

/// So many addresses of `host` that were free a moment ago; all are taken before the first is given
/// back, so that they differ.
fn free_addresses(host: IpAddr, count: u16) -> io::Result<Vec<SocketAddr>> {
    let taken: io::Result<Vec<_>> = (0..count).map(|_| TcpListener::bind((host, 0))).collect();
    taken?.iter().map(TcpListener::local_addr).collect()
}

/// Waits until the hub has taken the nodes at `addresses`.
async fn wait_for(addresses: &[SocketAddr], hub: &Url, parts: &[Part]) -> Result<()> {
    let started = Instant::now();
    loop {
        let taken = match Grid::open(hub.as_str()).await {
            Ok(grid) => grid.nodes().await.unwrap_or_default(),
            Err(_) => Vec::new(),
        };
        if addresses.iter().all(|address| taken.contains(&format!("http://{address}"))) {
            return Ok(());
        }
        for part in parts {
            if let Some(end) = part.driver.exited(Duration::ZERO).await {
                bail!("{}: {end}", part.name);
            }
        }
        let is_late = started.elapsed() > START;
        ensure!(
            !is_late,
            "the hub at {hub} does not take the nodes within {START:?}; is it there?"
        );
        sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_in_which_a_server_tells_its_port() {
        let hub = "21:13:27.761 INFO [Hub.execute] - Started Selenium Hub 4.48.0 (revision 27f5213 \
                   27f5213055e28398a5105b7892b7a3bb2012a6ef): http://127.0.0.1:5004";
        assert_eq!(listening(hub), Some(5004));
        let node =
            "INFO [NodeServer$2.start] - Starting registration process for Node http://[::1]:1";
        assert_eq!(listening(node), None);
    }

    #[test]
    fn the_news_go_through_the_two_ports_below_the_hub() {
        let bus = |url: &str| bus(&Url::parse(url).unwrap()).map(|words| words.join(" "));
        assert_eq!(
            bus("http://[::1]:4444").unwrap(),
            "--publish-events tcp://[::1]:4442 --subscribe-events tcp://[::1]:4443"
        );
        assert!(bus("unix:/socket").unwrap_err().to_string().contains("no address of a hub"));
    }

    #[test]
    fn a_node_is_told_where_browser_and_driver_are_and_no_flags() {
        let options = json!({"binary": "/opt/a b/firefox", "args": ["-headless"]});
        let capabilities = Map::from_iter([
            ("browserName".to_owned(), json!("firefox")),
            ("moz:firefoxOptions".to_owned(), options),
            ("webSocketUrl".to_owned(), json!(true)),
        ]);
        let driver = "/bin/geckodriver".into();
        let launch = Launch::of(driver, capabilities, Port::Printed(listening));
        insta::assert_snapshot!(drivers_toml(&[launch]).unwrap());
    }
}
