//! Where in a request the token goes.

use std::fmt;
use std::marker::PhantomData;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes};
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Request};
use http_body::Body;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap as _, Serializer};
use serde_json::value::RawValue;

use crate::error::Error;
use crate::grant::AccessToken;
use crate::secret::wiped_json;

/// Where in a request the token goes: [`Authorization`], the default,
/// [`TokenHeader`](crate::TokenHeader) or [`JsonBody`].
///
/// There is none for a query parameter, and there should be none: URLs end up in logs, histories
/// and `Referer` headers (RFC 9700 section 4.3.2). Implement this for an API that wants its token
/// in yet another place.
///
/// ```
/// use http::{HeaderMap, HeaderValue, Request};
/// use tower_token::{AccessToken, Error, Placement};
///
/// #[derive(Clone)]
/// struct ApiKeyHeader;
///
/// impl<B> Placement<B> for ApiKeyHeader {
///     fn is_placed(&self, headers: &HeaderMap) -> bool {
///         headers.contains_key("x-api-key")
///     }
///
///     fn place(&self, token: &AccessToken, request: &mut Request<B>) -> Result<(), Error> {
///         let value = HeaderValue::from_str(token.expose());
///         let mut value = value.map_err(|_| Error::cannot_place("it is no header"))?;
///         value.set_sensitive(true);
///         request.headers_mut().insert("x-api-key", value);
///         Ok(())
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot put a token into a request with a body of type `{B}`",
    label = "the token has to go into this request",
    note = "`JsonBody` takes bodies that are made from `Bytes`, such as `Full<Bytes>`"
)]
pub trait Placement<B> {
    /// Whether a request of these headers carries one already: it is then passed on untouched.
    fn is_placed(&self, headers: &HeaderMap) -> bool;

    /// Puts `token` into the request, in place of one that it may carry from an earlier try.
    /// After an error, for which there is [`Error::cannot_place`], it is not sent. What takes one
    /// token has to take the next: after a 401 it is too late to refuse.
    fn place(&self, token: &AccessToken, request: &mut Request<B>) -> Result<(), Error>;

    /// The same, unless the request carries one already: it is then left as it is, and the answer
    /// is `false`. Worth writing where one look at the headers does for both questions.
    fn place_if_absent(
        &self,
        token: &AccessToken,
        request: &mut Request<B>,
    ) -> Result<bool, Error> {
        if self.is_placed(request.headers()) {
            return Ok(false);
        }
        self.place(token, request).map(|()| true)
    }
}

/// `Authorization: Bearer` (RFC 6750 section 2.1), marked sensitive.
#[derive(Debug, Clone, Copy, Default)]
pub struct Authorization;

impl<B> Placement<B> for Authorization {
    fn is_placed(&self, headers: &HeaderMap) -> bool {
        headers.contains_key(AUTHORIZATION)
    }

    fn place(&self, token: &AccessToken, request: &mut Request<B>) -> Result<(), Error> {
        let value = token.authorization().clone();
        request.headers_mut().insert(AUTHORIZATION, value);
        Ok(())
    }

    // Left as a call it costs a tenth of what the insert does.
    #[inline(always)]
    fn place_if_absent(
        &self,
        token: &AccessToken,
        request: &mut Request<B>,
    ) -> Result<bool, Error> {
        let headers = request.headers_mut();
        // Where no name has two values, one insert answers both: what it replaced is put back.
        if headers.len() != headers.keys_len() && headers.contains_key(AUTHORIZATION) {
            return Ok(false);
        }
        let before = headers.insert(AUTHORIZATION, token.authorization().clone());
        Ok(match before {
            None => true,
            Some(before) => {
                headers.insert(AUTHORIZATION, before);
                false
            }
        })
    }
}

