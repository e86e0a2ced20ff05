//! What the command line asks for.

use std::path::PathBuf;
use std::time::Duration;

use examples::arguments;

/// What `--help` prints.
pub(crate) const HELP: &str = "\
The return user: connect once, come back later, no login.

  cargo run -p examples --bin return-user [-- OPTIONS]

  --port PORT           where the page is, 4180 by default; 0 takes any free one
  --mesh-port PORT      where the stand-in of Mesh is, the page's port + 1 by default
  --data FOLDER         where everything is kept, target/return-user by default
  --reset               forgets all that is kept there, and starts from nothing
  --access-ttl SECONDS  how long an access token lives, 60 by default
  --help                prints this
";

/// How to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) port: u16,
    pub(crate) mesh_port: u16,
    pub(crate) data: PathBuf,
    pub(crate) reset: bool,
    pub(crate) access_ttl: Duration,
}

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Help,
    Run(Options),
}

/// Reads the arguments after the program's name; an error says what is wrong with them.
pub(crate) fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Asked, String> {
    let mut arguments = arguments.into_iter();
    let (mut port, mut mesh_port, mut data) = (4180, None, None);
    let (mut reset, mut access_ttl) = (false, Duration::from_secs(60));
    while let Some(argument) = arguments.next() {
        let (name, given) = match argument.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (argument.as_str(), None),
        };
        let mut value = || {
            given
                .clone()
                .or_else(|| arguments.next())
                .filter(|value| !value.is_empty())
                .ok_or_else(|| format!("{name} needs a value"))
        };
        match name {
            "--help" | "-h" => return Ok(Asked::Help),
            "--reset" if given.is_none() => reset = true,
            "--port" => port = arguments::a_port(name, &value()?)?,
            "--mesh-port" => mesh_port = Some(arguments::a_port(name, &value()?)?),
            "--data" => data = Some(PathBuf::from(value()?)),
            "--access-ttl" => access_ttl = arguments::a_lifetime(3, &value()?)?,
            _ => return Err(format!("{argument} is not an option")),
        }
    }
    let mesh_port = match mesh_port {
        Some(mesh_port) => mesh_port,
        None if port == 0 => 0,
        None => port
            .checked_add(1)
            .ok_or("after the last port there is none for Mesh: give it a --mesh-port")?,
    };
    if port == mesh_port && port != 0 {
        return Err(String::from("--port and --mesh-port are the same"));
    }
    Ok(Asked::Run(Options {
        port,
        mesh_port,
        data: data.unwrap_or_else(|| arguments::default_folder("return-user")),
        reset,
        access_ttl,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Result<Asked, String> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    fn options(line: &str) -> Options {
        match of(line) {
            Ok(Asked::Run(options)) => options,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn nothing_is_needed() {
        let options = options("");
        assert_eq!((options.port, options.mesh_port), (4180, 4181));
        assert_eq!(options.access_ttl, Duration::from_secs(60));
        assert!(options.data.ends_with("target/return-user") && !options.reset);
    }

    #[test]
    fn every_option_is_taken_in_both_spellings() {
        for line in [
            "--port 80 --mesh-port 90 --data /x --reset --access-ttl 9",
            "--access-ttl=9 --reset --data=/x --mesh-port=90 --port=80",
        ] {
            let expected = Options {
                port: 80,
                mesh_port: 90,
                data: PathBuf::from("/x"),
                reset: true,
                access_ttl: Duration::from_secs(9),
            };
            assert_eq!(options(line), expected, "{line}");
        }
    }

    #[test]
    fn a_free_port_means_both() {
        assert_eq!(
            (options("--port 0").mesh_port, options("--port 7").mesh_port),
            (0, 8)
        );
    }

    #[test]
    fn help_wins_over_what_follows() {
        assert_eq!(of("--port 1 --help --nonsense"), Ok(Asked::Help));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (line, what) in [
            ("--nonsense", "--nonsense is not an option"),
            ("80", "80 is not an option"),
            ("--port", "--port needs a value"),
            ("--data=", "--data needs a value"),
            ("--port x", "--port takes a number"),
            ("--port 65536", "--port takes a number"),
            ("--port 65535", "give it a --mesh-port"),
            ("--port 5 --mesh-port 5", "are the same"),
            ("--reset=yes", "--reset=yes is not an option"),
            ("--access-ttl 2", "3 to 86400"),
            ("--access-ttl -5", "3 to 86400"),
        ] {
            let said = of(line).expect_err(line);
            assert!(said.contains(what), "{line}: {said}");
        }
    }
}
