//! The layer itself, and the floor of any injection.

use crate::noop::{Body, Guarded, Noop, Template, now};
use crate::ours::{Ours, token};
use http::Request;
use tower_http::auth::AddAuthorizationLayer;
use tower_layer::Layer as _;
use tower_service::Service;
use tower_token::{GrantKey, NoReplay, TokenLayer, TokenRequest};

use super::case::{HotCase, Run};
use crate::BoxError;

/// tower-http's layer, which puts the same header into every request.
pub fn static_header(token_len: usize) -> Result<HotCase, BoxError> {
    let service = AddAuthorizationLayer::bearer(&token(0, token_len)).layer(Guarded);
    Ok(HotCase {
        floor: sent(vec![Template::new()?], Noop),
        send: sent(vec![Template::new()?], service),
    })
}

/// The request names its grant; a 401 is an answer.
pub fn by_key(token_len: usize) -> Result<HotCase, BoxError> {
    of_users(1, token_len)
}

/// The same, and each request is another of a thousand users'.
pub fn by_key_of_1000(token_len: usize) -> Result<HotCase, BoxError> {
    of_users(1_000, token_len)
}

fn of_users(users: usize, token_len: usize) -> Result<HotCase, BoxError> {
    let ours = Ours::connected(users, token_len)?;
    let layer = TokenLayer::new(&ours.manager).replay(NoReplay);
    Ok(HotCase {
        floor: sent(named(&ours.keys)?, Noop),
        send: sent(named(&ours.keys)?, layer.layer(Guarded)),
    })
}

/// The client is bound to one grant; a 401 is an answer.
pub fn bound(token_len: usize) -> Result<HotCase, BoxError> {
    let ours = Ours::connected(1, token_len)?;
    let layer = TokenLayer::new(&ours.manager).replay(NoReplay);
    let layer = layer.for_key(ours.keys[0].clone());
    Ok(HotCase {
        floor: sent(vec![Template::new()?], Noop),
        send: sent(vec![Template::new()?], layer.layer(Guarded)),
    })
}

/// The request names its grant, and is sent again after a 401.
pub fn by_key_armed(token_len: usize) -> Result<HotCase, BoxError> {
    let ours = Ours::connected(1, token_len)?;
    Ok(HotCase {
        floor: sent(named(&ours.keys)?, Noop),
        send: sent(
            named(&ours.keys)?,
            TokenLayer::new(&ours.manager).layer(Guarded),
        ),
    })
}

/// The client is bound to one grant, and sends again after a 401.
pub fn bound_armed(token_len: usize) -> Result<HotCase, BoxError> {
    let ours = Ours::connected(1, token_len)?;
    let layer = TokenLayer::new(&ours.manager).for_key(ours.keys[0].clone());
    Ok(HotCase {
        floor: sent(vec![Template::new()?], Noop),
        send: sent(vec![Template::new()?], layer.layer(Guarded)),
    })
}

fn named(keys: &[GrantKey]) -> Result<Vec<Template>, BoxError> {
    let of = |key: &GrantKey| Ok(Template::new()?.with(TokenRequest::new(key.clone())));
    keys.iter().map(of).collect()
}

/// Sends requests made from all templates in turn, in an order that no cache guesses.
fn sent<S>(templates: Vec<Template>, mut service: S) -> Run
where
    S: Service<Request<Body>> + 'static,
    S::Error: Into<BoxError>,
{
    let mut next = 0_usize;
    Box::new(move |times| {
        for _ in 0..times {
            let request = templates[next].request();
            now(service.call(request))
                .ok_or("it was not ready at once")?
                .map_err(Into::into)?;
            next = (next + 619) % templates.len();
        }
        Ok(())
    })
}
