//! A site served over HTTP/1.1 on loopback, by a thread and a runtime of its own.

use std::error::Error as StdError;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::runtime::{self, Runtime};
use tokio::sync::oneshot;
use tokio::time;

use super::answer::{Answer, dated};
use crate::clock::Timestamp;

/// What is served.
pub(in crate::testkit) trait Site: Send + Sync + 'static {
    /// What time it is there.
    fn now(&self) -> Timestamp;

    /// Answers one request.
    fn route(
        &self,
        request: Request<Incoming>,
    ) -> impl Future<Output = Result<Response<Answer>, HangUp>> + Send;
}

/// Why there is no answer: the connection is to be reset, or is broken.
#[derive(Debug)]
pub(in crate::testkit) struct HangUp;

impl fmt::Display for HangUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("hung up on purpose")
    }
}

impl StdError for HangUp {}

/// A port of the loopback interface that nobody answers on yet.
pub(in crate::testkit) struct Port {
    listener: TcpListener,
    pub(in crate::testkit) address: SocketAddr,
}

impl Port {
    /// Takes this port, or a free one for 0.
    pub(in crate::testkit) fn take(port: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// Serves `site` there, on a thread of this name.
    pub(in crate::testkit) fn serve(
        self,
        thread: &str,
        site: Arc<impl Site>,
    ) -> io::Result<Running> {
        let Self { listener, address } = self;
        let (ready, is_ready) = mpsc::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = thread::Builder::new()
            .name(thread.to_owned())
            .spawn(move || match listen(listener) {
                Ok((runtime, listener)) => {
                    let _ = ready.send(Ok(()));
                    runtime.spawn(accept(listener, site));
                    // Dropping the runtime then drops the connections.
                    let _ = runtime.block_on(stopped);
                }
                Err(error) => {
                    let _ = ready.send(Err(error));
                }
            })?;
        is_ready.recv().map_err(io::Error::other)??;
        Ok(Running {
            address,
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

/// A site that is served until this is dropped, which closes its port.
pub(in crate::testkit) struct Running {
    pub(in crate::testkit) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // Short: no task on it blocks. A panic there was reported there.
            let _ = thread.join();
        }
    }
}

fn listen(listener: TcpListener) -> io::Result<(Runtime, tokio::net::TcpListener)> {
    listener.set_nonblocking(true)?;
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let listener = {
        let _entered = runtime.enter();
        tokio::net::TcpListener::from_std(listener)?
    };
    Ok((runtime, listener))
}

async fn accept(listener: tokio::net::TcpListener, site: Arc<impl Site>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(connection(stream, Arc::clone(&site)))),
            // Out of descriptors, or the client is gone already: neither is for ever.
            Err(_) => time::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn connection(stream: TcpStream, site: Arc<impl Site>) {
    // Without it the answers still arrive, only later.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let site = Arc::clone(&site);
        Box::pin(async move {
            let answer = site.route(request).await?;
            Ok::<_, HangUp>(dated(answer, site.now()))
        })
    });
    let mut connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let ended = poll_fn(|cx| connection.poll_without_shutdown(cx)).await;
    // Any other error is a client that went away.
    if let Err(error) = ended
        && error.source().is_some_and(|cause| cause.is::<HangUp>())
    {
        reset(&connection.into_parts().io.into_inner());
    }
}

/// Makes the end of the connection a TCP RST.
fn reset(stream: &TcpStream) {
    // `set_zero_linger` is younger than the oldest tokio we take. That this one may block is
    // said of other spans than zero.
    #[allow(deprecated)]
    let _ = stream.set_linger(Some(Duration::ZERO));
}
