//! How `return-user` begins, or says why it does not.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use std::io::{BufRead as _, BufReader, Lines, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

/// A running program; killed when dropped.
struct Running {
    child: Child,
    _said: Lines<BufReader<ChildStdout>>,
    /// Host and port of the page.
    page: String,
}

impl Running {
    fn start(data: &Path) -> Self {
        let mut child = command(data, &["--port", "0"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let page = lines.by_ref().find_map(|line| {
            let line = line.unwrap();
            line.strip_prefix("page    http://").map(str::to_owned)
        });
        let page = page.unwrap();
        Self {
            child,
            _said: lines,
            page,
        }
    }

    /// The whole answer to `GET path` for `host`.
    fn get(&self, path: &str, host: &str) -> String {
        let mut stream = TcpStream::connect(&self.page).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn command(data: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_return-user"));
    command.arg("--data").arg(data).args(arguments);
    command
}

/// What it says when it does not start: no panic.
fn complaint(data: &Path, arguments: &[&str]) -> String {
    let output = command(data, arguments).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    said
}

#[test]
fn a_busy_port_is_said_and_nothing_is_touched() {
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = busy.local_addr().unwrap().port().to_string();
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    for option in ["--port", "--mesh-port"] {
        let mut arguments = vec![option, &port, "--reset"];
        if option == "--mesh-port" {
            arguments.extend(["--port", "0"]);
        }
        let said = complaint(&data, &arguments);
        let wanted = format!(
            "port {port} is busy: stop what listens there, or choose another one with {option}"
        );
        assert!(said.contains(&wanted), "{said}");
        assert!(!data.exists());
    }
}

#[test]
fn a_folder_of_somebody_else_is_refused() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("diary.txt"), "mine").unwrap();
    let said = complaint(home.path(), &["--port", "0", "--reset"]);
    assert!(said.contains("nothing in it was touched"), "{said}");
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 1);
}

#[test]
fn a_wrong_option_comes_with_the_help() {
    let home = tempfile::tempdir().unwrap();
    let said = complaint(home.path(), &["--nonsense"]);
    assert!(said.contains("--nonsense is not an option"), "{said}");
    assert!(said.contains("--access-ttl"), "{said}");
}

#[test]
fn a_killed_one_starts_again_and_a_second_one_does_not() {
    let home = tempfile::tempdir().unwrap();
    let running = Running::start(home.path());
    let said = complaint(home.path(), &["--port", "0", "--reset"]);
    assert!(said.contains("in use by another return-user"), "{said}");
    drop(running);
    drop(Running::start(home.path()));
}

#[test]
fn the_page_is_guarded_and_has_one_name() {
    let home = tempfile::tempdir().unwrap();
    let running = Running::start(home.path());
    let page = running.get("/", &running.page);
    assert!(page.starts_with("HTTP/1.1 200"), "{page}");
    for header in [
        "cache-control: no-store",
        "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self';",
        "frame-ancestors 'none'",
        "x-content-type-options: nosniff",
        "referrer-policy: no-referrer",
    ] {
        assert!(page.contains(header), "{header}: {page}");
    }
    assert!(
        !page.contains("<script>") && !page.contains("style="),
        "{page}"
    );

    let elsewhere = running.page.replace("localhost", "127.0.0.1");
    for host in [
        elsewhere.as_str(),
        "evil.example",
        "localhost.evil.example",
        "",
    ] {
        for path in ["/", "/session", "/mesh/connections"] {
            let answer = running.get(path, host);
            assert!(
                answer.starts_with("HTTP/1.1 421"),
                "{host} {path}: {answer}"
            );
        }
    }
    // Nobody is signed in.
    for path in ["/activity?after=0", "/balances", "/mesh/connections"] {
        let answer = running.get(path, &running.page);
        assert!(answer.starts_with("HTTP/1.1 401"), "{path}: {answer}");
    }
}