/// A field of the JSON object that is the request's body, as some APIs of brokers want it.
///
/// The body has to be in memory, as `Full<Bytes>` is, and a JSON object or empty; it is written
/// anew with the token in it, all other members as they were and in their order. What was in
/// the field before, such as a placeholder, is replaced. A signature over the body would have to
/// be made inside of this layer.
///
/// Nothing marks a body as sensitive: what logs bodies inside of this layer logs the token.
///
/// ```
/// # use tower_token::*;
/// use bytes::Bytes;
/// use http_body_util::Full;
/// use hyper_util::{client::legacy::Client, rt::TokioExecutor};
/// use tower::{ServiceBuilder, ServiceExt};
///
/// # async fn f(manager: TokenManager) -> Result<(), Box<dyn std::error::Error>> {
/// let http: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
/// let tokens = TokenLayer::new(&manager).place(JsonBody::field("authToken"));
/// let client = ServiceBuilder::new().layer(tokens).service(http);
///
/// let request = http::Request::post("http://127.0.0.1:9000/api/v1/holdings/get")
///     .extension(TokenRequest::new(GrantKey::new("mesh", "user-17")).account("acc-1"))
///     .body(Full::from(r#"{"type":"coinbase"}"#))?;
/// let response = client.oneshot(request).await?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct JsonBody {
    field: &'static str,
}

/// Larger bodies are not read for the sake of a token.
const MAX_BODY: usize = 1 << 20;

impl JsonBody {
    /// The top-level field of this name.
    pub fn field(name: &'static str) -> Self {
        Self { field: name }
    }
}

impl<B> Placement<B> for JsonBody
where
    B: Body + From<Bytes>,
{
    fn is_placed(&self, _: &HeaderMap) -> bool {
        false
    }

    fn place(&self, token: &AccessToken, request: &mut Request<B>) -> Result<(), Error> {
        let body = std::mem::replace(request.body_mut(), B::from(Bytes::new()));
        let body = read(body)?;
        let members = Members::read(&body)?;
        let with_token = WithToken {
            members: &members,
            field: self.field,
            token: token.expose(),
        };
        let written = wiped_json(&with_token).map_err(|_| unfit("it cannot be written"))?;
        let headers = request.headers_mut();
        let content_type = HeaderValue::from_static("application/json");
        headers.entry(CONTENT_TYPE).or_insert(content_type);
        if headers.contains_key(CONTENT_LENGTH) {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(written.len()));
        }
        *request.body_mut() = B::from(written);
        Ok(())
    }
}

/// A body that is all there.
fn read<B: Body>(body: B) -> Result<Vec<u8>, Error> {
    let mut body = pin!(body);
    let mut bytes = Vec::new();
    let mut context = Context::from_waker(Waker::noop());
    loop {
        let frame = match body.as_mut().poll_frame(&mut context) {
            Poll::Ready(None) => return Ok(bytes),
            Poll::Ready(Some(Ok(frame))) => frame,
            Poll::Ready(Some(Err(_))) => return Err(unfit("it cannot be read")),
            Poll::Pending => return Err(unfit("it is not in memory")),
        };
        let Ok(mut data) = frame.into_data() else {
            return Err(unfit("it has trailers"));
        };
        if bytes.len() + data.remaining() > MAX_BODY {
            return Err(unfit("it is larger than 1 MiB"));
        }
        bytes.extend_from_slice(&data.copy_to_bytes(data.remaining()));
    }
}

/// The members of a JSON object, in their order and as they were written: a number that is
/// read and written again may be another.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'a> Members<'a> {
    fn read(body: &'a [u8]) -> Result<Self, Error> {
        if body.trim_ascii().is_empty() {
            return Ok(Self(Vec::new()));
        }
        // The parser's error could quote the body.
        serde_json::from_slice(body).map_err(|_| unfit("it is not a JSON object"))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct Object<'a>(PhantomData<&'a ()>);

        impl<'de: 'a, 'a> Visitor<'de> for Object<'a> {
            type Value = Members<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Members<'a>, M::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        json.deserialize_map(Object(PhantomData))
    }
}

/// The same object with the token in one of its fields: where that stood, or at the end.
struct WithToken<'a> {
    members: &'a Members<'a>,
    field: &'static str,
    token: &'a str,
}

