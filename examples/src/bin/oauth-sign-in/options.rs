//! What the command line and the environment ask for.

use std::path::PathBuf;
use std::time::Duration;

use examples::arguments;
use tower_token::Secret;

/// What `--help` prints.
pub(crate) const HELP: &str = "\
Sign-in by OAuth, and a page that calls an API through the service.

  cargo run -p examples --bin oauth-sign-in [-- OPTIONS]

Without options a small OpenID provider runs in this process, too. Any other one by three
settings, as options or in the environment:

  --issuer URL            OAUTH_ISSUER, exactly as the provider names itself
  --client-id ID          OAUTH_CLIENT_ID
  --client-secret SECRET  OAUTH_CLIENT_SECRET, where other users do not see it

and with them:

  --scope SCOPES          what to ask for besides `openid offline_access`
  --api URL               what the page calls, the provider's userinfo endpoint by default

  --port PORT             where the page is, 3000 by default; 0 takes any free one
  --data FOLDER           where grants and keys are kept, target/oauth-sign-in by default
  --access-ttl SECONDS    how long an access token of the provider in this process lives,
                          20 by default
  --check                 goes through all of it without a browser, and ends
  --help                  prints this
";

/// How to run.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) port: u16,
    pub(crate) data: PathBuf,
    pub(crate) access_ttl: Duration,
    pub(crate) scope: String,
    /// None for the one in this process.
    pub(crate) provider: Option<Settings>,
}

/// Another provider.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) issuer: String,
    pub(crate) client_id: String,
    pub(crate) client_secret: Secret,
    /// The URL that the page calls.
    pub(crate) api: Option<String>,
}

/// What was asked for.
#[derive(Debug)]
pub(crate) enum Asked {
    Help,
    Check,
    Run(Options),
}

/// Reads the arguments after the program's name, and what they leave out from the environment;
/// an error says what is wrong with them.
pub(crate) fn parse(
    arguments: impl IntoIterator<Item = String>,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<Asked, String> {
    let mut arguments = arguments.into_iter();
    let (mut port, mut data, mut access_ttl) = (
        3000,
        arguments::default_folder("oauth-sign-in"),
        Duration::from_secs(20),
    );
    let (mut scope, mut api, mut check) = (String::new(), None, false);
    let set = |name| environment(name).filter(|value| !value.is_empty());
    let mut issuer = set("OAUTH_ISSUER");
    let mut client_id = set("OAUTH_CLIENT_ID");
    let mut client_secret = set("OAUTH_CLIENT_SECRET");
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
            "--check" if given.is_none() => check = true,
            "--port" => port = arguments::a_port("--port", &value()?)?,
            "--data" => data = PathBuf::from(value()?),
            "--access-ttl" => access_ttl = arguments::a_lifetime(2, &value()?)?,
            "--scope" => scope = value()?,
            "--api" => api = Some(value()?),
            "--issuer" => issuer = Some(value()?),
            "--client-id" => client_id = Some(value()?),
            "--client-secret" => client_secret = Some(value()?),
            // Not the value: it may be a secret.
            _ => return Err(format!("{name} is not an option")),
        }
    }
    if check {
        return Ok(Asked::Check);
    }
    let provider = match (issuer, client_id, client_secret) {
        (Some(issuer), Some(client_id), Some(client_secret)) => Some(Settings {
            issuer,
            client_id,
            client_secret: client_secret.into(),
            api,
        }),
        (None, None, None) if api.is_none() && scope.is_empty() => None,
        _ => {
            return Err(String::from(
                "another provider takes all three: --issuer, --client-id, --client-secret",
            ));
        }
    };
    Ok(Asked::Run(Options {
        port,
        data,
        access_ttl,
        scope,
        provider,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str, environment: &[(&str, &str)]) -> Result<Options, String> {
        let environment = |name: &str| {
            let set = environment.iter().find(|(it, _)| *it == name)?;
            Some(set.1.to_owned())
        };
        match parse(line.split_whitespace().map(str::to_owned), environment)? {
            Asked::Run(options) => Ok(options),
            Asked::Help | Asked::Check => Err(format!("{line} does not run")),
        }
    }

    #[test]
    fn nothing_is_needed() {
        let options = of("", &[("OAUTH_ISSUER", "")]).unwrap();
        assert_eq!((options.port, options.access_ttl.as_secs()), (3000, 20));
        assert!(options.data.ends_with("target/oauth-sign-in") && options.provider.is_none());
    }

    #[test]
    fn three_settings_are_another_provider() {
        let environment = [
            ("OAUTH_ISSUER", "https://a.example"),
            ("OAUTH_CLIENT_ID", "me"),
            ("OAUTH_CLIENT_SECRET", "from-env"),
        ];
        let options = of("--client-id you --api=https://b.example/x", &environment).unwrap();
        assert!(!format!("{options:?}").contains("from-env"));
        let provider = options.provider.unwrap();
        assert_eq!(provider.issuer, "https://a.example");
        assert_eq!(provider.client_id, "you");
        assert_eq!(provider.client_secret.expose(), "from-env");
        assert_eq!(provider.api.as_deref(), Some("https://b.example/x"));
    }

    #[test]
    fn what_is_wrong_is_said_without_a_secret() {
        for (line, what) in [
            ("--nonsense=s3cret", "--nonsense is not an option"),
            ("--port x", "--port takes a number"),
            ("--data=", "--data needs a value"),
            ("--access-ttl 1", "2 to 86400"),
            (
                "--issuer https://a.example --client-secret s3cret",
                "all three",
            ),
            ("--api https://a.example", "all three"),
        ] {
            let said = of(line, &[]).expect_err(line);
            assert!(said.contains(what) && !said.contains("s3cret"), "{said}");
        }
    }
}
