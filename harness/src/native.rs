//! The `native` backend: the engine on the host, in a child process.
//!
//! `harness native-worker` reads one request as a JSON line, prints events as JSON lines and exits
//! after the last one, so that a crash or a hang costs one cell, as it does in a browser.

use crate::{own_program, session::Fault};
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
    let mut worker = own_program()
        .map_err(|error| fault(Status::Infra, "start", format!("this program is gone: {error}")))?;
    worker.arg("native-worker");
    // Ctrl-C goes to the harness alone, which then ends this child.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut worker, 0);
    ask_of(worker.into(), request, limit, on_event).await
}

async fn ask_of(
    worker: Command,
    request: &Request,
    limit: Duration,
    on_event: &mut (dyn FnMut(&Event) + Send),
) -> Result<Answer, Fault> {
    let mut stage = "start".to_owned();
    // The child dies with this value, so every way out ends it.
    let mut child = match start(worker, request).await {
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

async fn start(mut worker: Command, request: &Request) -> Result<Child> {
    let mut child = worker
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("starting the native worker")?;
    let stdin = child.stdin.as_mut().context("the native worker has no stdin")?;
    let line = format!("{}\n", json!(request));
    // A child that is gone before it has read the request is found out by whoever listens to it.
    let _ = stdin.write_all(line.as_bytes()).await;
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
            Event::Failed { .. }
            | Event::Hidden
            | Event::Loading { .. }
            | Event::Token { .. }
            | Event::Text { .. } => {}
        }
    }
    None
}

fn fault(status: Status, stage: &str, message: String) -> Fault {
    Fault { status, stage: stage.to_owned(), message, is_fatal: false }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use record::Backend;

    /// Asks a shell script in place of the worker.
    fn ask_script(script: &str, limit: Duration) -> (Result<Answer, Fault>, usize) {
        let mut events = 0;
        let mut shell = Command::new("sh");
        shell.args(["-c", script]);
        let request = Request::Probe { backend: Backend::Native, self_test: false };
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let answer = runtime.block_on(ask_of(shell, &request, limit, &mut |_| events += 1));
        (answer, events)
    }

    const LONG: Duration = Duration::from_secs(20);
    const STAGE: &str = r#"echo '{"event":"stage","stage":"forward"}';"#;

    #[test]
    fn the_request_goes_in_and_the_answer_comes_out() {
        let script = r#"read -r line; echo "a library speaks"
            case "$line" in *'"backend":"native"'*) ;; *) exit 1;; esac
            echo '{"event":"done","answer":{"answer":"probe"}}'; sleep 60"#;
        let (answer, events) = ask_script(&format!("{STAGE}{script}"), LONG);
        assert_eq!(answer.unwrap(), Answer::Probe(Box::default()));
        assert_eq!(events, 2);
    }

    #[test]
    fn a_worker_that_dies_is_a_crash_with_its_last_words() {
        let (answer, _) = ask_script(&format!("{STAGE} echo help >&2; kill -9 $$"), LONG);
        let fault = answer.unwrap_err();
        assert_eq!((fault.status, fault.stage.as_str()), (Status::Crash, "forward"));
        assert!(fault.message.contains("signal: 9") && fault.message.contains("help"), "{fault:?}");
    }

    #[test]
    fn a_worker_that_hangs_is_a_timeout() {
        let (answer, _) = ask_script(&format!("{STAGE} sleep 60"), Duration::from_millis(300));
        let fault = answer.unwrap_err();
        assert_eq!((fault.status, fault.stage.as_str()), (Status::Timeout, "forward"));
        assert_eq!(fault.message, "no answer within 0.3 s");
    }
}