impl Serialize for WithToken<'_> {
    fn serialize<S: Serializer>(&self, json: S) -> Result<S::Ok, S::Error> {
        let mut map = json.serialize_map(None)?;
        let mut placed = false;
        for (name, value) in &self.members.0 {
            if name != self.field {
                map.serialize_entry(name, value)?;
            } else if !placed {
                // A second field of that name could be the one that is read.
                placed = true;
                map.serialize_entry(name, self.token)?;
            }
        }
        if !placed {
            map.serialize_entry(self.field, self.token)?;
        }
        map.end()
    }
}

fn unfit(why: &str) -> Error {
    Error::cannot_place(format!(
        "the token cannot be put into the request's body: {why}"
    ))
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, Full};

    use super::*;
    use crate::clock::Timestamp;
    use crate::error::ErrorKind;
    use crate::grant::Serial;

    fn token(text: &str) -> AccessToken {
        let serial = Serial { epoch: 1, issue: 1 };
        AccessToken::new(text, serial, Timestamp::from_unix_millis(0), None).unwrap()
    }

    fn placed(body: &'static str) -> Result<String, String> {
        let mut request = Request::new(Full::<Bytes>::from(body));
        request
            .headers_mut()
            .insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        let placement = JsonBody::field("authToken");
        let done = placement.place(&token("t-1"), &mut request);
        done.map_err(|error| error.to_string())?;
        let len = request.headers()[CONTENT_LENGTH].clone();
        let mut body = request.into_body();
        let frame = poll_once(body.frame()).unwrap().unwrap();
        let bytes = frame.into_data().unwrap();
        assert_eq!(len, bytes.len().to_string().as_str());
        Ok(String::from_utf8(bytes.to_vec()).unwrap())
    }

    fn poll_once<F: Future>(future: F) -> F::Output {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(done) => done,
            Poll::Pending => panic!("it is not ready"),
        }
    }

    #[test]
    fn a_token_joins_the_object_and_replaces_what_stood_there() {
        for (body, expected) in [
            ("", r#"{"authToken":"t-1"}"#),
            (" {} ", r#"{"authToken":"t-1"}"#),
            (
                r#"{"authToken":"placeholder","type":"x"}"#,
                r#"{"authToken":"t-1","type":"x"}"#,
            ),
            (
                r#"{"type":"x","n":[1,{"authToken":"inner"}]}"#,
                r#"{"type":"x","n":[1,{"authToken":"inner"}],"authToken":"t-1"}"#,
            ),
            // Nothing else is touched, a number least of all.
            (
                r#"{"z":1.000000000000000001, "a":123456789012345678901234567890}"#,
                r#"{"z":1.000000000000000001,"a":123456789012345678901234567890,"authToken":"t-1"}"#,
            ),
            (
                r#"{"authToken":1,"auth\u0054oken":2,"a":"\u00e9"}"#,
                r#"{"authToken":"t-1","a":"\u00e9"}"#,
            ),
        ] {
            assert_eq!(placed(body).as_deref(), Ok(expected), "{body}");
        }
    }

    #[test]
    fn another_body_is_refused_and_never_quoted() {
        for body in ["[]", "secret", "\"secret\"", "{\"secret\"", "null"] {
            let problem = placed(body).unwrap_err();
            assert!(problem.contains("JSON object"), "{problem}");
            assert!(!problem.contains("secret"), "{problem}");
        }
    }

    #[test]
    fn a_body_that_streams_is_refused() {
        struct Stream;
        impl Body for Stream {
            type Data = Bytes;
            type Error = std::convert::Infallible;
            fn poll_frame(
                self: std::pin::Pin<&mut Self>,
                _: &mut Context<'_>,
            ) -> Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
                Poll::Pending
            }
        }
        impl From<Bytes> for Stream {
            fn from(_: Bytes) -> Self {
                Self
            }
        }
        let mut request = Request::new(Stream);
        let refused = JsonBody::field("t").place(&token("t"), &mut request);
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Placement);
    }
}
