//! Cuts the power in the middle of saves, again and again, and looks for what was acknowledged.
//!
//! ```text
//! cargo run --release -p tests --bin power-cut -- --store sled --rounds 50
//! cargo run --release -p tests --bin power-cut -- --store sled --rounds 50 --unsynced
//! ```
//!
//! The store is on an ext4 of its own, on a loop device. A child saves sealed grants from 1 KiB to
//! 64 KiB, as in `kill-store`. It is stopped at a random moment, and the image is copied as it is,
//! without a sync: that is what a power cut would have left, if the disk kept all that it was
//! given. The copy is mounted, which replays its journal, and a fresh process looks at every
//! row. The next round goes on from the copy. In every other round the child is killed before, and
//! the power cut while the next one opens what that has left, or has just done so.
//!
//! With `--unsynced` the system tells the child that it has synced what it has not: that has to
//! lose something, or this program could not find anything.
//!
//! It takes root and loop devices: without them it says so and ends with 2. It mounts in a
//! namespace of its own, and keeps its images in memory there: however it ends, nothing is left.

#![allow(clippy::print_stdout)]

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::thread::sleep;
use std::time::Duration;

use tests::BoxError;
use tests::acked::{Books, Process, Task, random, serve};
use tests::mounted::{Mounted, run as run_program};
use tests::unsynced::ignore_syncs;

const USAGE: &str = "usage: power-cut [--store sled|redb] [--rounds R]";
/// Behind the name of a store, for the child that is not to sync.
const UNSYNCED: &str = "-unsynced";

/// Where a file system in memory is mounted, which no other process sees.
const APART: &str = "/mnt";

/// How large the file system is. What is not used of it takes no room.
const IMAGE: u64 = 512 << 20;

/// How many acknowledgements a round has at least.
const ACKED: u64 = 100;

/// How often it is looked whether the child stands still, and how many times: for a minute.
const LOOK: Duration = Duration::from_micros(200);
const LOOKS: u32 = 300_000;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        ["--child", store, task, folder] => child(store, task, folder).map(|()| true),
        ["--apart", ref options @ ..] => {
            if let Err(error) = can_mount() {
                println!("this takes root, ext4 and loop devices, which are not there: {error}");
                return ExitCode::from(2);
            }
            parse(options).and_then(|options| run(&options))
        }
        _ => {
            if let Err(error) = run_program(Command::new("unshare").args(["--mount", "true"])) {
                println!("this takes root, which is not there: {error}");
                return ExitCode::from(2);
            }
            parse(&arguments).and_then(|_| apart(&arguments))
        }
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Becomes the same program with mounts of its own, which are gone when the last process that
/// sees them is, and with them the loop devices and the images.
fn apart(arguments: &[&str]) -> Result<bool, BoxError> {
    let error = Command::new("unshare")
        .args(["--mount", "--propagation", "private"])
        .arg(std::env::current_exe()?)
        .arg("--apart")
        .args(arguments)
        .exec();
    Err(error.into())
}

struct Options<'a> {
    store: &'a str,
    rounds: u32,
    unsynced: bool,
}

fn parse<'a>(arguments: &[&'a str]) -> Result<Options<'a>, BoxError> {
    let mut options = Options {
        store: "sled",
        rounds: 50,
        unsynced: false,
    };
    let mut arguments = arguments.iter();
    while let Some(option) = arguments.next() {
        let mut value = || arguments.next().ok_or(USAGE);
        match *option {
            "--store" => options.store = value()?,
            "--rounds" => options.rounds = value()?.parse()?,
            "--unsynced" => options.unsynced = true,
            _ => return Err(USAGE.into()),
        }
    }
    Ok(options)
}

fn child(store: &str, task: &str, folder: &str) -> Result<(), BoxError> {
    let task = task.parse()?;
    match store.strip_suffix(UNSYNCED) {
        Some(store) => {
            // Before there are other threads: they have it from this one.
            ignore_syncs()?;
            serve_store(store, task, folder)
        }
        None => serve_store(store, task, folder),
    }
}

#[tokio::main(worker_threads = 2)]
async fn serve_store(store: &str, task: Task, folder: &str) -> Result<(), BoxError> {
    serve(task, store, folder).await
}

/// Starts a child that dies with this process, also while it is stopped: it sees the mounts.
fn start(store: &str, task: Task, folder: &Path) -> Result<Process, BoxError> {
    let mut program = Command::new("setpriv");
    program
        .args(["--pdeathsig", "KILL"])
        .arg(std::env::current_exe()?);
    Process::start_with(&mut program, store, task, folder)
}

