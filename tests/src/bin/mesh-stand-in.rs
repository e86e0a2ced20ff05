//! The stand-in of Mesh as a process of its own.
//!
//! `mesh-stand-in [--port PORT] [--state FILE] [--access-ttl SECONDS] [--refresh-ttl SECONDS]
//! [--parent ORIGIN]..` prints `ready URL CLIENT-ID CLIENT-SECRET` as its first line. Then it
//! reads commands from stdin, answers each with one line, and ends with it:
//!
//! | command | does | answer |
//! |---|---|---|
//! | `connect USER TYPE` | connects a user, `sandbox` or `lakeside` | the payload of the SDK |
//! | `later USER TYPE` | connects a user whose consent comes later | the payload of the SDK |
//! | `code CODE` | wants this code at each refresh; none if left out | `ok` |
//! | `expire` | makes all access tokens expire | `ok` |
//! | `end USER` | ends the user's connections | `ok` |
//! | `parent ORIGIN` | lets this origin show the link page in a frame | `ok` |
//! | `connected USER TYPE` | | `true` or `false` |
//! | `counts` | | what it did so far |

#![allow(clippy::print_stdout)]

use std::io::BufRead as _;
use std::time::Duration;

use tests::BoxError;
use tower_token::testkit::{MeshBroker, MeshServer};

fn main() -> Result<(), BoxError> {
    let mut builder = MeshServer::builder();
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or("an option without its value")?;
        let seconds = || value.parse().map(Duration::from_secs);
        builder = match &*name {
            "--port" => builder.port(value.parse()?),
            "--state" => builder.state_file(value),
            "--access-ttl" => builder.access_ttl(seconds()?),
            "--refresh-ttl" => builder.refresh_ttl(seconds()?),
            "--parent" => builder.parent_origin(value),
            _ => return Err(format!("no such option: {name}").into()),
        };
    }
    let server = builder.start()?;
    println!(
        "ready {} {} {}",
        server.base_url(),
        server.client_id(),
        server.client_secret()
    );
    for line in std::io::stdin().lock().lines() {
        println!("{}", obey(&server, &line?)?);
    }
    Ok(())
}

fn obey(server: &MeshServer, line: &str) -> Result<String, BoxError> {
    let words: Vec<_> = line.split(' ').collect();
    let done = || Ok("ok".to_owned());
    match words[..] {
        ["connect", user, of_type] => Ok(server.connect(user, broker(of_type)?).expose().into()),
        ["later", user, of_type] => {
            let payload = server.connect_later(user, broker(of_type)?);
            Ok(payload.expose().into())
        }
        ["code", code] => {
            server.require_code(code);
            done()
        }
        ["code"] => {
            server.require_code(None);
            done()
        }
        ["expire"] => {
            server.expire_access_tokens();
            done()
        }
        ["end", user] => {
            server.end_connections(user);
            done()
        }
        ["parent", origin] => {
            server.allow_parent(origin)?;
            done()
        }
        ["connected", user, of_type] => Ok(server.is_connected(user, broker(of_type)?).to_string()),
        ["counts"] => Ok(format!("{:?}", server.counts())),
        _ => Err(format!("no such command: {line}").into()),
    }
}

fn broker(of_type: &str) -> Result<MeshBroker, BoxError> {
    let brokers = [MeshBroker::Northwind, MeshBroker::Lakeside];
    let found = brokers.into_iter().find(|it| it.broker_type() == of_type);
    found.ok_or_else(|| format!("no such type: {of_type}").into())
}
