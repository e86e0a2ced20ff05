//! What axum-token promises: a file each, named after it.

#![allow(missing_docs, missing_debug_implementations, unreachable_pub)]
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod a_handler_gets_a_valid_token;
mod attacks_change_nothing;
mod leaving_leaves_nothing_behind;
mod many_requests_make_one_exchange;
mod mesh_attacks_change_nothing;
mod mesh_rig;
mod mesh_users_come_back;
mod no_secret_in_any_output;
mod oauth_attacks_change_nothing;
mod oauth_callbacks_and_logouts_cross;
mod oauth_rig;
mod oauth_says_what_is_wrong;
mod pages_call_apis_without_the_token;
mod pages_learn_who_is_signed_in;
mod proxy_attacks_change_nothing;
mod proxy_rig;
mod proxy_streams;
mod refusals_are_for_whoever_reads_them;
mod scopes_end_with_the_handler;
mod sessions_end_when_they_should;
mod signing_out_everywhere;
mod sockets_outlive_their_tokens;
mod stamps_rig;
mod support;
mod users_in_private_cookies;
mod users_leave_by_oauth;
mod users_sign_in_by_oauth;
#[cfg(feature = "tracing")]
mod what_is_set_up_wrongly_is_told_once;
