//! What every page needs, whoever its user is.

mod answer;
mod cookie_pairs;
mod host_cookies;
mod no_store;
mod same_origin;

pub use self::answer::EditedResponse;
#[cfg(any(feature = "oauth", feature = "private-cookies"))]
pub(crate) use self::cookie_pairs::cookie_pairs;
pub use self::host_cookies::{HostCookies, HostCookiesLayer};
pub use self::no_store::{NoStore, NoStoreLayer};
pub use self::same_origin::{SameOrigin, SameOriginFuture, SameOriginLayer};
