//! Starts a driver under a guard and knows whether it still runs.

use super::{Launch, Port, guard, turn};
use crate::own_program;
use anyhow::{Context, Result, bail};
use std::{
    env,
    fs::{self, File},
    io::{BufRead, BufReader},
    net::{Ipv4Addr, TcpListener},
    path::PathBuf,
    process::{Child, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};
use sysinfo::{Pid, ProcessStatus, ProcessesToUpdate, System};
use tokio::{net::TcpStream, sync::watch, time};

/// How long a driver that is well may take for an answer that needs no browser.
const PATIENCE: Duration = Duration::from_secs(10);

/// A driver that listens.
#[derive(Debug)]
pub struct Driver {
    name: String,
    folder: PathBuf,
    guard: Child,
    exited: watch::Receiver<Option<String>>,
    port: u16,
    pid: Arc<AtomicU32>,
    answers_while_waiting: bool,
    /// Held while it runs, where only one session can be had at a time.
    _turn: Option<File>,
}

impl Driver {
    /// Starts the driver of `launch` and waits until it has a port, at most `limit`.
    pub async fn start(launch: &Launch, limit: Duration) -> Result<Driver> {
        let turn = match launch.takes_turns {
            Some(browser) => Some(turn::take(browser.name(), &env::temp_dir(), limit).await?),
            None => None,
        };
        let (port, port_args) = match launch.port {
            Port::Printed(_) => (0, Vec::new()),
            Port::Given(args) => {
                let port = free_port().context("looking for a free port")?;
                (port, args(port))
            }
        };
        let folder = tempfile::Builder::new().prefix("fewbit-").tempdir()?;
        let mut guard = own_program()?
            .arg("guard")
            .args(launch.needs_display.then_some("--display"))
            .arg(folder.path())
            .arg("--")
            .arg(&launch.driver)
            .args(&launch.driver_args)
            .args(port_args)
            .envs(launch.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting the guard of the driver")?;
        let told = guard.stdout.take().context("the guard has no stdout")?;
        let (sender, exited) = watch::channel(None);
        let pid = Arc::new(AtomicU32::new(0));
        let started = Arc::clone(&pid);
        thread::spawn(move || {
            for line in BufReader::new(told).lines().map_while(Result::ok) {
                if let Some(Ok(pid)) = line.strip_prefix("started ").map(str::parse) {
                    started.store(pid, Ordering::Relaxed);
                }
                if let Some(exit) = line.strip_prefix("exited ") {
                    sender.send_replace(Some(exit.to_owned()));
                }
            }
            sender.send_if_modified(|exit| {
                let silent = exit.is_none();
                exit.get_or_insert_with(|| "its guard ended".to_owned());
                silent
            });
        });
        let name = launch.driver.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // From here on every way out drops the driver, which ends the guard.
        let mut driver = Driver {
            name,
            folder: folder.keep(),
            guard,
            exited,
            port,
            pid,
            answers_while_waiting: launch.answers_while_waiting,
            _turn: turn,
        };
        driver.port = driver.wait_for_port(launch.port, limit).await?;
        Ok(driver)
    }

    async fn wait_for_port(&self, port: Port, limit: Duration) -> Result<u16> {
        let started = Instant::now();
        loop {
            let listening = match port {
                Port::Printed(listening) => self.log().lines().find_map(listening),
                Port::Given(_) => {
                    let connected = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await;
                    connected.is_ok().then_some(self.port)
                }
            };
            if let Some(port) = listening {
                return Ok(port);
            }
            if let Some(exit) = self.exited.borrow().as_deref() {
                bail!("{} exited as it started ({exit}){}", self.name, self.log_tail());
            }
            if started.elapsed() > limit {
                bail!("{} took no port within {limit:?}{}", self.name, self.log_tail());
            }
            time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    /// How the driver ended, waiting at most `patience` for news; none while it runs.
    pub async fn exited(&self, patience: Duration) -> Option<String> {
        let mut exited = self.exited.clone();
        let news = exited.wait_for(Option::is_some);
        let exit = time::timeout(patience, news).await.ok()?.ok()?.clone()?;
        Some(format!("{} ended ({exit}){}", self.name, self.log_tail()))
    }

    /// What is known of a driver that runs and does not answer because of itself; none if it is the
    /// browser that does not answer the driver.
    pub async fn hangs(&self) -> Option<String> {
        let hangs = self.is_stopped() || (self.answers_while_waiting && !self.answers().await);
        hangs.then(|| format!("{} runs and does not answer{}", self.name, self.log_tail()))
    }

    /// Whether it answers what waits for no browser: that it does not know this command.
    async fn answers(&self) -> bool {
        let ask = async {
            let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build()?;
            http.get(format!("{}no-such-command", self.url())).send().await
        };
        ask.await.is_ok()
    }

    /// Whether the system lets it do nothing.
    fn is_stopped(&self) -> bool {
        let pid = Pid::from_u32(self.pid.load(Ordering::Relaxed));
        let Ok(mut system) = System::new() else { return false };
        system.refresh_processes(ProcessesToUpdate::Some(&[pid]), false);
        system.process(pid).is_some_and(|process| process.status() == ProcessStatus::Stop)
    }

    fn log(&self) -> String {
        let bytes = fs::read(self.folder.join(guard::LOG)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The last lines the driver printed, to be appended to a message.
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
        let last = &lines[lines.len().saturating_sub(4)..];
        if last.is_empty() { String::new() } else { format!("\nit printed:\n{}", last.join("\n")) }
    }
}

/// A port that was free a moment ago. Where another program takes it before the driver does, the
/// driver exits and says so.
fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

impl Drop for Driver {
    /// Closes the guard's stdin and waits for it, so that nothing is left when this returns.
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        for _ in 0..500 {
            if matches!(self.guard.try_wait(), Ok(Some(_))) {
                break;
            }
            thread::sleep(Duration::from_millis(10));
        }
        // Without effect when the guard did its work; needed when the guard itself was killed.
        let _ = self.guard.kill();
        let _ = self.guard.wait();
        if self.folder.exists() {
            guard::clean_up(&self.folder);
        }
    }
}
