//! A server that notes what it is asked, and answers everything alike.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::BoxError;

/// A request as it came over the wire.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// Such as `POST`.
    pub method: String,
    /// What stands behind it in the first line.
    pub path: String,
    /// By name, in small letters.
    pub headers: BTreeMap<String, String>,
    /// The body, which has to be JSON.
    pub body: Value,
}

/// A server on a free loopback port. It ends with the runtime.
#[derive(Debug, Clone)]
pub struct Recorder {
    url: String,
    answer: Arc<Mutex<Value>>,
    seen: Arc<Mutex<Vec<Recorded>>>,
}

impl Recorder {
    /// Starts one that answers 200 with this JSON.
    pub async fn start(answer: Value) -> Result<Self, BoxError> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let recorder = Self {
            url: format!("http://{}", listener.local_addr()?),
            answer: Arc::new(Mutex::new(answer)),
            seen: Arc::default(),
        };
        let this = recorder.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let this = this.clone();
                tokio::spawn(async move { this.serve(stream).await });
            }
        });
        Ok(recorder)
    }

    /// Its base URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What it answers from now on.
    pub fn answer(&self, answer: Value) {
        *self.answer.lock() = answer;
    }

    /// What came since the last call, in order.
    pub fn take(&self) -> Vec<Recorded> {
        std::mem::take(&mut self.seen.lock())
    }

    async fn serve(&self, stream: TcpStream) -> Result<(), BoxError> {
        let mut stream = BufReader::new(stream);
        loop {
            let mut first = String::new();
            if stream.read_line(&mut first).await? == 0 {
                return Ok(());
            }
            let mut words = first.split(' ').map(str::to_owned);
            let (method, path) = (words.next(), words.next());
            let mut headers = BTreeMap::new();
            loop {
                let mut line = String::new();
                stream.read_line(&mut line).await?;
                let Some((name, value)) = line.trim_end().split_once(':') else {
                    break;
                };
                headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
            }
            let length = headers.get("content-length").map_or("0", String::as_str);
            let mut body = vec![0; length.parse()?];
            stream.read_exact(&mut body).await?;
            self.seen.lock().push(Recorded {
                method: method.unwrap_or_default(),
                path: path.unwrap_or_default(),
                headers,
                body: serde_json::from_slice(&body)?,
            });
            let answer = self.answer.lock().to_string();
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\
                 content-length: {}\r\n\r\n{answer}",
                answer.len()
            );
            stream.write_all(answer.as_bytes()).await?;
        }
    }
}
