//! Users who sign in, or connect accounts, by OAuth 2.0 and OpenID Connect.

mod openid;

pub use self::openid::{Identity, OpenId, OpenIdError, OpenIdErrorKind};
