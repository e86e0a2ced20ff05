//! The return user in a browser: connect once, come back later, no login.
//!
//! ```text
//! cargo run -p examples --bin return-user
//! ```
//!
//! A page, its server, the tokens behind it, and a stand-in of Mesh, all in this process:
//! nothing but Rust is needed, and nothing leaves this machine. Everything is kept in one
//! folder, so that the process may be killed and started again. `--help` has the options.
//!
//! Read `app.rs` first: it puts the parts together. `balances.rs` calls an API for the users,
//! `page/link.js` is the page's side of Mesh Link.

#![allow(clippy::print_stdout, clippy::print_stderr)]

mod activity;
mod app;
mod assets;
mod balances;
mod folder;
mod options;
mod sessions;
mod user;

use std::error::Error;
use std::io;
use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::time::Duration;

use axum_token::PublicOrigin;
use tokio::net::TcpListener;
use tower_token::testkit::MeshServer;

use self::folder::Folder;
use self::options::{Asked, Options};

#[tokio::main]
async fn main() -> ExitCode {
    let options = match options::parse(std::env::args().skip(1)) {
        Ok(Asked::Run(options)) => options,
        Ok(Asked::Help) => {
            print!("{}", options::HELP);
            return ExitCode::SUCCESS;
        }
        Err(problem) => {
            eprintln!("{problem}\n\n{}", options::HELP);
            return ExitCode::FAILURE;
        }
    };
    match run(&options).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    // The ports first: what comes after changes something.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port)).await;
    let listener = listener.map_err(|error| busy(&error, options.port, "--port"))?;
    let probe = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, options.mesh_port));
    drop(probe.map_err(|error| busy(&error, options.mesh_port, "--mesh-port"))?);

    let folder = Folder::open(&options.data, options.reset)?;
    let origin = format!("http://localhost:{}", listener.local_addr()?.port());
    let origin: PublicOrigin = origin.parse()?;
    let mesh = MeshServer::builder()
        .access_ttl(options.access_ttl)
        .port(options.mesh_port)
        .state_file(folder.mesh())
        .parent_origin(origin.as_str())
        .start()?;
    let (app, manager) = app::start(&folder, &mesh, &origin, options.access_ttl).await?;
    print!(
        "page    {origin}\n\
         Mesh    {} (a stand-in, in this process)\n\
         data    {} (--reset forgets it)\n\
         tokens  an access token lives {} s\n\n\
         Stop it by Ctrl-C, or kill it: it goes on where it was.\n",
        mesh.base_url(),
        folder.path().display(),
        options.access_ttl.as_secs()
    );

    // Whoever has a page open does not keep the process: the page asks again.
    tokio::select! {
        served = axum::serve(listener, app) => served?,
        pressed = tokio::signal::ctrl_c() => pressed?,
    }
    manager.shutdown(Duration::from_secs(5)).await?;
    Ok(())
}

fn busy(error: &io::Error, port: u16, option: &str) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "port {port} is busy: stop what listens there, or choose another one with {option}"
        ),
        _ => format!("port {port}: {error}"),
    }
}
