//! As much of a browser as the check needs: cookies, redirects, forms.

use std::collections::{BTreeMap, HashMap};
use std::error::Error;

use http::header::{CONTENT_TYPE, COOKIE, LOCATION, SET_COOKIE};
use http::{Method, StatusCode};
use reqwest::{Client, Response, Url};
use serde_json::Value;

/// A browser of one person. Without `Debug`, since its cookies are secrets.
pub(crate) struct Browser {
    http: Client,
    /// By host: cookies know no ports.
    cookies: HashMap<String, BTreeMap<String, String>>,
}

/// What only a navigation sends, and what only a script of the page can.
const BY_PERSON: &[(&str, &str)] = &[("accept", "text/html")];
const BY_SCRIPT: &[(&str, &str)] = &[("sec-fetch-site", "same-origin"), ("x-csrf", "1")];

/// What a navigation ended at.
pub(crate) struct Page {
    pub(crate) url: Url,
    pub(crate) status: StatusCode,
    pub(crate) text: String,
}

impl Browser {
    pub(crate) fn new() -> Result<Self, Box<dyn Error>> {
        let http = Client::builder().redirect(reqwest::redirect::Policy::none());
        Ok(Self {
            http: http.build()?,
            cookies: HashMap::new(),
        })
    }

    /// Goes to a page, wherever redirects lead.
    pub(crate) async fn go(&mut self, url: &str) -> Result<Page, Box<dyn Error>> {
        let response = self
            .send(Method::GET, url.parse()?, BY_PERSON, None)
            .await?;
        self.follow(response).await
    }

    /// Sends the form of a page by one of its buttons.
    pub(crate) async fn submit(
        &mut self,
        page: &Page,
        action: &str,
        typed: &[(&str, &str)],
    ) -> Result<Page, Box<dyn Error>> {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(page.hidden()).extend_pairs(typed);
        let to = page.url.join(action)?;
        let form = Some(form.finish());
        let response = self.send(Method::POST, to, BY_PERSON, form).await?;
        self.follow(response).await
    }

    /// What a script of the page gets for `fetch`, with the header that only it can send.
    pub(crate) async fn fetch(
        &mut self,
        method: Method,
        url: &str,
    ) -> Result<(StatusCode, Value), Box<dyn Error>> {
        let response = self.send(method, url.parse()?, BY_SCRIPT, None).await?;
        let status = response.status();
        Ok((status, serde_json::from_slice(&response.bytes().await?)?))
    }

    async fn follow(&mut self, mut response: Response) -> Result<Page, Box<dyn Error>> {
        for _ in 0..10 {
            let url = response.url().clone();
            let status = response.status();
            let Some(location) = response.headers().get(LOCATION) else {
                let text = response.text().await?;
                return Ok(Page { url, status, text });
            };
            let next = url.join(location.to_str()?)?;
            response = self.send(Method::GET, next, BY_PERSON, None).await?;
        }
        Err("the redirects do not end".into())
    }

    async fn send(
        &mut self,
        method: Method,
        url: Url,
        headers: &[(&str, &str)],
        form: Option<String>,
    ) -> Result<Response, Box<dyn Error>> {
        let host = url.host_str().unwrap_or_default().to_owned();
        let cookies = self.cookies.entry(host).or_default();
        let mut request = self.http.request(method, url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if !cookies.is_empty() {
            let pairs: Vec<_> = cookies.iter().map(|(n, v)| format!("{n}={v}")).collect();
            request = request.header(COOKIE, pairs.join("; "));
        }
        if let Some(form) = form {
            let kind = "application/x-www-form-urlencoded";
            request = request.header(CONTENT_TYPE, kind).body(form);
        }
        let response = request.send().await?;
        for line in response.headers().get_all(SET_COOKIE) {
            let line = line.to_str()?;
            let pair = line.split(';').next().unwrap_or_default();
            let (name, value) = pair.split_once('=').ok_or("a cookie without a name")?;
            match line.contains("Max-Age=0") {
                true => cookies.remove(name),
                false => cookies.insert(name.to_owned(), value.to_owned()),
            };
        }
        Ok(response)
    }
}

impl Page {
    /// The hidden fields, as the pages of this example write them.
    fn hidden(&self) -> Vec<(String, String)> {
        let fields = self.text.split("<input type=hidden name=").skip(1);
        let field = |field: &str| {
            let (name, rest) = field.split_once(" value=\"")?;
            let value = rest.split('"').next()?;
            Some((name.to_owned(), value.replace("&amp;", "&")))
        };
        fields.filter_map(field).collect()
    }
}
