//! Stands where msedgedriver and safaridriver stand, on machines that cannot have them: a small
//! WebDriver server that speaks their capabilities and their errors. It has no browser; what a page
//! would say is decided by the name of the case.
//!
//! The name it is started by says which driver it is. `DOUBLE_FOLDER` takes what it was asked, one
//! request for a session a line; `DOUBLE_REFUSES` makes it refuse sessions as the real one does.

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::{delete, get, post},
};
use serde_json::{Value, json};
use std::{
    env,
    fs::{self, File, OpenOptions},
    io::Write,
    net::Ipv4Addr,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// A WebDriver answer.
type Reply = (StatusCode, Json<Value>);

struct Double {
    is_safari: bool,
    folder: PathBuf,
    refuses: bool,
    /// What `window.run` was given last.
    request: Mutex<Value>,
    /// Whether a page has kept its answer back.
    was_late: AtomicBool,
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let mut args = env::args();
    let program = PathBuf::from(args.next().unwrap_or_default());
    let is_safari = program.file_stem().is_some_and(|name| name == "safaridriver");
    let args: Vec<String> = args.collect();
    if args == ["--version"] {
        println!(
            "{}",
            match is_safari {
                true => "Included with Safari 26.0 (21622.1.22.11.14)",
                false => "Microsoft Edge WebDriver 156.0.3210.1 (0123abcd)",
            }
        );
        return Ok(());
    }
    // Each takes its port in its own way, and only Edge's can pick one.
    let port = match (is_safari, args.as_slice()) {
        (true, [flag, port]) if flag == "--port" => port.parse().expect("a port"),
        (false, [flag]) if flag == "--port=0" => 0,
        _ => panic!("the real driver would not understand {args:?}"),
    };
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    if !is_safari {
        let port = listener.local_addr()?.port();
        println!("Starting Microsoft Edge WebDriver 156.0.3210.1 on port 0");
        println!("Microsoft Edge WebDriver was started successfully on port {port}.");
    }
    let double = Arc::new(Double {
        is_safari,
        folder: env::var_os("DOUBLE_FOLDER").expect("a folder to write to").into(),
        refuses: env::var_os("DOUBLE_REFUSES").is_some(),
        request: Mutex::default(),
        was_late: AtomicBool::default(),
    });
    let routes = Router::new()
        .route("/status", get(|| async { done(json!({"ready": true})) }))
        .route("/session", post(new_session))
        .route("/session/{id}", delete(end_session))
        .route(
            "/session/{id}/url",
            get(|| async { done(json!("about:blank")) }).post(|| async { done(Value::Null) }),
        )
        .route("/session/{id}/execute/{how}", post(execute))
        .fallback(|| async { error(StatusCode::NOT_FOUND, "unknown command", "") })
        .with_state(double);
    axum::serve(listener, routes).await
}

fn done(value: Value) -> Reply {
    (StatusCode::OK, Json(json!({"value": value})))
}

fn error(status: StatusCode, error: &str, message: &str) -> Reply {
    (status, Json(json!({"value": {"error": error, "message": message, "stacktrace": ""}})))
}

fn refusal(message: &str) -> Reply {
    error(StatusCode::INTERNAL_SERVER_ERROR, "session not created", message)
}

async fn new_session(State(double): State<Arc<Double>>, Json(asked): Json<Value>) -> Reply {
    let log = double.folder.join("sessions.jsonl");
    let mut log = OpenOptions::new().create(true).append(true).open(log).expect("a log");
    writeln!(log, "{asked}").expect("a line");
    match double.is_safari {
        true if double.refuses => refusal(
            "Could not create a session: You must enable 'Allow remote automation' in the \
             Developer section of Safari Settings to control Safari via WebDriver.",
        ),
        // The instance of Safari is the machine's, whichever driver asks.
        true if File::create_new(double.folder.join("paired")).is_err() => refusal(
            "Could not create a session: The Safari instance is already paired with another \
             WebDriver session.",
        ),
        true => done(json!({"sessionId": "2F1B1A43-D5C6", "capabilities": {
            "browserName": "Safari",
            "browserVersion": "26.0",
            "platformName": "macOS",
            "acceptInsecureCerts": false,
            "safari:automaticInspection": false,
            "setWindowRect": true,
        }})),
        false if double.refuses => refusal(
            "session not created: This version of Microsoft Edge WebDriver only supports \
             Microsoft Edge version 156\nCurrent browser version is 157.0.3300.2",
        ),
        false => done(json!({"sessionId": "9a1e5c0b", "capabilities": {
            "browserName": "msedge",
            "browserVersion": "156.0.3210.1",
            "ms:edgeOptions": {"debuggerAddress": "localhost:40123"},
            "msedge": {"msedgedriverVersion": "156.0.3210.1 (0123abcd)"},
            "platformName": "linux",
        }})),
    }
}

async fn end_session(State(double): State<Arc<Double>>) -> Reply {
    let _ = fs::remove_file(double.folder.join("paired"));
    done(Value::Null)
}

async fn execute(
    State(double): State<Arc<Double>>,
    Path((_, how)): Path<(String, String)>,
    Json(asked): Json<Value>,
) -> Reply {
    let (script, args) = (asked["script"].as_str().unwrap_or_default(), &asked["args"]);
    match how.as_str() {
        "sync" if script == "return typeof window.run" => done(json!("function")),
        "sync" if script.starts_with("window.run(") => {
            let request = serde_json::from_str(args[0].as_str().unwrap_or_default());
            *double.request.lock().expect("no thread panics with it") = request.expect("a request");
            done(Value::Null)
        }
        "sync" if script == "window.stop()" => done(Value::Null),
        "async" if script.contains("window.next(") => {
            let request = double.request.lock().expect("no thread panics with it").clone();
            next(&double, &request, args[0].as_u64().expect("how long to wait")).await
        }
        _ => panic!("the page has no such script: {script}"),
    }
}

/// What the page says next.
async fn next(double: &Double, request: &Value, wait_ms: u64) -> Reply {
    let is_safari = double.is_safari;
    let events = |events: &[Value]| done(events.iter().map(Value::to_string).collect());
    let end = |answer: Value| events(&[json!({"event": "done", "answer": answer})]);
    if request["request"] == "probe" {
        return end(json!({"answer": "probe", "engine": {"commit": "double"}}));
    }
    match request["cell"]["case"].as_str().unwrap_or_default() {
        "hangs" => {
            tokio::time::sleep(Duration::from_millis(wait_ms)).await;
            events(&[])
        }
        // Nobody is told in time, and then there is an answer after all.
        "answers late" if !double.was_late.swap(true, Ordering::Relaxed) => {
            tokio::time::sleep(Duration::from_millis(wait_ms + 500)).await;
            events(&[])
        }
        "loses its window" if is_safari => error(StatusCode::NOT_FOUND, "no such window", ""),
        "loses its window" => error(
            StatusCode::NOT_FOUND,
            "invalid session id",
            "invalid session id: session deleted as the browser has closed the connection",
        ),
        "script times out" => {
            error(StatusCode::INTERNAL_SERVER_ERROR, "script timeout", "script timeout")
        }
        "throws" => error(
            StatusCode::INTERNAL_SERVER_ERROR,
            "javascript error",
            "TypeError: undefined is not a function (near 'window.next')",
        ),
        _ => end(json!({"answer": "run", "status": "pass"})),
    }
}
