//! The peers.

use std::rc::Rc;
use std::time::Duration;

use tokio::runtime::Runtime;

use super::Make;
use super::case::{HotCase, Run};
use crate::BoxError;
use crate::noop::now;
use crate::peer::Peer;
use crate::peers::aws::Aws;
use crate::peers::azure::Azure;
use crate::peers::gcp_auth::GcpAuth;
use crate::peers::gears::{Gears, GearsAutoRefresh};
use crate::peers::google::Google;
use crate::peers::kube::Kube;
use crate::peers::middleware::{ReqwestMiddleware, ReqwestMiddlewareRetry};
use crate::peers::moka::MokaByHand;
use crate::peers::mutex::MutexByHand;
use crate::peers::rwlock::RwLockByHand;
use crate::peers::yup::Yup;
use crate::token_service::TokenService;

const DAY: Duration = Duration::from_secs(86_400);

const fn of<P: Peer>() -> (&'static str, Make) {
    (P::NAME, peer::<P>)
}

pub const PEERS: [(&str, Make); 13] = [
    of::<MutexByHand>(),
    of::<RwLockByHand>(),
    of::<MokaByHand>(),
    of::<ReqwestMiddleware>(),
    of::<ReqwestMiddlewareRetry>(),
    of::<Kube>(),
    of::<Gears>(),
    of::<GearsAutoRefresh>(),
    of::<Google>(),
    of::<Azure>(),
    of::<Aws>(),
    of::<GcpAuth>(),
    of::<Yup>(),
];

/// A peer, whose token is a fresh one for as long as this runs.
fn peer<P: Peer>(token_len: usize) -> Result<HotCase, BoxError> {
    // Driven while it connects and never again: nothing happens behind the requests.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut peer = runtime.block_on(async {
        let service = TokenService::start(token_len, DAY).await?;
        let mut peer = P::connect(&service).await?;
        // Whatever is done once is done now.
        let request = peer.request();
        peer.send(request).await?;
        Ok::<_, BoxError>(peer)
    })?;
    let mut bare = peer.clone();
    let runtime = Rc::new(runtime);
    let (one, other) = (Rc::clone(&runtime), runtime);
    Ok(HotCase {
        floor: repeat(one, move || {
            let request = bare.request();
            now(bare.bare(request)).ok_or(NOT_READY)?
        }),
        send: repeat(other, move || {
            let request = peer.request();
            now(peer.send(request)).ok_or(NOT_READY)?
        }),
    })
}

const NOT_READY: &str = "a fresh token was not there at once";

fn repeat(runtime: Rc<Runtime>, mut each: impl FnMut() -> Result<(), BoxError> + 'static) -> Run {
    Box::new(move |times| {
        let _runtime = runtime.enter();
        (0..times).try_for_each(|_| each())
    })
}
