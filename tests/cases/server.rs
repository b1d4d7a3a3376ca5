//! The server answers the page and nobody else: hostile requests over a raw socket.

use harness::{
    cases::Case,
    server::{Listen, Server},
};
use std::{fs, net::SocketAddr};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

struct Fixture {
    server: Server,
    folder: TempDir,
}

impl Fixture {
    async fn new() -> Fixture {
        let folder = TempDir::new().unwrap();
        let web = folder.path().join("web");
        fs::create_dir_all(web.join("pkg")).unwrap();
        fs::write(web.join("index.html"), "the page").unwrap();
        fs::write(web.join("pkg/engine.js"), "the engine").unwrap();
        fs::write(web.join("pkg/engine_bg.wasm"), "wasm").unwrap();
        fs::write(folder.path().join("secret"), "secret").unwrap();
        tests::write_case(&folder.path().join("tiny"));
        let case = Case::open(&folder.path().join("tiny"), vec![]).unwrap();
        fs::write(folder.path().join("tiny/late.bin"), "written after it was listed").unwrap();
        let server = Server::start(Some(&web), &[case], &Listen::default()).await.unwrap();
        Fixture { server, folder }
    }

    fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// The path of the page's folder, with the token.
    fn root(&self) -> String {
        let url = self.server.page_url();
        let path = url.strip_prefix(&format!("http://{}", self.address())).unwrap();
        path.strip_suffix("/index.html").unwrap().to_owned()
    }

    /// Sends bytes and reads until the server closes; returns the status and the whole answer.
    async fn send(&self, request: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
        (status.unwrap_or_else(|| panic!("no answer: {answer:?}")), answer)
    }

    async fn get(&self, path: &str, headers: &str) -> (u16, String) {
        let host = self.address();
        let line =
            format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n");
        self.send(&line).await
    }
}

#[tokio::test]
async fn what_is_listed_is_served_with_types_and_isolation() {
    let fixture = Fixture::new().await;
    let root = fixture.root();
    for (path, content_type, body) in [
        ("/index.html", "text/html", "the page"),
        ("/pkg/engine.js", "text/javascript", "the engine"),
        ("/pkg/engine_bg.wasm", "application/wasm", "wasm"),
        ("/cases/tiny/model.safetensors", "application/octet-stream", "the weights"),
    ] {
        let (status, answer) = fixture.get(&format!("{root}{path}"), "").await;
        assert_eq!(status, 200, "{path}");
        assert!(answer.contains(&format!("content-type: {content_type}")), "{path}: {answer}");
        assert!(answer.contains(body), "{path}: {answer}");
        for header in [
            "cross-origin-opener-policy: same-origin",
            "cross-origin-embedder-policy: require-corp",
            "cross-origin-resource-policy: same-origin",
            "cache-control: no-store",
            "x-content-type-options: nosniff",
            "content-security-policy: default-src 'none'; script-src 'self' 'wasm-unsafe-eval'",
        ] {
            assert!(answer.contains(header), "{path} has no {header}: {answer}");
        }
    }
}

