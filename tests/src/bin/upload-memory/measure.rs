//! One upload, measured in the process that makes it.

use std::fmt;
use std::time::Duration;

use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use tests::fake::Fake;
use tests::upload::Upload;
use tests::{BoxError, resident};
use tokio::time::timeout;
use tower::ServiceExt as _;
use tower_token::{GrantKey, KeyRing, MemoryStore, Provider, SealedStore, TokenManager};

use crate::client::{CLIENTS, Client, Uploads};
use crate::server;

/// When the API refuses the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Case {
    Never,
    Early,
    Late,
}

pub(crate) const CASES: [Case; 3] = [Case::Never, Case::Early, Case::Late];

/// An upload of `len` bytes, of which up to `limit` are kept.
#[derive(Debug)]
pub(crate) struct Job<'a> {
    pub(crate) server: &'a str,
    pub(crate) client: Client,
    pub(crate) case: Case,
    pub(crate) limit: usize,
    pub(crate) len: usize,
}

impl<'a> Job<'a> {
    /// As another process reads them.
    pub(crate) fn arguments(&self) -> [String; 5] {
        [
            self.server.to_owned(),
            self.client.to_string(),
            self.case.to_string(),
            self.limit.to_string(),
            self.len.to_string(),
        ]
    }

    pub(crate) fn parse(arguments: &[&'a str]) -> Result<Self, BoxError> {
        let [server, client, case, limit, len] = arguments else {
            return Err("not a job".into());
        };
        let client = CLIENTS.into_iter().find(|one| one.to_string() == *client);
        let case = CASES.into_iter().find(|one| one.to_string() == *case);
        Ok(Self {
            server,
            client: client.ok_or("no such client")?,
            case: case.ok_or("no such case")?,
            limit: limit.parse()?,
            len: len.parse()?,
        })
    }

    /// Makes the upload, and prints the peak over the level before, in KiB.
    // Each thread has memory of its own from the allocator: as many on any machine.
    #[tokio::main(flavor = "multi_thread", worker_threads = 2)]
    pub(crate) async fn run(self) -> Result<(), BoxError> {
        let fake = Fake::new(Duration::from_secs(3_600));
        let manager = manager(&fake, format!("http://{}", self.server)).await?;
        let key = GrantKey::new("fake", "ada");
        manager.connect(&key, fake.consent()).await?;
        let client = self.client.of(key.into(), &manager, self.limit)?;

        // What there is of a client whose connection stands belongs to the level before.
        let nothing = self.request(Case::Never, Upload::new(0))?;
        let said = send(&client, nothing).await?;
        expect(&said, &(StatusCode::OK, server::taken(0)))?;

        let upload = Upload::new(self.len);
        let upload = match self.case {
            Case::Never | Case::Late => upload,
            // The exchange begins after the refusal has arrived, and before anything that was
            // kept of the body could be too much.
            Case::Early => {
                let fake = fake.clone();
                upload.rest(async move { fake.begun(1).await })
            }
        };
        let request = self.request(self.case, upload)?;
        resident::forget_peak()?;
        let base = resident::peak()?;
        let said = send(&client, request).await?;
        let peak = resident::peak()?;

        let status = match self.case {
            Case::Never | Case::Early => StatusCode::OK,
            Case::Late => StatusCode::UNAUTHORIZED,
        };
        expect(&said, &(status, server::taken(self.len)))?;
        let exchanges = match self.case {
            Case::Never => 0,
            // That of a late refusal is made behind.
            Case::Early | Case::Late => 1,
        };
        timeout(DEADLINE, fake.begun(exchanges)).await?;
        expect(&fake.exchanges(), &exchanges)?;
        println!("{}", peak - base);
        Ok(())
    }

    fn request(&self, case: Case, upload: Upload) -> Result<Request<Upload>, http::Error> {
        Request::post(format!("http://{}/{case}", self.server)).body(upload)
    }
}

/// Nothing may hang.
const DEADLINE: Duration = Duration::from_secs(300);

async fn send(
    client: &Uploads,
    request: Request<Upload>,
) -> Result<(StatusCode, String), BoxError> {
    let answer = async {
        let response = client.clone().oneshot(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    };
    timeout(DEADLINE, answer).await?
}

fn expect<T: PartialEq + fmt::Debug>(came: &T, due: &T) -> Result<(), BoxError> {
    match came == due {
        true => Ok(()),
        false => Err(format!("{came:?} instead of {due:?}").into()),
    }
}

async fn manager(fake: &Fake, origin: String) -> Result<TokenManager, BoxError> {
    let store = SealedStore::open(MemoryStore::new(), KeyRing::generate()?).await?;
    let provider = Provider::new("fake", fake.clone()).allow_origin(origin);
    let manager = TokenManager::builder().store(store).provider(provider);
    Ok(manager.build().await?)
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Never => "never",
            Self::Early => "early",
            Self::Late => "late",
        })
    }
}
