//! The promises: one file each, named after what it promises.

#![allow(missing_docs, unreachable_pub)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod a_dropped_caller_loses_nothing;
mod a_token_goes_where_its_api_wants_it;
mod every_kind_of_body_is_sent_and_healed;
mod failures_keep_their_cause;
mod layers_go_around_it;
mod no_secret_in_any_output;
mod tls_is_agreed_on;
mod users_share_connections_and_nothing_else;

mod support;