#[tokio::test]
async fn the_page_is_sent_compressed_and_models_never_are() {
    let folder = TempDir::new().unwrap();
    let (web, tiny) = (folder.path().join("web"), folder.path().join("tiny"));
    fs::create_dir_all(&web).unwrap();
    tests::write_case(&tiny);
    for (file, text) in [("engine_bg.wasm", "plain"), ("engine_bg.wasm.br", "brotli")] {
        fs::write(web.join(file), text).unwrap();
        fs::write(tiny.join(file), text).unwrap();
    }
    fs::write(web.join("engine_bg.wasm.gz"), "gzip").unwrap();
    let case = Case::open(&tiny, vec![]).unwrap();
    let server = Server::start(Some(&web), &[case], &Listen::default()).await.unwrap();
    let fixture = Fixture { server, folder };
    let root = fixture.root();
    for (accepted, encoding, body) in [
        ("gzip, deflate, br, zstd", Some("br"), "brotli"),
        ("gzip, deflate", Some("gzip"), "gzip"),
        ("br;q=0, gzip", Some("gzip"), "gzip"),
        ("zstd", None, "plain"),
        ("identity", None, "plain"),
    ] {
        let accepted = format!("Accept-Encoding: {accepted}\r\n");
        let (status, answer) = fixture.get(&format!("{root}/engine_bg.wasm"), &accepted).await;
        assert_eq!(status, 200, "{answer}");
        assert!(answer.ends_with(body), "{accepted}{answer}");
        assert!(answer.contains("content-type: application/wasm"), "{answer}");
        let said = encoding.map(|encoding| format!("content-encoding: {encoding}\r\n"));
        assert_eq!(answer.contains("content-encoding"), said.is_some(), "{answer}");
        assert!(said.is_none_or(|said| answer.contains(&said)), "{answer}");

        // A model may have a file of such a name; it is a file of the model, and ranges are its own.
        let headers = format!("{accepted}Range: bytes=1-2\r\n");
        let path = format!("{root}/cases/tiny/engine_bg.wasm");
        let (status, answer) = fixture.get(&path, &headers).await;
        assert!(status == 206 && answer.ends_with("\r\n\r\nla"), "{answer}");
        assert!(!answer.contains("content-encoding"), "{answer}");
    }
    // The copies have no addresses of their own.
    assert_eq!(fixture.get(&format!("{root}/engine_bg.wasm.br"), "").await.0, 404);
    assert_eq!(fixture.get(&format!("{root}/cases/tiny/engine_bg.wasm.br"), "").await.0, 200);
}

#[tokio::test]
async fn nothing_else_is_served() {
    let fixture = Fixture::new().await;
    let root = fixture.root();
    let secret = fixture.folder.path().join("secret").to_string_lossy().into_owned();
    let mut paths = vec![
        "/".to_owned(),
        "/index.html".to_owned(),
        "/0123456789abcdef0123456789abcdef/index.html".to_owned(),
        root.clone(),
        format!("{root}/"),
        format!("{root}/pkg"),
        format!("{root}/pkg/"),
        format!("{root}//index.html"),
        format!("{root}/cases/"),
        format!("{root}/cases/tiny/"),
        format!("{root}/cases/tiny/late.bin"),
        format!("{root}/cases/other/model.safetensors"),
        format!("{root}{secret}"),
        format!("{root}/index.html%00"),
        format!("{root}/INDEX.HTML"),
    ];
    for up in ["../secret", "..%2fsecret", "%2e%2e/secret", "..\\secret", "../../../../etc/passwd"]
    {
        paths.push(format!("{root}/{up}"));
        paths.push(format!("{root}/cases/tiny/{up}"));
        paths.push(format!("{root}/cases/{up}"));
    }
    for path in paths {
        let (status, answer) = fixture.get(&path, "").await;
        assert_eq!(status, 404, "{path}: {answer}");
        assert!(!answer.contains("secret\n") && !answer.ends_with("secret"), "{path}: {answer}");
        assert!(answer.contains("x-content-type-options: nosniff"), "{path}: {answer}");
    }
}

#[tokio::test]
async fn other_hosts_and_methods_are_turned_away() {
    let fixture = Fixture::new().await;
    let (root, port) = (fixture.root(), fixture.address().port());
    let send = async |request: String| fixture.send(&request).await.0;
    for host in [
        "evil.example".to_owned(),
        format!("evil.example:{port}"),
        "127.0.0.1".to_owned(),
        format!("127.0.0.1:{}", port ^ 1),
        format!("127.0.0.1.evil.example:{port}"),
        String::new(),
    ] {
        let head = format!("GET {root}/index.html HTTP/1.1\r\nConnection: close\r\n");
        assert_eq!(send(format!("{head}Host: {host}\r\n\r\n")).await, 421, "{host:?}");
    }
    let no_host = format!("GET {root}/index.html HTTP/1.0\r\n\r\n");
    assert_eq!(send(no_host).await, 421);
    let line = |method: &str, host: &str| {
        format!(
            "{method} {root}/index.html HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n"
        )
    };
    assert_eq!(send(line("GET", "localhost")).await, 200);
    assert_eq!(send(line("HEAD", "127.0.0.1")).await, 200);
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "BREW"] {
        assert_eq!(send(line(method, "127.0.0.1")).await, 405, "{method}");
    }
    assert_eq!(send("nonsense\r\n\r\n".to_owned()).await, 400);
}

