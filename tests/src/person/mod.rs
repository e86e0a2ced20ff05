//! A person with a browser that is none: cookies, redirects, and the forms of the OAuth server's
//! own pages.

mod cookies;
mod forms;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, COOKIE, LOCATION, SET_COOKIE};
use http::{HeaderValue, Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use reqwest::Url;

use crate::{BoxError, HttpClient, http_client};
use cookies::Jar;
use forms::{Form, Kind};

/// More than any sign-in takes.
const STEPS: usize = 30;

/// Somebody who logs in with their name. Each has cookies of their own.
#[derive(Debug)]
pub struct Person {
    name: String,
    jar: Jar,
    http: HttpClient,
}

/// Where a walk came to its end: a page that asks for nothing the person knows.
#[derive(Debug)]
pub struct Arrival {
    /// The page's URL.
    pub url: Url,
    /// The page.
    pub page: Response<Bytes>,
}

/// How far a walk goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    /// The first redirect to another origin, which is not followed.
    Leaving,
    Arrived,
}

#[derive(Debug)]
enum End {
    Left(Url),
    Arrived(Arrival),
}

impl Person {
    /// Somebody of this name, who has never been anywhere.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            jar: Jar::default(),
            http: http_client(),
        }
    }

    /// Follows an authorization request through login and consent: the redirect URI with the
    /// provider's answer, which is not asked for.
    pub async fn authorize(&mut self, url: &str) -> Result<Url, BoxError> {
        self.leave(url, true).await
    }

    /// The same, but "Cancel" is what the person clicks on.
    pub async fn deny(&mut self, url: &str) -> Result<Url, BoxError> {
        self.leave(url, false).await
    }

    /// Follows a logout request (`end_session_endpoint`) and confirms it: where the provider
    /// sends the person.
    pub async fn log_out(&mut self, url: &str) -> Result<Url, BoxError> {
        self.leave(url, true).await
    }

    /// Goes to `url`, wherever that leads and through whatever the provider asks on the way.
    pub async fn visit(&mut self, url: &str) -> Result<Arrival, BoxError> {
        match self.walk(url, true, Until::Arrived).await? {
            End::Arrived(arrival) => Ok(arrival),
            End::Left(url) => Err(format!("left for {url}").into()),
        }
    }

    /// One request as the person's browser sends it: with the cookies, and without following
    /// anything. The URI is to be absolute.
    pub async fn send(
        &mut self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Response<Bytes>, BoxError> {
        let url = Url::parse(&request.uri().to_string())?;
        if let Some(cookies) = self.jar.header(&url) {
            let cookies = HeaderValue::from_str(&cookies)?;
            request.headers_mut().insert(COOKIE, cookies);
        }
        let (head, body) = self.http.request(request).await?.into_parts();
        for line in head.headers.get_all(SET_COOKIE) {
            self.jar.keep(&url, line.to_str()?);
        }
        Ok(Response::from_parts(head, body.collect().await?.to_bytes()))
    }

    /// What the `cookie` header of a request to `url` would be.
    pub fn cookies(&self, url: &str) -> Result<Option<String>, BoxError> {
        Ok(self.jar.header(&Url::parse(url)?))
    }

    async fn leave(&mut self, url: &str, agrees: bool) -> Result<Url, BoxError> {
        match self.walk(url, agrees, Until::Leaving).await? {
            End::Left(url) => Ok(url),
            End::Arrived(Arrival { url, page }) => {
                let body = String::from_utf8_lossy(page.body());
                Err(format!("{url} leads nowhere: {} {body}", page.status()).into())
            }
        }
    }

    async fn walk(&mut self, url: &str, agrees: bool, until: Until) -> Result<End, BoxError> {
        let mut url = Url::parse(url)?;
        let mut page = self.send(asking(&url)?).await?;
        for _ in 0..STEPS {
            let next = if let Some(location) = page.headers().get(LOCATION) {
                let next = url.join(location.to_str()?)?;
                if until == Until::Leaving && next.origin() != url.origin() {
                    return Ok(End::Left(next));
                }
                asking(&next)?
            } else if let Some(form) = Form::of(page.body()) {
                match (agrees, &form.cancel) {
                    (false, Some(cancel)) => asking(&url.join(cancel)?)?,
                    _ => submitting(&url, &form, &self.name)?,
                }
            } else {
                return Ok(End::Arrived(Arrival { url, page }));
            };
            url = Url::parse(&next.uri().to_string())?;
            page = self.send(next).await?;
        }
        Err(format!("no end in sight at {url}").into())
    }
}

