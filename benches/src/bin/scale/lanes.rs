//! Threads that send requests, each by its own client and in its own order.

use std::sync::Arc;
use std::thread;

use benches::BoxError;
use benches::noop::{Body, Template, now};
use http::Request;
use tower_service::Service;

/// Sends the next so many requests of each thread, and returns when all are sent.
pub type Run = Box<dyn FnMut(usize) -> Result<(), BoxError>>;

/// A thread's client, and what names the users of its requests, one after the other.
struct Lane<S, N> {
    service: S,
    template: Template,
    names: Arc<[N]>,
    at: usize,
}

impl<S, N> Lane<S, N>
where
    S: Service<Request<Body>, Error: Into<BoxError>>,
    N: Clone + Send + Sync + 'static,
{
    fn send(&mut self, requests: usize) -> Result<(), BoxError> {
        for _ in 0..requests {
            let mut request = self.template.request();
            let name = self.names[self.at].clone();
            request.extensions_mut().insert(name);
            now(self.service.call(request))
                .ok_or("a fresh token was not there at once")?
                .map_err(Into::into)?;
            self.at = (self.at + 1) % self.names.len();
        }
        Ok(())
    }
}

/// A thread for each list of `names`, all with clones of one service.
pub fn run<S, N>(service: &S, names: &[Arc<[N]>]) -> Result<Run, BoxError>
where
    S: Service<Request<Body>, Error: Into<BoxError>> + Clone + Send + 'static,
    N: Clone + Send + Sync + 'static,
{
    let lane = |names: &Arc<[N]>| {
        Ok::<_, BoxError>(Lane {
            service: service.clone(),
            template: Template::new()?,
            names: Arc::clone(names),
            at: 0,
        })
    };
    let mut lanes: Vec<_> = names.iter().map(lane).collect::<Result<_, _>>()?;
    Ok(Box::new(move |requests| {
        thread::scope(|scope| {
            let sending: Vec<_> = lanes
                .iter_mut()
                .map(|lane| scope.spawn(move || lane.send(requests)))
                .collect();
            sending
                .into_iter()
                .try_for_each(|lane| lane.join().map_err(|_| "a thread panicked")?)
        })
    }))
}
