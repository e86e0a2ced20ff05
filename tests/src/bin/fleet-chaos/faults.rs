//! What goes wrong, one thing after the other.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::json;
use tests::BoxError;
use tests::fleet::{Process, Random, Setting, Still};
use tests::oidc::Oidc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::books::Books;
use super::fleet::{Fleet, Place};

/// Longer than a lease is kept without its holder.
const PAST_LEASE: Duration = Duration::from_secs(8);
/// Longer than the time of an exchange as well.
const PAST_INTENT: Duration = Duration::from_secs(13);
/// For which an answer is held: much shorter than an exchange may take, unless its process stands
/// still meanwhile.
const HELD: Duration = Duration::from_secs(1);

/// How often each was done.
#[derive(Debug, Default)]
pub(super) struct Done {
    kills: u64,
    stalls: u64,
    stalls_in_exchange: u64,
    crashes_of_the_store: u64,
    cuts: u64,
}

impl Done {
    pub(super) fn all(&self) -> u64 {
        self.kills + self.stalls + self.stalls_in_exchange + self.crashes_of_the_store + self.cuts
    }
}

/// Does `faults` of them. All is well again when this returns.
pub(super) async fn fail(
    faults: u64,
    random: &mut Random,
    setting: &mut Setting,
    oidc: &Oidc,
    fleet: &Fleet,
    books: &Arc<Mutex<Books>>,
) -> Result<Done, BoxError> {
    let mut done = Done::default();
    let mut still = JoinSet::new();
    while done.all() < faults {
        sleep(Duration::from_millis(200 + random.below(1_000))).await;
        let p = random.index(fleet.places.len());
        let place = Arc::clone(&fleet.places[p]);
        match random.below(100) {
            0..35 => done.kills += u64::from(kill(&place).await),
            35..55 => {
                let length = match random.below(3) {
                    0 => PAST_INTENT,
                    _ => PAST_LEASE,
                };
                if let Some(stopped) = stop(&place).await {
                    done.stalls += 1;
                    still.spawn(go_on(p, stopped, length, place, Arc::clone(books)));
                }
            }
            55..70 => {
                let held = json!({ "hold_after_ms": HELD.as_millis() as u64, "times": 10 });
                oidc.faults(held).await?;
                // Nobody may want a token just now.
                let _ = timeout(HELD, oidc.held(3)).await;
                if let Some(stopped) = stop(&place).await {
                    done.stalls_in_exchange += 1;
                    still.spawn(go_on(p, stopped, PAST_LEASE, place, Arc::clone(books)));
                }
                oidc.faults(json!({})).await?;
            }
            70..80 => {
                done.crashes_of_the_store += 1;
                setting.server.kill().await?;
                sleep(Duration::from_millis(random.below(3_000))).await;
                setting.server.restart().await?;
            }
            _ => {
                done.cuts += 1;
                if let Some(proxy) = &setting.proxy {
                    proxy.cut();
                }
            }
        }
    }
    while let Some(done) = still.join_next().await {
        done??;
    }
    Ok(done)
}

/// Takes its id: another fault finds nobody here, until it goes on or has a successor.
async fn kill(place: &Place) -> bool {
    let id = place.id.lock().take();
    match id {
        Some(id) => Process::kill(id).await.is_ok(),
        None => false,
    }
}

async fn stop(place: &Place) -> Option<(u32, Still)> {
    let id = place.id.lock().take()?;
    Still::stand(id).await.ok().map(|still| (id, still))
}

async fn go_on(
    p: usize,
    (id, still): (u32, Still),
    length: Duration,
    place: Arc<Place>,
    books: Arc<Mutex<Books>>,
) -> Result<(), BoxError> {
    sleep(length).await;
    // What it said before was heard long ago.
    books.lock().stopped(p);
    still.go_on().await?;
    *place.id.lock() = Some(id);
    Ok(())
}
