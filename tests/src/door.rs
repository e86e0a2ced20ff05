//! A port in front of a server: closed at first, so that connections are refused.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// A door to a server on this machine.
#[derive(Debug)]
pub struct Door {
    address: SocketAddr,
    to: String,
    /// Bound and not listening: nobody else gets the port, and nobody gets through.
    closed: Mutex<Option<TcpSocket>>,
}

impl Door {
    /// A closed door to the server whose base URL is `base`.
    pub fn closed(base: &str) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
        Ok(Self {
            address: socket.local_addr()?,
            to: base.trim_start_matches("http://").to_owned(),
            closed: Mutex::new(Some(socket)),
        })
    }

    /// A URL on the server, through the door.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Opens it, for good.
    pub fn open(&self) -> io::Result<()> {
        if let Some(socket) = self.closed.lock().take() {
            tokio::spawn(pass(socket.listen(16)?, self.to.clone()));
        }
        Ok(())
    }
}

async fn pass(door: TcpListener, to: String) {
    while let Ok((mut caller, _)) = door.accept().await {
        let to = to.clone();
        tokio::spawn(async move {
            let mut server = TcpStream::connect(to).await?;
            tokio::io::copy_bidirectional(&mut caller, &mut server).await
        });
    }
}
