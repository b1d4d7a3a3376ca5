//! The `native` backend: the engine on the host, in a child process.
//!
//! `harness native-worker` reads one request as a JSON line, prints events as JSON lines and exits
//! after the last one, so that a crash or a hang costs one cell, as it does in a browser.

use crate::{pending::engine, session::Fault};
use anyhow::{Context, Result};
use record::{Answer, Event, Request, Status};
use serde_json::json;
use std::{
    io::{BufRead, Read, Write},
    process::Stdio,
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

/// Answers the request on stdin: what the child does.
pub fn worker() -> Result<()> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).context("reading the request")?;
    let request: Request = serde_json::from_str(&line).context("the request is malformed")?;
    // Stdin closes when the harness is gone, and then nobody waits for the answer.
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(1);
    });
    let mut emit = |event: Event| {
        let mut stdout = std::io::stdout().lock();
        let _ = writeln!(stdout, "{}", json!(event)).and_then(|()| stdout.flush());
    };
    let answer = engine::answer_blocking(request, &mut emit);
    emit(Event::Done { answer: Box::new(answer) });
    Ok(())
}

/// Runs a request in a child and waits at most `limit` for its answer.
pub async fn ask(
    request: &Request,
    limit: Duration,
    on_event: &mut (dyn FnMut(&Event) + Send),
) -> Result<Answer, Fault> {
    let mut stage = "start".to_owned();
    // The child dies with this value, so every way out ends it.
    let mut child = match start(request).await {
        Ok(child) => child,
        Err(error) => return Err(fault(Status::Infra, &stage, format!("{error:#}"))),
    };
    match timeout(limit, listen(&mut child, &mut stage, on_event)).await {
        Ok(Some(answer)) => Ok(answer),
        Ok(None) => {
            let mut said = String::new();
            if let Some(stderr) = child.stderr.as_mut() {
                let _ = timeout(Duration::from_secs(1), stderr.read_to_string(&mut said)).await;
            }
            let exit = match timeout(Duration::from_secs(5), child.wait()).await {
                Ok(Ok(exit)) => exit.to_string(),
                _ => "it closed its output".to_owned(),
            };
            let message = format!("the native worker ended without an answer ({exit})\n{said}");
            Err(fault(Status::Crash, &stage, message.trim_end().to_owned()))
        }
        Err(_) => {
            let message = format!("no answer within {} s", limit.as_secs_f64());
            Err(fault(Status::Timeout, &stage, message))
        }
    }
}

async fn start(request: &Request) -> Result<Child> {
    let mut child = Command::new(std::env::current_exe()?)
        .arg("native-worker")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Ctrl-C goes to the harness alone, which then ends this child.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .context("starting the native worker")?;
    let stdin = child.stdin.as_mut().context("the native worker has no stdin")?;
    let line = format!("{}\n", json!(request));
    stdin.write_all(line.as_bytes()).await.context("sending the request")?;
    Ok(child)
}

/// Reads events until the answer; none if the child ends before it.
async fn listen(
    child: &mut Child,
    stage: &mut String,
    on_event: &mut (dyn FnMut(&Event) + Send),
) -> Option<Answer> {
    let mut lines = BufReader::new(child.stdout.take()?).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        // Libraries print to stdout as well; only events are lines of JSON.
        let Ok(event) = serde_json::from_str::<Event>(&line) else { continue };
        on_event(&event);
        match event {
            Event::Stage { stage: name } => *stage = name,
            Event::Done { answer } => return Some(*answer),
            Event::Failed { .. } | Event::Loading { .. } | Event::Token { .. } => {}
        }
    }
    None
}

fn fault(status: Status, stage: &str, message: String) -> Fault {
    Fault { status, stage: stage.to_owned(), message, is_fatal: false }
}