#[tokio::test]
async fn pages_of_other_origins_are_turned_away() {
    let fixture = Fixture::new().await;
    let path = format!("{}/index.html", fixture.root());
    let port = fixture.address().port();
    for (origin, expected) in [
        (format!("http://127.0.0.1:{port}"), 200),
        (format!("http://localhost:{port}"), 200),
        (format!("https://127.0.0.1:{port}"), 403),
        ("http://evil.example".to_owned(), 403),
        ("null".to_owned(), 403),
        (String::new(), 403),
    ] {
        let (status, _) = fixture.get(&path, &format!("Origin: {origin}\r\n")).await;
        assert_eq!(status, expected, "{origin:?}");
    }
}

#[tokio::test]
async fn browsers_elsewhere_come_by_the_public_url_alone() {
    let listen = Listen {
        bind: "127.0.0.1:0".parse().unwrap(),
        public_url: Some("https://runner.example:8443".parse().unwrap()),
    };
    let server = Server::start(None, &[], &listen).await.unwrap();
    assert!(server.page_url().starts_with("https://runner.example:8443/"));
    assert!(server.case_url("a b").ends_with("/cases/a%20b/"));

    // Every address at once has no name of its own.
    let open = Listen { bind: "0.0.0.0:0".parse().unwrap(), public_url: None };
    let error = Server::start(None, &[], &open).await.unwrap_err().to_string();
    assert!(error.contains("--public-url"), "{error}");

    let taken = Listen { bind: server.address(), public_url: None };
    let error = format!("{:#}", Server::start(None, &[], &taken).await.unwrap_err());
    assert!(error.contains("port 0 is any") && error.contains("os error"), "{error}");
}

#[tokio::test]
async fn requests_without_end_are_cut() {
    let fixture = Fixture::new().await;
    let line = format!("GET /{} HTTP/1.1\r\n", "a".repeat(1 << 20));
    let (status, _) = fixture.send(&line).await;
    assert!([414, 431].contains(&status), "{status}");
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "X-Header: value\r\n".repeat(10_000));
    let (status, _) = fixture.send(&many).await;
    assert_eq!(status, 431);
}

#[tokio::test]
async fn parts_of_files_are_served() {
    let fixture = Fixture::new().await;
    let path = format!("{}/cases/tiny/model.safetensors", fixture.root());
    let whole = "the weights, longest of all";
    for (range, part) in [
        ("bytes=0-2", "the"),
        ("bytes=4-10", "weights"),
        ("bytes=21-", "of all"),
        ("bytes=-3", "all"),
        ("bytes=24-9999", "all"),
    ] {
        let (status, answer) = fixture.get(&path, &format!("Range: {range}\r\n")).await;
        assert_eq!(status, 206, "{range}: {answer}");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert_eq!(body, part, "{range}");
        let start = whole.find(part).unwrap();
        let says =
            format!("content-range: bytes {start}-{}/{}", start + part.len() - 1, whole.len());
        assert!(head.contains(&says), "{range}: {head}");
    }
    for range in ["bytes=27-", "bytes=100-200", "bytes=5-2", "bytes=0-1,3-4"] {
        let (status, answer) = fixture.get(&path, &format!("Range: {range}\r\n")).await;
        assert_eq!(status, 416, "{range}: {answer}");
    }
}
