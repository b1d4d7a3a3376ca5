//! Serves the page and the case files on 127.0.0.1.
//!
//! Only files that were listed when the server started are served, by exact name below a random
//! token; a request can name nothing else, so there is no path to traverse. Any page of any other
//! origin in the user's browsers can reach the port as well, hence the token, the check of `Host`
//! (DNS rebinding) and the headers that keep other origins out. The same headers make the page
//! cross-origin isolated, which WASM threads and precise clocks need.

use crate::cases::Case;
use anyhow::{Context, Result};
use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use std::{
    collections::HashMap,
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::{net::TcpListener, task::JoinHandle};
use tower::ServiceExt;
use tower_http::services::ServeFile;

const HEADERS: [(HeaderName, &str); 7] = [
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-embedder-policy"), "require-corp"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (header::CACHE_CONTROL, "no-store"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; \
         connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'",
    ),
];

/// A server that ends when it is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    token: String,
    task: JoinHandle<()>,
}

struct Files {
    port: u16,
    by_path: HashMap<String, PathBuf>,
}

impl Server {
    /// Serves the bundle in the folder `web`, where there is one, and the files of `cases`.
    pub async fn start(web: Option<&Path>, cases: &[Case]) -> Result<Server> {
        let token = token()?;
        let mut by_path = HashMap::new();
        if let Some(web) = web {
            list(web, &format!("/{token}/"), &mut by_path)
                .with_context(|| format!("reading the bundle in {}", web.display()))?;
        }
        for case in cases {
            for file in &case.files {
                let path = format!("/{token}/cases/{}/{}", case.name, file.name);
                by_path.insert(encode(&path), case.folder.join(&file.name));
            }
        }
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("opening a port")?;
        let address = listener.local_addr()?;
        let files = Arc::new(Files { port: address.port(), by_path });
        let router = Router::new().fallback(answer).with_state(files);
        let task = tokio::spawn(async move {
            // It ends with the task, which the drop of the server aborts.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Server { address, token, task })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The page.
    pub fn page_url(&self) -> String {
        format!("http://{}/{}/index.html", self.address, self.token)
    }

    /// The folder of a case.
    pub fn case_url(&self, case: &str) -> String {
        encode(&format!("http://{}/{}/cases/{case}/", self.address, self.token))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(State(files): State<Arc<Files>>, request: Request) -> Response {
    let mut response = file(&files, request).await;
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn file(files: &Files, request: Request) -> Response {
    let port = files.port;
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    if !host.is_some_and(|host| {
        host == format!("127.0.0.1:{port}") || host == format!("localhost:{port}")
    }) {
        return StatusCode::MISDIRECTED_REQUEST.into_response();
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    let Some(path) = files.by_path.get(request.uri().path()) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    match ServeFile::new(path).oneshot(request).await {
        Ok(response) => response.map(Body::new),
        Err(never) => match never {},
    }
}

/// Every file below `folder`, hidden ones left out.
fn list(folder: &Path, prefix: &str, by_path: &mut HashMap<String, PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| !name.starts_with('.')) else { continue };
        if entry.path().is_dir() {
            list(&entry.path(), &format!("{prefix}{name}/"), by_path)?;
        } else {
            by_path.insert(encode(&format!("{prefix}{name}")), entry.path());
        }
    }
    Ok(())
}

/// Percent-encodes what the path of an URL cannot hold, as a browser does.
fn encode(path: &str) -> String {
    let mut encoded = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b':' | b'-' | b'_' | b'.' | b'~' => {
                encoded.push(byte.into());
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// 128 random bits in hexadecimal.
fn token() -> Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).context("asking the system for random bytes")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
