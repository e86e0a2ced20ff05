//! A disconnect removes every account at Mesh, whatever has expired by then; and the stand-in
//! forgets nothing that it said.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tests::mesh::Rig;
use tests::{BoxError, http_client};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;
use tower_token::testkit::{Fault, MeshBroker};
use tower_token::{EventKind, Events};

use crate::support::HOUR;

async fn revoked(events: &mut Events) {
    let revoked = async { while events.next().await.unwrap().kind != EventKind::Revoked {} };
    timeout(Duration::from_secs(10), revoked)
        .await
        .expect("not revoked");
}

#[tokio::test]
async fn each_account_is_removed_even_after_its_token_has_expired() {
    for (expired, broker) in [
        (false, MeshBroker::Northwind),
        (true, MeshBroker::Northwind),
        (true, MeshBroker::Lakeside),
    ] {
        let rig = Rig::new().await.unwrap();
        let (ada, ids) = rig.connected("ada", broker).await.unwrap();
        let (bob, of_bob) = rig.connected("bob", broker).await.unwrap();
        if expired {
            rig.clock.advance(HOUR);
        }
        let mut events = rig.manager.events(16);
        rig.manager.disconnect(&ada).await.unwrap();
        revoked(&mut events).await;

        assert_eq!(rig.server.counts_of("ada").removals, ids.len() as u64);
        assert_eq!(rig.server.counts_of("ada").refreshes_ok, u64::from(expired));
        assert_eq!(rig.server.counts().reuse_detected, 0);
        assert!(!rig.server.is_connected("ada", broker));
        assert!(rig.token(&ada, &ids[0]).await.is_err());
        assert!(rig.opens(&bob, broker, &of_bob[0]).await.unwrap());
    }
}

#[tokio::test]
async fn a_login_that_was_to_be_confirmed_later_is_removed_too() {
    let rig = Rig::new().await.unwrap();
    let broker = MeshBroker::Northwind;
    let payload = rig.server.connect_later("ada", broker);
    let keys = tests::mesh::connect(&rig.manager, "ada", &payload).await;
    let mut events = rig.manager.events(16);
    rig.manager.disconnect(&keys.unwrap()[0]).await.unwrap();
    revoked(&mut events).await;
    assert_eq!(rig.server.counts_of("ada").removals, 2);
    assert!(!rig.server.is_connected("ada", broker));
}

#[tokio::test]
async fn what_cannot_be_refreshed_now_is_removed_later() {
    let rig = Rig::new().await.unwrap();
    let (ada, _) = rig.connected("ada", MeshBroker::Northwind).await.unwrap();
    rig.clock.advance(HOUR);
    rig.server.set_fault(Fault::status(503).times(1));
    let mut events = rig.manager.events(16);
    rig.manager.disconnect(&ada).await.unwrap();
    // When the first try is over is not told: the time passes until it has been done.
    for _ in 0..100 {
        rig.clock.advance(Duration::from_secs(120));
        rig.manager.sweep().await.unwrap();
        if timeout(Duration::from_millis(20), revoked(&mut events))
            .await
            .is_ok()
        {
            break;
        }
    }
    assert_eq!(rig.server.counts_of("ada").refreshes_failed, 1);
    assert_eq!(rig.server.counts_of("ada").removals, 2);
    assert!(!rig.server.is_connected("ada", MeshBroker::Northwind));
}

/// The stand-in as a process.
struct StandIn {
    child: Child,
    stdin: ChildStdin,
    stdout: Lines<BufReader<ChildStdout>>,
    ready: Vec<String>,
}

impl StandIn {
    async fn start(state: &Path) -> Result<Self, BoxError> {
        let mut child = Command::new(env!("CARGO_BIN_EXE_mesh-stand-in"))
            .arg("--state")
            .arg(state)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdin = child.stdin.take().ok_or("no stdin")?;
        let mut stdout = BufReader::new(child.stdout.take().ok_or("no stdout")?).lines();
        let ready = stdout.next_line().await?.ok_or("it ended")?;
        Ok(Self {
            child,
            stdin,
            stdout,
            ready: ready.split(' ').map(str::to_owned).collect(),
        })
    }

    async fn ask(&mut self, command: &str) -> Result<String, BoxError> {
        self.stdin
            .write_all(format!("{command}\n").as_bytes())
            .await?;
        Ok(self.stdout.next_line().await?.ok_or("it ended")?)
    }

    async fn refresh(&self, token: &Value) -> Result<Value, BoxError> {
        let body = json!({ "type": "sandbox", "refreshToken": token }).to_string();
        let request = http::Request::post(format!("{}/api/v1/token/refresh", self.ready[1]))
            .header("x-client-id", &self.ready[2])
            .header("x-client-secret", &self.ready[3])
            .header("content-type", "application/json")
            .body(http_body_util::Full::from(body))?;
        tests::json(http_client().request(request).await?).await
    }
}

#[tokio::test]
async fn a_stand_in_that_is_killed_goes_on_with_what_it_said() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("mesh.json");
    let mut server = StandIn::start(&state).await.unwrap();
    let payload = server.ask("connect ada sandbox").await.unwrap();
    let payload: Value = serde_json::from_str(&payload).unwrap();
    let mut tokens = vec![payload["accessToken"]["accountTokens"][0]["refreshToken"].clone()];
    for _ in 0..5 {
        let client = server.ready[2..].to_vec();
        let answer = server.refresh(tokens.last().unwrap()).await.unwrap();
        tokens.push(answer["content"]["refreshToken"].clone());
        server.child.kill().await.unwrap();
        server = StandIn::start(&state).await.unwrap();
        assert_eq!(server.ready[2..], client);
    }
    assert_eq!(server.ask("connected ada sandbox").await.unwrap(), "true");
    let answer = server.refresh(&tokens[0]).await.unwrap();
    assert_eq!(answer["message"], "Unauthorized token");
    assert_eq!(server.ask("connected ada sandbox").await.unwrap(), "false");
}
