//! Serves the page and the case files, on 127.0.0.1 unless browsers elsewhere must reach them.
//!
//! Only files that were listed when the server started are served, by exact name below a random
//! token; a request can name nothing else, so there is no path to traverse. Any page of any other
//! origin in the user's browsers can reach the port as well, hence the token, the check of `Host`
//! (DNS rebinding), of `Origin`, and the headers that keep other origins out. The same headers make the page
//! cross-origin isolated, which WASM threads and precise clocks need.

use crate::{bundle::compressed, cases::Case};
use anyhow::{Context, Result, ensure};
use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use record::CaseFile;
use std::{
    collections::HashMap,
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    str::FromStr,
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

/// Where the server listens, and how browsers reach it there.
#[derive(Clone, Debug)]
pub struct Listen {
    /// The address; port 0 is any free port.
    pub bind: SocketAddr,
    /// The URL by which browsers reach it, where that is not the address.
    pub public_url: Option<PublicUrl>,
}

impl Default for Listen {
    fn default() -> Listen {
        Listen { bind: (Ipv4Addr::LOCALHOST, 0).into(), public_url: None }
    }
}

/// `http://host:port` or `https://host`, without a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl {
    origin: String,
    host: String,
}

impl FromStr for PublicUrl {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<PublicUrl> {
        let origin = text.trim_end_matches('/');
        let host = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        let is_host = |host: &&str| {
            !host.is_empty()
                && host.chars().all(|c| c.is_ascii_alphanumeric() || "-.:[]".contains(c))
        };
        let host = host.filter(is_host);
        let host = host.context("an origin is wanted, such as http://192.0.2.7:8080")?.to_owned();
        Ok(PublicUrl { origin: origin.to_owned(), host })
    }
}

/// A folder of which the listed files are served.
#[derive(Clone, Debug)]
pub struct Served {
    /// Its name in URLs.
    pub name: String,
    /// Where it is.
    pub folder: PathBuf,
    /// Its files.
    pub files: Vec<CaseFile>,
}

/// A server that ends when it is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    origin: String,
    token: String,
    task: JoinHandle<()>,
}

struct Files {
    /// What `Host` may say, and `Origin` with the scheme before it.
    hosts: Vec<String>,
    origins: Vec<String>,
    by_path: HashMap<String, Resource>,
}

/// What is behind a path.
enum Resource {
    /// A file of the page, with compressed copies of it beside it where `bundle` made some.
    Page(PathBuf),
    /// A file of a model: read in ranges, and never in another form.
    Model(PathBuf),
}

impl Server {
    /// Serves the bundle in the folder `web`, where there is one, and the files of `cases`.
    pub async fn start(web: Option<&Path>, cases: &[Case], listen: &Listen) -> Result<Server> {
        let served = |case: &Case| Served {
            name: case.name.clone(),
            folder: case.folder.clone(),
            files: case.files.clone(),
        };
        Server::serve(web, &cases.iter().map(served).collect::<Vec<_>>(), listen).await
    }

    /// The same with folders that are no cases.
    pub async fn serve(web: Option<&Path>, folders: &[Served], listen: &Listen) -> Result<Server> {
        let token = token()?;
        let mut by_path = HashMap::new();
        if let Some(web) = web {
            list(web, &format!("/{token}/"), &mut by_path)
                .with_context(|| format!("reading the bundle in {}", web.display()))?;
        }
        for served in folders {
            for file in &served.files {
                let path = format!("/{token}/cases/{}/{}", served.name, file.name);
                let file = Resource::Model(served.folder.join(&file.name));
                by_path.insert(encode(&path), file);
            }
        }
        let Listen { bind, public_url } = listen;
        ensure!(
            !bind.ip().is_unspecified() || public_url.is_some(),
            "{bind} is every address of this machine: say with --public-url how browsers reach it"
        );
        let listener = TcpListener::bind(bind).await.with_context(|| {
            format!(
                "listening on {bind}; is that an address of this machine? port 0 is any that no \
                 other program has"
            )
        })?;
        let address = listener.local_addr()?;
        let mut hosts = vec![address.to_string()];
        if address.ip().is_loopback() {
            hosts.push(format!("localhost:{}", address.port()));
        }
        let mut origins: Vec<String> = hosts.iter().map(|host| format!("http://{host}")).collect();
        let mut origin = origins[0].clone();
        if let Some(public) = public_url {
            hosts.push(public.host.clone());
            origins.push(public.origin.clone());
            origin.clone_from(&public.origin);
        }
        let files = Arc::new(Files { hosts, origins, by_path });
        let router = Router::new().fallback(answer).with_state(files);
        let task = tokio::spawn(async move {
            // It ends with the task, which the drop of the server aborts.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Server { address, origin, token, task })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The page.
    pub fn page_url(&self) -> String {
        format!("{}/{}/index.html", self.origin, self.token)
    }

    /// The folder of a case.
    pub fn case_url(&self, case: &str) -> String {
        format!("{}{}", self.origin, encode(&format!("/{}/cases/{case}/", self.token)))
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

/// Why a request is turned away, whatever it asks for.
fn refusal(files: &Files, request: &Request) -> Option<StatusCode> {
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    let is_known = |known: &[String], value: &str| known.iter().any(|other| other == value);
    if !header(header::HOST).is_some_and(|host| is_known(&files.hosts, host)) {
        return Some(StatusCode::MISDIRECTED_REQUEST);
    }
    // The page itself sends none with what it reads; who sends one is mostly another page.
    if request.headers().contains_key(header::ORIGIN)
        && !header(header::ORIGIN).is_some_and(|origin| is_known(&files.origins, origin))
    {
        return Some(StatusCode::FORBIDDEN);
    }
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    (!is_read).then_some(StatusCode::METHOD_NOT_ALLOWED)
}

async fn file(files: &Files, request: Request) -> Response {
    if let Some(status) = refusal(files, &request) {
        return status.into_response();
    }
    let Some(resource) = files.by_path.get(request.uri().path()) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let file = match resource {
        // The form that the browser prefers of those that are there.
        Resource::Page(path) => ServeFile::new(path).precompressed_br().precompressed_gzip(),
        Resource::Model(path) => ServeFile::new(path),
    };
    match file.oneshot(request).await {
        Ok(response) => response.map(Body::new),
        Err(never) => match never {},
    }
}

/// Every file of a page below `folder`; hidden ones and compressed copies are left out.
fn list(folder: &Path, prefix: &str, by_path: &mut HashMap<String, Resource>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| !name.starts_with('.')) else { continue };
        let path = entry.path();
        if path.is_dir() {
            list(&path, &format!("{prefix}{name}/"), by_path)?;
        } else if !compressed::is_copy(&path) {
            by_path.insert(encode(&format!("{prefix}{name}")), Resource::Page(path));
        }
    }
    Ok(())
}

/// Percent-encodes what the path of an URL cannot hold, as a browser does.
fn encode(path: &str) -> String {
    let mut encoded = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' | b'~' => {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_url_is_an_origin() {
        let url: PublicUrl = "https://runner.example:8443/".parse().unwrap();
        assert_eq!(
            (url.origin.as_str(), url.host.as_str()),
            ("https://runner.example:8443", "runner.example:8443")
        );
        for bad in ["runner.example", "ftp://runner.example", "http://", "http://a/b", "http://a@b"]
        {
            let error = bad.parse::<PublicUrl>().unwrap_err().to_string();
            assert!(error.contains("an origin is wanted"), "{bad}: {error}");
        }
    }
}
