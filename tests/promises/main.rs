//! The promises: one file each, named after what it promises.

#![allow(missing_docs, unreachable_pub)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod a_backup_brings_everyone_back;
mod a_bound_client_follows_its_grant;
mod a_copy_never_makes_a_grant_older;
mod a_disconnect_reaches_the_token_service;
mod a_dropped_caller_loses_nothing;
mod a_failing_service_is_left_alone;
mod a_full_disk_tears_no_row;
mod a_real_oauth_server_agrees;
mod a_record_opens_only_where_it_was_sealed;
mod a_refusal_may_be_no_401;
mod a_request_is_healed_once;
mod a_store_moves_without_a_stop;
mod a_store_outage_is_ridden_out;
mod a_store_that_is_broken_says_so;
mod a_token_goes_nowhere_else;
mod a_token_goes_where_its_api_wants_it;
mod a_user_is_asked_for_a_code;
mod accounts_share_one_refresh;
mod an_early_answer_is_healed_or_told;
mod an_error_never_replaces_a_usable_token;
mod an_export_that_was_changed_is_refused;
mod an_openid_provider_signs_users_in;
mod an_unknown_outcome_goes_by_the_rotation;
mod any_interleaving_keeps_the_invariants;
mod clocks_may_differ;
mod every_client;
mod every_fault_has_a_stated_end;
mod every_save_is_settled;
mod every_store_keeps_the_contract;
mod grpc_calls_are_healed_once;
mod idle_grants_are_looked_after;
mod imports_point_one_way;
mod key_rig;
mod keys_rotate_over_a_bad_store;
mod keys_rotate_without_a_stop;
mod mesh_is_spoken_as_its_client_does;
mod mesh_is_told_who_left;
mod mesh_says_what_is_wrong;
mod mesh_users_stay_connected;
mod no_secret_in_any_output;
mod one_flight_per_grant;
mod one_user_never_gets_anothers_token;
mod reqwest_asks_at_every_hop;
mod reqwest_sends_with_tokens;
mod streams_are_sent_twice;
mod sweepers_share_their_work;

mod the_disk_says_nothing;
mod the_order_of_layers_is_as_told;
mod the_process_may_die;
mod the_runtime_may_go;
mod the_tower_contract_is_kept;
mod three_calls_make_a_store;
mod users_come_and_go;
mod what_happens_is_seen;
mod what_is_due_is_refreshed_behind;
mod who_left_is_forgotten_everywhere;

mod model;
mod postgres;
mod reqwest_rig;
mod support;
mod transfer_rig;
