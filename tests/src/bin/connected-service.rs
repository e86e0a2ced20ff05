//! A service with a store on disk, to be killed and started again.
//!
//! `connected-service FOLDER BASE` reads commands from stdin and answers each with one
//! line. The outer key comes from `TOWER_TOKEN_KEYS`. Everything it holds is printed to
//! stderr as it goes, for others to search.

#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use tests::{BoxError, HttpClient, http_client, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tower::{Layer as _, ServiceExt as _};
use tower_token::{
    GrantKey, KeyRing, OAuth2, Provider, RefreshError, RefreshRequest, Refresher, SealedStore,
    SledStore, Timestamp, TokenLayer, TokenManager, TokenRequest, TokenResponse, TokenService,
};
use tracing_subscriber::filter::LevelFilter;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_writer(std::io::stderr)
        .init();
    let mut arguments = std::env::args().skip(1);
    let (Some(folder), Some(base)) = (arguments.next(), arguments.next()) else {
        return Err("usage: connected-service FOLDER BASE".into());
    };
    let ring = KeyRing::from_env("TOWER_TOKEN_KEYS")?;
    let store = SealedStore::open(SledStore::open(folder).await?, ring).await?;
    let provider = OAuth2::new("oidc", format!("{base}/token"))
        .client_secret_basic("basic", "basic-secret")
        .exchange_timeout(Duration::from_secs(2))
        .allow_origin(&base);
    eprintln!("{store:?} {provider:?}");
    let manager = TokenManager::builder()
        .store(store)
        .provider(provider)
        .provider(Provider::new("panicking", Panicking))
        .build()
        .await?;
    let client = TokenLayer::new(&manager).layer(http_client());
    let mut events = manager.events(1_024);
    println!("ready");

    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let mut words = line.splitn(3, ' ');
        let (command, account) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        let key = GrantKey::new("oidc", account);
        match command {
            "connect" => {
                let response = TokenResponse::from_json(words.next().unwrap_or("").as_bytes())?;
                eprintln!("{response:?}");
                manager.connect(&key, response).await?;
                println!("connected");
            }
            // Connects with a token that has expired, at a provider that panics.
            "panic" => {
                let key = GrantKey::new("panicking", account);
                let response = TokenResponse::from_json(words.next().unwrap_or("").as_bytes())?;
                let long_ago = Timestamp::from_unix_millis(0);
                let response = response
                    .expires_in(Duration::from_secs(1))
                    .obtained_at(long_ago);
                manager.connect(&key, response).await?;
                println!(
                    "{:?}",
                    manager.token(&key).await.map_err(|error| error.kind())
                );
            }
            "call" => println!("{}", call(&client, &base, key).await),
            "grants" => println!("{:#?}", manager.grants(account).await?.len()),
            // A leak made on purpose: whoever searches the output has to find it.
            "leak" => println!("{}", manager.token(&key).await?.expose()),
            "shutdown" => {
                manager.shutdown(Duration::from_secs(10)).await?;
                println!("closed");
            }
            _ => println!("unknown"),
        }
        while let Some(event) = events.try_next() {
            eprintln!("{event:?}");
        }
        eprintln!("{manager:?} {client:?} {:?}", manager.grants(account).await);
    }
    Ok(())
}

/// Panics with everything that it was given.
struct Panicking;

impl Refresher for Panicking {
    #[allow(clippy::panic)]
    async fn refresh(&self, request: RefreshRequest<'_>) -> Result<TokenResponse, RefreshError> {
        panic!("{request:#?}")
    }
}

/// `200 SUBJECT`, another status, or the kind of the error.
async fn call(client: &TokenService<HttpClient>, base: &str, key: GrantKey) -> String {
    let request = Request::get(format!("{base}/api/me"))
        .extension(TokenRequest::new(key))
        .body(Full::<Bytes>::default());
    let Ok(request) = request else {
        return String::from("no request");
    };
    eprintln!("{request:?}");
    match client.clone().oneshot(request).await {
        Ok(response) => {
            let status = response.status().as_u16();
            let body = json(response).await.unwrap_or_default();
            format!("{status} {}", body["sub"].as_str().unwrap_or("-"))
        }
        Err(error) => {
            let mut link: Option<&dyn std::error::Error> = Some(&error);
            while let Some(error) = link {
                eprintln!("{error} {error:?} {error:#?}");
                link = error.source();
            }
            match &error {
                tower_token::TokenServiceError::Token(error) => format!("{:?}", error.kind()),
                tower_token::TokenServiceError::Inner(_) => String::from("inner"),
            }
        }
    }
}