fn can_mount() -> Result<(), BoxError> {
    run_program(Command::new("mount").args(["-t", "tmpfs", "tmpfs", APART]))?;
    tempfile::env::override_temp_dir(Path::new(APART)).map_err(|_| "a folder is set already")?;
    let folder = tempfile::tempdir()?;
    let image = folder.path().join("image");
    make(&image, 16 << 20)?;
    Mounted::image(&image).map(drop)
}

/// An empty file system.
fn make(image: &Path, len: u64) -> Result<(), BoxError> {
    File::create(image)?.set_len(len)?;
    run_program(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(image))
}

fn run(options: &Options<'_>) -> Result<bool, BoxError> {
    let (store, rounds) = (options.store, options.rounds);
    let writes = match options.unsynced {
        true => format!("{store}{UNSYNCED}"),
        false => store.to_owned(),
    };
    let folder = tempfile::tempdir()?;
    let image = |round: u32| folder.path().join(format!("image-{round}"));
    let mut books = Books::default();
    let mut fewest = u64::MAX;
    make(&image(0), IMAGE)?;
    for round in 0..rounds {
        let next = image(round + 1);
        let failed = books.totals.failed_opens;
        let in_open = round % 2 == 1;
        let acked = cut(&writes, &image(round), &next, in_open, &mut books)?;
        fewest = fewest.min(acked);
        if books.totals.failed_opens == failed {
            look(store, &next, &mut books)?;
        }
        fs::remove_file(image(round))?;
        if books.totals.failed_opens > failed {
            // Nothing more can come of this one.
            make(&next, IMAGE)?;
            books.forget();
        }
    }
    println!(
        "cuts {rounds} fewest_acked_in_a_round {fewest} cas_violations {}",
        books.totals.violations
    );
    println!("{}", books.totals);
    Ok(books.totals.are_good() && fewest >= ACKED)
}

/// The store's folder, where the image is mounted.
fn store_in(mounted: &Mounted) -> PathBuf {
    mounted.path().join("store")
}

/// Lets a child save on `image` until the power is cut; what is on the disk then is `left`. How
/// many saves were acknowledged. With `in_open` the child is killed first, and the power cut soon
/// after another began to open what it left.
fn cut(
    store: &str,
    image: &Path,
    left: &Path,
    in_open: bool,
    books: &mut Books,
) -> Result<u64, BoxError> {
    let before = books.acked();
    let mounted = Mounted::image(image)?;
    let mut child = start(store, Task::Write, &store_in(&mounted))?;
    if !child.says("opening") || !child.says("ready") {
        books.totals.failed_opens += 1;
        // The caller goes on with another image.
        File::create(left)?;
        return Ok(u64::MAX);
    }
    let enough = before + ACKED + random(10 * ACKED);
    while books.acked() < enough {
        let line = child.line().ok_or("the child stopped saving")?;
        if !books.enter(&line) {
            return Err(format!("a save failed: {line}").into());
        }
    }
    sleep(Duration::from_micros(random(3_000)));
    if in_open {
        for line in child.kill()? {
            books.enter(&line);
        }
        // What it has not synced is there for the next, until the power is cut.
        child = start(store, Task::Write, &store_in(&mounted))?;
        if !child.says("opening") {
            return Err("the child did not start".into());
        }
        let longest = random(30_000) + 1;
        sleep(Duration::from_micros(random(longest)));
    }
    stop(&child)?;
    run_program(
        Command::new("cp")
            .arg("--sparse=always")
            .arg(image)
            .arg(left),
    )?;
    // What it had said before it was stopped: it said nothing since.
    for line in child.kill()? {
        books.enter(&line);
    }
    Ok(books.acked() - before)
}

/// SIGSTOP, and until it stands still.
fn stop(child: &Process) -> Result<(), BoxError> {
    let id = child.id().to_string();
    run_program(Command::new("kill").args(["-STOP", &id]))?;
    // Each of its threads stops when it comes back from the system: one in a sync, after that.
    let tasks = format!("/proc/{id}/task");
    for _ in 0..LOOKS {
        let mut all_stopped = true;
        for task in fs::read_dir(&tasks)? {
            let stat = fs::read_to_string(task?.path().join("stat"))?;
            // After the name, which is in parentheses.
            let state = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
            if state.starts_with('Z') {
                return Err("the child has ended".into());
            }
            all_stopped &= state.starts_with('T');
        }
        if all_stopped {
            return Ok(());
        }
        sleep(LOOK);
    }
    Err("the child does not stand still".into())
}

/// Mounts what is left, and has a fresh process look at every row.
fn look(store: &str, image: &Path, books: &mut Books) -> Result<(), BoxError> {
    let mounted = Mounted::image(image)?;
    start(store, Task::Look, &store_in(&mounted))?.look(books)
}