fn asking(url: &Url) -> Result<Request<Full<Bytes>>, BoxError> {
    let request = Request::get(url.as_str()).header(ACCEPT, "text/html");
    Ok(request.body(Full::default())?)
}

fn submitting(page: &Url, form: &Form, name: &str) -> Result<Request<Full<Bytes>>, BoxError> {
    let mut fields = form.hidden.clone();
    let entered: &[(&str, &str)] = match form.kind {
        Kind::Login => &[("login", name), ("password", "anything")],
        Kind::Consent => &[],
        Kind::Logout => &[("logout", "yes")],
    };
    // The page of somebody who is logged out already has its "yes" in it.
    fields.retain(|(field, _)| entered.iter().all(|(name, _)| field != name));
    let entered = entered.iter();
    fields.extend(entered.map(|&(name, value)| (name.to_owned(), value.to_owned())));
    // A URL's query is encoded as a form is.
    let mut body = page.clone();
    body.query_pairs_mut().clear().extend_pairs(&fields);
    let body = body.query().unwrap_or_default().to_owned();
    let request = Request::builder()
        .method(Method::POST)
        .uri(page.join(&form.action)?.as_str())
        .header(ACCEPT, "text/html")
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded");
    Ok(request.body(Full::from(body))?)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::oidc::Oidc;

    const ORIGIN: &str = "http://localhost:9";

    fn request(oidc: &Oidc, state: &str) -> String {
        let mut url = Url::parse(&oidc.url("/auth")).unwrap();
        url.query_pairs_mut().extend_pairs([
            ("client_id", "web"),
            ("redirect_uri", &format!("{ORIGIN}/auth/op/callback")),
            ("response_type", "code"),
            ("scope", "openid offline_access"),
            ("prompt", "consent"),
            ("state", state),
            ("code_challenge", &"x".repeat(43)),
            ("code_challenge_method", "S256"),
        ]);
        url.into()
    }

    fn answer(url: &Url) -> HashMap<String, String> {
        assert!(url.as_str().starts_with(ORIGIN), "{url}");
        url.query_pairs().into_owned().collect()
    }

    #[tokio::test]
    async fn a_person_signs_in_refuses_and_logs_out() {
        let oidc = Oidc::start_for_web(60, ORIGIN).await.unwrap();
        let mut alice = Person::new("alice & co");
        for state in ["one", "two"] {
            let back = alice.authorize(&request(&oidc, state)).await.unwrap();
            let back = answer(&back);
            assert_eq!((&*back["state"], &*back["iss"]), (state, oidc.base()));
            let issued = oidc.issued().await.unwrap();
            assert!(
                issued["code"]
                    .as_array()
                    .unwrap()
                    .contains(&(&*back["code"]).into())
            );
        }
        let wanted = serde_json::json!({ "account": "alice & co" });
        assert_eq!(
            oidc.logout_token(&wanted).await.unwrap().split('.').count(),
            3
        );
        let back = alice.deny(&request(&oidc, "three")).await.unwrap();
        assert_eq!(answer(&back)["error"], "access_denied");

        let end = format!("/session/end?client_id=web&post_logout_redirect_uri={ORIGIN}/");
        // Nobody listens to the back channel, which is no matter.
        let back = alice.log_out(&oidc.url(&end)).await.unwrap();
        assert_eq!(back.as_str(), format!("{ORIGIN}/"));
        let end = alice.visit(&oidc.url("/session/end")).await.unwrap();
        assert_eq!(end.url.path(), "/session/end/success");
        assert!(end.page.status().is_success());
        assert!(oidc.end_session("alice & co").await.is_err());
        let counts = oidc.counts().await.unwrap();
        assert_eq!(counts["authorizations"], 2);
        assert_eq!(counts["authorizations_denied"], 1);
        assert_eq!(counts["logouts"], 2);
        assert_eq!(counts["backchannel_failed"], 1);
    }
}
