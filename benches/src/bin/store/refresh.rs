//! One refresh after another, end to end, and what its parts take alone.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use benches::token_service::TokenService;
use benches::{BoxError, Case, Effort, Report, measure, ours};
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tower_token::testkit::probe;
use tower_token::{
    ByteStore, Expected, KeyRing, OAuth2, SaveOutcome, SealedStore, SledStore, TokenManager,
    TokenResponse,
};

use crate::{TOKEN, folder, sample};

/// In a round.
const REFRESHES: usize = 20;
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);

type Http = Client<HttpConnector, Full<Bytes>>;

pub fn measured(runtime: &Runtime, effort: &Effort, report: &mut Report) -> Result<(), BoxError> {
    let folder = folder()?;
    let store = Arc::new(runtime.block_on(SledStore::open(folder.path()))?);
    let opening = SealedStore::open(Arc::clone(&store), KeyRing::generate()?);
    let sealed = runtime.block_on(opening)?;
    let service = runtime.block_on(TokenService::start(TOKEN, HOUR))?;
    let http = Client::builder(TokioExecutor::new()).build(HttpConnector::new());
    let manager = runtime.block_on(manager(sealed.clone(), &service, http.clone()))?;
    let sample = sample(0)?;
    let mut expected = match runtime.block_on(sample.save(&sealed, Expected::Absent))? {
        SaveOutcome::Saved(version) => Expected::Version(version),
        other => return Err(format!("the first save came to {other:?}").into()),
    };

    let each = effort.of(REFRESHES);
    // Of every user one token is due, and refreshed once.
    let users = each * (effort.rounds + 1);
    runtime.block_on(connect(&manager, users))?;
    let writes = runtime.block_on(writes_of_a_refresh(&store, &manager, users))?;

    let next = Cell::new(0);
    // About what a row holds.
    let text = vec![b'a'; TOKEN + 100];
    let cases = vec![
        Case::new("a refresh", || {
            runtime.block_on(async {
                for _ in 0..each {
                    refresh(&manager, next.replace(next.get() + 1)).await?;
                }
                Ok(())
            })
        }),
        Case::new("exchange", || {
            runtime.block_on(async {
                for _ in 0..each {
                    exchange(&http, &service).await?;
                }
                Ok(())
            })
        }),
        Case::new("save", || {
            runtime.block_on(async {
                for _ in 0..each {
                    match sample.save(&sealed, expected).await? {
                        SaveOutcome::Saved(version) => expected = Expected::Version(version),
                        other => return Err(format!("a save came to {other:?}").into()),
                    }
                }
                Ok(())
            })
        }),
        Case::new("seal and open", || {
            for _ in 0..each {
                let record = probe::sealed(&text)?;
                std::hint::black_box(probe::opened(&record, <[u8]>::len)?);
            }
            Ok(())
        }),
    ];
    let measured = measure(effort, cases)?;
    let us = |at: usize| measured[at].median.as_secs_f64() / each as f64 * 1e6;
    let (refresh, exchange, saves, seal) = (us(0), us(1), writes * us(2), writes * us(3));
    let manager_alone = refresh - exchange - saves;
    let rows = [
        ("a refresh, end to end".to_owned(), refresh),
        ("its exchange on loopback, alone".to_owned(), exchange),
        (
            format!("its {writes:.0} sealed durable saves, alone"),
            saves,
        ),
        ("  of which sealing, and opening once each".to_owned(), seal),
        ("what remains: the manager".to_owned(), manager_alone),
    ];
    let rows = rows
        .map(|(name, us)| vec![name, format!("{us:.1}"), format!("{:.2}", us / refresh)])
        .into();
    let head = ["cost per refresh, one after another", "us", "of it"];
    report.table(&head, rows);
    report.ratio("refresh-us", refresh);
    report.ratio("refresh-writes", writes);
    report.ratio("refresh-parts", (exchange + saves) / refresh);
    runtime.block_on(manager.shutdown(HOUR))?;
    Ok(())
}

async fn manager(
    sealed: SealedStore,
    service: &TokenService,
    http: Http,
) -> Result<TokenManager, BoxError> {
    let provider = OAuth2::new("example", service.url())
        .public_client("benches")
        .transport(http);
    let manager = TokenManager::builder()
        .store(sealed)
        .provider(provider)
        .without_sweeper();
    Ok(manager.build().await?)
}

/// So many users, and one more, whose tokens are dead when this returns.
async fn connect(manager: &TokenManager, users: usize) -> Result<(), BoxError> {
    let mut connecting = JoinSet::new();
    for user in 0..=users {
        let manager = manager.clone();
        connecting.spawn(async move {
            let token = TokenResponse::new(ours::token(user, TOKEN))
                .refresh_token("r")
                .expires_in(SECOND);
            manager.connect(&ours::key(user), token).await
        });
    }
    let connected = connecting.join_all().await;
    connected.into_iter().collect::<Result<(), _>>()?;
    tokio::time::sleep(2 * SECOND).await;
    Ok(())
}

async fn refresh(manager: &TokenManager, user: usize) -> Result<(), BoxError> {
    std::hint::black_box(manager.token(&ours::key(user)).await?);
    Ok(())
}

/// How often a refresh saves, by the versions that it takes.
async fn writes_of_a_refresh(
    store: &SledStore,
    manager: &TokenManager,
    user: usize,
) -> Result<f64, BoxError> {
    let last = async || {
        let rows = store.scan(None, usize::MAX).await?;
        let versions = rows.iter().map(|(_, row)| row.version.0);
        Ok::<_, BoxError>(versions.max().unwrap_or(0))
    };
    let before = last().await?;
    refresh(manager, user).await?;
    Ok((last().await? - before) as f64)
}

/// What a refresh asks of the token service, without a manager.
async fn exchange(http: &Http, service: &TokenService) -> Result<(), BoxError> {
    let form = "grant_type=refresh_token&refresh_token=r&client_id=benches";
    let request = Request::builder()
        .method(Method::POST)
        .uri(service.url())
        .header("content-type", "application/x-www-form-urlencoded")
        .header("accept", "application/json")
        .body(Full::from(form))?;
    let answer = http.request(request).await?;
    if !answer.status().is_success() {
        return Err(format!("the token service answered {}", answer.status()).into());
    }
    std::hint::black_box(answer.into_body().collect().await?);
    Ok(())
}
