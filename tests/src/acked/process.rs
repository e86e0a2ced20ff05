//! The child as its parent sees it.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use super::{Books, Task};
use crate::BoxError;

/// An open that takes longer than this is a failed one.
const PATIENCE: Duration = Duration::from_secs(60);

/// A number below `below`, another each time.
pub fn random(below: u64) -> u64 {
    RandomState::new().build_hasher().finish() % below
}

/// A running child; killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    lines: Receiver<String>,
}

impl Process {
    /// Starts this program anew, as a child with this task on the store in `folder`.
    pub fn start(store: &str, task: Task, folder: &Path) -> Result<Self, BoxError> {
        let mut program = Command::new(std::env::current_exe()?);
        Self::start_with(&mut program, store, task, folder)
    }

    /// The same with another program, which may run as somebody else.
    pub fn start_with(
        program: &mut Command,
        store: &str,
        task: Task,
        folder: &Path,
    ) -> Result<Self, BoxError> {
        let mut child = program
            .args(["--child", store, task.as_str()])
            .arg(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let said = BufReader::new(child.stdout.take().ok_or("no stdout")?);
        let (sender, lines) = channel();
        // Reads as it comes, so that a full pipe never slows the child. A line that was cut
        // off by the kill has no end, and is not one.
        thread::spawn(move || {
            let mut said = said;
            let mut line = String::new();
            while said.read_line(&mut line).is_ok_and(|read| read > 0) {
                let Some(whole) = line.strip_suffix('\n') else {
                    break;
                };
                if sender.send(whole.to_owned()).is_err() {
                    break;
                }
                line.clear();
            }
        });
        Ok(Self { child, lines })
    }

    /// The next line, or nothing once it has ended, or has said nothing for a minute.
    pub fn line(&self) -> Option<String> {
        self.lines.recv_timeout(PATIENCE).ok()
    }

    /// Whether it came as far as to say this, as its next line.
    pub fn says(&self, line: &str) -> bool {
        self.line().as_deref() == Some(line)
    }

    /// Hears what one that [looks](Task::Look) has to say.
    pub fn look(mut self, books: &mut Books) -> Result<(), BoxError> {
        if !self.says("opening") || !self.says("ready") {
            books.totals.failed_opens += 1;
            return Ok(());
        }
        loop {
            let line = self.line().ok_or("the child stopped looking")?;
            if line == "done" {
                return self.end().map(drop);
            }
            if !books.compare(&line) {
                return Err(format!("not understood: {line}").into());
            }
        }
    }

    /// Its number in the system.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL, and all that it had said until then.
    pub fn kill(&mut self) -> Result<Vec<String>, BoxError> {
        self.child.kill()?;
        self.child.wait()?;
        // Its end closed the pipe, so this ends, too.
        Ok(self.lines.iter().collect())
    }

    /// Whether it runs no more.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_some())
    }

    /// Waits until it has ended by itself, as one does that has nothing more to say.
    pub fn end(&mut self) -> Result<ExitStatus, BoxError> {
        Ok(self.child.wait()?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
