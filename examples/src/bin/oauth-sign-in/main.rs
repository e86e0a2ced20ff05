//! Sign-in by OAuth, and a page that calls an API with its user's token, which it never has.
//!
//! ```text
//! cargo run -p examples --bin oauth-sign-in
//! ```
//!
//! An OpenID provider with its API, the service, and its page, all in this process: nothing but
//! Rust is needed, and nothing leaves this machine. Any other provider by three settings, which
//! `--help` has. `--check` goes through all of it without a browser, and fails where something
//! is not as it is printed.
//!
//! `app.rs` is the service; `page/page.js` is the page's side. The rest is scenery.

#![allow(clippy::print_stdout, clippy::print_stderr)]

mod api;
mod app;
mod browser;
mod check;
mod folder;
mod options;
mod page;
mod provider;

use std::error::Error;
use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::time::Duration;

use axum_token::PublicOrigin;
use tokio::net::TcpListener;

use self::folder::Folder;
use self::options::{Asked, Options};
use self::provider::{Provider, Registration};

#[tokio::main]
async fn main() -> ExitCode {
    let environment = |name: &str| std::env::var(name).ok();
    let outcome = match options::parse(std::env::args().skip(1), environment) {
        Ok(Asked::Run(options)) => run(&options).await,
        Ok(Asked::Check) => check::check().await,
        Ok(Asked::Help) => {
            print!("{}", options::HELP);
            return ExitCode::SUCCESS;
        }
        Err(problem) => Err(format!("{problem}\n\n{}", options::HELP).into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let (listener, origin) = listen(options.port).await?;
    let client = registration(&origin);
    let (settings, kept_for) = match &options.provider {
        Some(settings) => (settings.clone(), &*settings.issuer),
        None => {
            let provider = Provider::start(client.clone(), options.access_ttl).await?;
            (provider.settings(), "in-process")
        }
    };
    let folder = Folder::open(&options.data, kept_for)?;
    let (app, manager) = app::start(&settings, &options.scope, &folder, &origin).await?;
    println!("page      {origin}");
    println!("provider  {}", settings.issuer);
    println!("data      {}\n", folder.path().display());
    if options.provider.is_some() {
        println!("To be registered there for this client:");
        println!("  redirect URI              {}", client.redirect_uri);
        println!(
            "  post-logout redirect URI  {}",
            client.post_logout_redirect_uri
        );
        println!(
            "  back-channel logout URI   {}\n",
            client.backchannel_logout_uri
        );
    }
    println!("Stop it by Ctrl-C.");
    tokio::select! {
        served = axum::serve(listener, app) => served?,
        pressed = tokio::signal::ctrl_c() => pressed?,
    }
    manager.shutdown(Duration::from_secs(5)).await?;
    Ok(())
}

async fn listen(port: u16) -> Result<(TcpListener, PublicOrigin), Box<dyn Error>> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await;
    let listener = listener
        .map_err(|error| format!("port {port}: {error}; choose another one with --port"))?;
    let origin = format!("http://localhost:{}", listener.local_addr()?.port());
    Ok((listener, origin.parse()?))
}

/// What a provider has to know of this client.
fn registration(origin: &PublicOrigin) -> Registration {
    Registration {
        redirect_uri: format!("{origin}/auth/op/callback"),
        post_logout_redirect_uri: format!("{origin}/"),
        backchannel_logout_uri: format!("{origin}/auth/op/backchannel-logout"),
    }
}
