//! A real chromium, driven by its own driver.

use std::path::Path;
use std::process::Stdio;

use tests::BoxError;
use thirtyfour::{
    ChromiumLikeCapabilities as _, DesiredCapabilities, LoggingPrefsLogLevel, WebDriver,
};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// What a person without it is told.
const MISSING: &str = "the browser test needs chromium and chromedriver. Debian: apt-get install \
                       chromium chromium-driver. Fedora: dnf install chromium chromedriver. \
                       Arch: pacman -S chromium. macOS: brew install chromium chromedriver";

/// A running chromedriver; killed when dropped.
#[derive(Debug)]
pub struct Driver {
    url: String,
    binary: String,
    _child: Child,
}

impl Driver {
    /// Starts chromedriver on a port that it finds itself.
    pub async fn start() -> Result<Self, BoxError> {
        let names = ["chromium", "chromium-browser", "google-chrome"];
        let binary = names.iter().find_map(|name| on_path(name)).ok_or(MISSING)?;
        let driver = on_path("chromedriver").ok_or(MISSING)?;
        let mut child = Command::new(driver)
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let mut lines = BufReader::new(child.stdout.take().ok_or("no stdout")?).lines();
        while let Some(line) = lines.next_line().await? {
            let port = line.split("started successfully on port ").nth(1);
            if let Some(port) = port {
                // What it says from here on is read, so that the pipe is never full.
                let url = format!("http://127.0.0.1:{}", port.trim_end_matches('.'));
                tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
                return Ok(Self {
                    url,
                    binary,
                    _child: child,
                });
            }
        }
        Err("chromedriver ended before it was ready".into())
    }

    /// A fresh browser that reaches everything, this machine too, through `proxy`.
    pub async fn browser(&self, profile: &Path, proxy: &str) -> Result<WebDriver, BoxError> {
        let mut wanted = DesiredCapabilities::chrome();
        wanted.set_binary(&self.binary)?;
        for argument in [
            "--headless",
            // As root, as in a container, it does not start with its sandbox.
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-default-apps",
            "--lang=en-GB",
            "--window-size=1100,1250",
            &format!("--user-data-dir={}", profile.display()),
            &format!("--proxy-server={proxy}"),
            "--proxy-bypass-list=<-loopback>",
        ] {
            wanted.add_arg(argument)?;
        }
        // What a content security policy refuses is a line in this log.
        wanted.set_browser_log_level(LoggingPrefsLogLevel::All)?;
        Ok(WebDriver::new(&self.url, wanted).await?)
    }
}

fn on_path(name: &str) -> Option<String> {
    let folders = std::env::var_os("PATH")?;
    let mut files = std::env::split_paths(&folders).map(|folder| folder.join(name));
    let found = files.find(|file| file.is_file())?;
    found.to_str().map(str::to_owned)
}
