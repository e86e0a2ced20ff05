//! sled by the rules that make it durable, and nothing else: one thread takes what is queued,
//! applies it, flushes, syncs the file by its own handle, and acknowledges all of it.

use std::fs::File;
use std::path::Path;
use std::thread::{self, JoinHandle};

use benches::BoxError;
use sled::Db;
use tokio::sync::{mpsc, oneshot};

const QUEUE: usize = 1_024;

struct Put {
    key: Vec<u8>,
    value: Vec<u8>,
    done: oneshot::Sender<()>,
}

/// sled in a folder, and its writer.
pub struct RawSled {
    pub db: Db,
    puts: Option<mpsc::Sender<Put>>,
    writer: Option<JoinHandle<Result<(), BoxError>>>,
}

impl RawSled {
    pub fn open(folder: &Path) -> Result<Self, BoxError> {
        let db = sled::Config::new()
            .path(folder)
            .flush_every_ms(None)
            .open()?;
        let file = File::open(folder.join("db"))?;
        let (puts, queue) = mpsc::channel(QUEUE);
        let writer = thread::spawn({
            let db = db.clone();
            move || write(&db, &file, queue)
        });
        Ok(Self {
            db,
            puts: Some(puts),
            writer: Some(writer),
        })
    }

    /// Returns when it is on the disk.
    pub async fn put(&self, key: Vec<u8>, value: Vec<u8>) -> Result<(), BoxError> {
        let (done, answer) = oneshot::channel();
        let puts = self.puts.as_ref().ok_or("it was closed")?;
        puts.send(Put { key, value, done }).await?;
        Ok(answer.await?)
    }
}

fn write(db: &Db, file: &File, mut queue: mpsc::Receiver<Put>) -> Result<(), BoxError> {
    let mut answers = Vec::new();
    while let Some(first) = queue.blocking_recv() {
        let mut next = Some(first);
        while let Some(put) = next {
            db.insert(put.key, put.value)?;
            answers.push(put.done);
            next = match answers.len() < QUEUE {
                true => queue.try_recv().ok(),
                false => None,
            };
        }
        db.flush()?;
        file.sync_data()?;
        for done in answers.drain(..) {
            let _ = done.send(());
        }
    }
    Ok(())
}

impl Drop for RawSled {
    fn drop(&mut self) {
        drop(self.puts.take());
        let ended = self.writer.take().map(JoinHandle::join);
        if !matches!(ended, Some(Ok(Ok(())))) {
            eprintln!("the writer of raw sled failed");
        }
    }
}
