use super::*;
use anyhow::bail;
use axum::{Router, extract::Path, http::StatusCode, routing::get};
use serde_json::json;
use std::net::SocketAddr;
use tokio::net::TcpListener;

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

#[test]
fn the_version_of_a_driver_is_where_that_driver_puts_it() {
    let version = |capabilities: Value| driver_version(capabilities.as_object().unwrap());
    let chrome = json!({"chrome": {"chromedriverVersion": "156.0.8078.79 (a21ce95c-refs)"}});
    assert_eq!(version(chrome), "156.0.8078.79");
    assert_eq!(version(json!({"moz:geckodriverVersion": "0.36.0"})), "0.36.0");
    assert_eq!(version(json!({"browserName": "safari"})), "");
}

/// What the router of a grid says of a node that it does not reach.
const UNREACHED: &str = r#"{"value": {"error": "unknown error",
    "message": "Unable to execute request for an existing session\nHost info: host: 'vm'"}}"#;

/// A node with one slot for Chrome: whether it is there, and the session in the slot.
type Stand = (bool, Option<&'static str>);

async fn serve(app: Router) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async { axum::serve(listener, app).await });
    address
}

/// A grid that takes all `nodes` to be there.
async fn grid_of(nodes: &[Stand]) -> Grid {
    let mut stated = Vec::new();
    for (is_there, session) in nodes {
        let address = match is_there {
            true => serve(Router::new().route("/status", get("{}"))).await,
            // Nothing but root could listen there.
            false => ([127, 0, 0, 1], 1).into(),
        };
        let session = session.map(|session| json!({"sessionId": session}));
        let slot = json!({"stereotype": {"browserName": "chrome"}, "session": session});
        let uri = format!("http://{address}");
        stated.push(json!({"uri": uri, "maxSessions": 1, "availability": "UP", "slots": [slot]}));
    }
    let status = json!({"value": {"nodes": stated}}).to_string();
    let timeouts = async |Path(session): Path<String>| match session.as_str() {
        "unreached" => (StatusCode::INTERNAL_SERVER_ERROR, UNREACHED),
        "crashed" => (StatusCode::NOT_FOUND, "{}"),
        _ => (StatusCode::OK, "{}"),
    };
    let app = Router::new()
        .route("/status", get(async move || status))
        .route("/session/{session}/timeouts", get(timeouts));
    Grid::open(&format!("http://{}", serve(app).await)).await.unwrap()
}

#[tokio::test]
async fn a_session_is_lost_with_its_node_and_not_with_its_browser() {
    let grid = grid_of(&[(true, Some("crashed")), (false, Some("gone"))]).await;
    assert_eq!(grid.hold("crashed".to_owned()).await.lost().await, None);
    assert_eq!(grid.hold("unknown".to_owned()).await.lost().await, None);
    let unreached = grid.hold("unreached".to_owned()).await.lost().await.unwrap();
    assert!(unreached.ends_with("Unable to execute request for an existing session"));

    let mut held = grid.hold("gone".to_owned()).await;
    assert_eq!(held.node, None, "a node that was never reached is not known to be gone");
    assert_eq!(held.lost().await, None);
    held.node = grid.node_of("gone").await;
    assert!(held.lost().await.unwrap().contains("the node http://127.0.0.1:"));
    held.grid.url = format!("{}/", held.node.take().unwrap());
    assert!(held.lost().await.unwrap().starts_with("the grid at http://127.0.0.1:"));
}

/// Whether a grid that refuses once is asked again.
async fn asks_again(grid: &Grid) -> bool {
    let asked = AtomicUsize::new(0);
    let ask = async |_: &str| match asked.fetch_add(1, Ordering::Relaxed) {
        0 => bail!("session not created"),
        _ => Ok(()),
    };
    grid.session(Browser::Chrome, ask).await.is_ok()
}

#[tokio::test]
async fn a_grid_is_asked_again_only_if_that_promises_something() {
    let free = grid_of(&[(true, None), (true, None)]).await;
    assert!(!asks_again(&free).await);
    assert!(!asks_again(&grid_of(&[(false, None)]).await).await, "in a network of its own");
    let others = grid_of(&[(true, Some("others"))]).await;
    assert!(!asks_again(&others).await, "others may keep it for hours");

    let half_gone = grid_of(&[(true, None), (false, None)]).await;
    let full = grid_of(&[(true, Some("ours"))]).await;
    let _held = full.hold("ours".to_owned()).await;
    let unreached = free.hold("unreached".to_owned()).await;
    assert!(unreached.lost().await.is_some());
    let (half_gone, full, after_loss) =
        tokio::join!(asks_again(&half_gone), asks_again(&full), asks_again(&free));
    assert!(half_gone && full && after_loss, "{half_gone} {full} {after_loss}");
}

#[tokio::test]
async fn a_browser_that_no_node_has_is_not_waited_for() {
    let grid = grid_of(&[(true, None)]).await;
    let session = grid.session(Browser::Safari, async |_| Ok(())).await;
    assert!(session.unwrap_err().to_string().ends_with("has safari"));
}
