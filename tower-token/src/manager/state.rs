//! The states of a grant in which it has no token to give.

use crate::error::{Error, ErrorKind};

pub(super) const NEEDS_REAUTH: &str =
    "the grant can no longer be refreshed: the user has to connect again";

pub(super) fn needs_reauth() -> Error {
    Error::new(ErrorKind::NeedsReauth, NEEDS_REAUTH)
}

pub(super) fn not_connected() -> Error {
    Error::new(
        ErrorKind::NotConnected,
        "nobody is connected under this key: send the user through the provider's consent, then \
         call connect",
    )
}

pub(super) fn account_left_out() -> Error {
    Error::new(
        ErrorKind::NeedsReauth,
        "the token service brings no token for this account any more: its user has to connect it \
         again",
    )
}

pub(super) fn several_accounts() -> Error {
    Error::new(
        ErrorKind::UnknownAccount,
        "the grant has several accounts: say whose token is wanted, by TokenRequest::account(id) \
         or TokenManager::account_token(key, id)",
    )
}

pub(super) fn unknown_account() -> Error {
    Error::new(
        ErrorKind::UnknownAccount,
        "the grant has no account of this id: TokenManager::accounts lists those that it has",
    )
}

pub(super) fn shut_down() -> Error {
    Error::new(ErrorKind::ShutDown, "the token manager was shut down")
}
