//! A printed timeline whose every claim is checked.

#![allow(clippy::print_stdout)]

use std::error::Error;
use std::fmt::Display;

use tower_token::{Clock, SystemClock, Timestamp};

/// Prints what happens, with the seconds since the start.
#[derive(Debug)]
pub struct Timeline {
    clock: SystemClock,
    started: Timestamp,
}

impl Timeline {
    /// A timeline that starts now.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        let clock = SystemClock::new();
        let started = clock.now();
        Self { clock, started }
    }

    /// A heading.
    pub fn part(&self, title: &str) {
        println!("\n  {title}");
    }

    /// Something that happened.
    pub fn say(&self, text: impl Display) {
        let seconds = self.clock.now().since(self.started).as_secs_f64();
        println!("  {seconds:5.2} s  {text}");
    }

    /// Something that was promised: an error if it did not come true.
    pub fn check(&self, kept: bool, text: impl Display) -> Result<(), Box<dyn Error>> {
        if !kept {
            return Err(format!("this did not hold: {text}").into());
        }
        self.say(format_args!("\u{2713} {text}"));
        Ok(())
    }
}
