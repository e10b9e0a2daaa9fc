//! The traps of the protocol, its broker and its client, and the faults of real life: each with what we do about it.
use std::{env, process::ExitCode, time::Duration};

use libtest_mimic::{Arguments, Trial};
use sinew_testkit::trial::conclude;
use support::{Outcome, Shared};
use tokio::{runtime::Builder, time::timeout};

mod clogged;
mod consuming;
mod handed;
mod handing;
mod links;
mod parking;
mod poison;
mod publishing;
mod rejected;
mod rejoining;
mod requests;
mod restarts;
mod support;
mod topology;

fn main() -> ExitCode {
    if let Ok(port) = env::var(links::VICTIM) {
        return links::victim(&port);
    }
    let mut arguments = Arguments::from_args();
    // Most of them wait, most of the time.
    arguments.test_threads.get_or_insert(8);
    let broker = Shared::default();
    let shared = || broker.clone();
    let trials = vec![
        // Those that take longest first: they have brokers of their own.
        trial(
            "what_was_confirmed_outlives_kills_and_no_consumer_falls_silent",
            restarts::under_load(),
        ),
        trial("what_was_confirmed_outlives_links_that_flap", restarts::under_flaps(shared())),
        trial(
            "a_delivery_that_is_held_too_long_is_revoked_and_its_late_ack_settles_nothing",
            consuming::consumer_timeout(),
        ),
        trial(
            "a_delivery_that_outlives_its_intake_is_told_when_the_broker_takes_it_back",
            handed::beyond_its_intake(),
        ),
        trial("a_request_that_is_too_large_costs_no_other_its_reply", requests::too_large()),
        trial("a_publish_that_timed_out_on_a_blocked_connection_says_maybe", publishing::blocked()),
        // The clock of one thread can be set.
        trial_on(
            Builder::new_current_thread,
            "twenty_reconnects_bind_each_queue_once_each",
            topology::binds_once(shared()),
        ),
        trial(
            "an_intake_whose_queue_was_changed_while_away_ends_and_others_go_on",
            topology::changed_while_away(shared()),
        ),
        trial(
            "an_exclusive_queue_is_taken_back_from_a_half_open_link",
            topology::exclusive_and_stranded(shared()),
        ),
        trial(
            "a_half_open_link_is_noticed_within_three_heartbeats_on_both_connections",
            links::half_open(shared()),
        ),
        trial(
            "a_link_that_is_refused_for_a_while_comes_back_and_one_for_good_ends",
            links::refused_for_a_while(shared()),
        ),
        trial(
            "a_copy_whose_first_was_not_acknowledged_comes_beside_it",
            consuming::delayed_twice(shared()),
        ),
        trial(
            "a_runtime_that_ends_leaves_no_panic_and_no_thread",
            links::runtime_that_ends(shared()),
        ),
        trial(
            "of_2000_pipelined_must_route_messages_each_learns_its_own_fate",
            publishing::own_fate(shared()),
        ),
        trial(
            "a_publish_that_came_no_further_than_its_channel_was_not_sent",
            publishing::unopened(shared()),
        ),
        trial(
            "a_queue_is_declared_during_a_drain_as_what_goes_there_is_published",
            topology::declared_while_draining(shared()),
        ),
        trial("one_bad_declaration_costs_no_sibling_anything", topology::bad_declaration(shared())),
        trial(
            "a_deleted_queue_is_declared_again_and_told_as_a_gap",
            topology::deleted_queue(shared()),
        ),
        trial(
            "a_group_hears_on_when_its_queue_is_deleted_under_a_member_that_is_full",
            rejoining::unread_member(shared()),
        ),
        trial(
            "who_leaves_a_queue_as_the_last_and_comes_back_at_once_hears",
            rejoining::back_at_once(shared()),
        ),
        trial(
            "a_queue_that_goes_unused_is_a_gap_though_another_has_made_it_again",
            rejoining::made_again(shared()),
        ),
        trial(
            "an_exchange_is_waited_for_when_its_owner_comes_back_after_us",
            rejoining::owner_is_later(shared()),
        ),
        trial(
            "an_intake_whose_runtime_is_gone_ends_with_an_error",
            rejoining::runtime_gone(shared()),
        ),
        trial("a_name_of_256_bytes_is_refused", topology::long_names(shared())),
        trial("no_short_string_stands_in_a_table", topology::tables(shared())),
        trial("a_message_beyond_a_limit_costs_no_sibling_more_than_a_retry", rejected::too_large()),
        trial(
            "what_would_cost_the_channel_is_refused_and_costs_nothing",
            rejected::refused_before(shared()),
        ),
        trial(
            "a_refusal_that_may_be_anothers_is_told_as_one_that_passes",
            rejected::forbidden_topic(shared()),
        ),
        trial(
            "a_declared_exchange_that_went_unused_is_there_at_the_next_try",
            rejected::auto_delete(shared()),
        ),
        trial("a_refusal_before_megabytes_costs_no_connection", rejected::amid_megabytes(shared())),
        trial("a_full_queue_that_rejects_is_overloaded", rejected::nacked(shared())),
        trial(
            "an_exchange_that_is_declared_otherwise_is_a_conflict",
            rejected::declared_otherwise(shared()),
        ),
        trial("who_may_not_publish_is_denied", rejected::not_permitted(shared())),
        trial("an_unconfirmed_publish_says_maybe", publishing::unconfirmed(shared())),
        trial(
            "a_publish_to_a_missing_exchange_fails_alone",
            publishing::missing_exchange(shared()),
        ),
        trial(
            "many_threads_on_one_lane_each_learn_their_own_fate",
            handing::many_threads(shared()),
        ),
        trial(
            "channels_that_never_confirm_are_given_up_by_what_they_keep_together",
            clogged::channels(shared()),
        ),
        trial(
            "questions_that_are_never_confirmed_are_given_up_with_their_channel",
            clogged::desks(shared()),
        ),
        trial("who_is_woken_by_an_answer_may_publish_at_once", handing::woken(shared())),
        trial(
            "a_failure_that_nobody_asked_about_is_told_by_a_flush",
            handing::unheard_failures(shared()),
        ),
        trial(
            "a_request_to_a_missing_exchange_costs_no_other_its_reply",
            handing::requests_apart(shared()),
        ),
        trial(
            "a_request_to_a_deleted_exchange_costs_no_other_its_reply",
            requests::exchange_deleted(shared()),
        ),
        trial(
            "a_request_that_is_not_allowed_costs_no_other_its_reply",
            requests::exchange_denied(shared()),
        ),
        trial(
            "exchanges_that_nobody_waits_for_make_room_for_others",
            requests::many_exchanges(shared()),
        ),
        trial(
            "connections_that_are_given_carry_all_and_end_the_link_with_them",
            handed::given_connections(shared()),
        ),
        trial(
            "a_connection_that_is_given_and_recovers_is_refused_by_name",
            handed::given_recovering(shared()),
        ),
        trial("the_broker_shows_the_flags_of_nameko_and_no_arguments", handed::flags(shared())),
        trial("the_prefetch_of_a_subscriber_is_set", handed::subscribers_prefetch(shared())),
        trial("a_late_ack_says_revoked_and_settles_nobody_elses", consuming::late_ack(shared())),
        trial("a_lost_link_is_told_to_intakes_and_handlers", consuming::lost_link(shared())),
        trial("the_prefetch_bounds_what_the_client_holds", consuming::prefetch(shared())),
        trial("a_header_that_nests_too_deep_ends_nothing_else", poison::deep_header(shared())),
        trial(
            "a_false_user_id_is_refused_and_a_true_one_survives_a_delay",
            poison::user_id(shared()),
        ),
        trial("a_quorum_queue_counts_attempts", consuming::quorum(shared())),
        trial(
            "a_delayed_message_keeps_its_address_headers_and_properties",
            consuming::delayed(shared()),
        ),
        trial("a_delayed_copy_goes_nowhere_else_and_comes_back", parking::obeyed_headers(shared())),
        trial(
            "a_delay_in_the_layout_of_nameko_amqp_retry_is_counted_by_either_side",
            parking::as_python(shared()),
        ),
        trial("what_cannot_be_parked_is_held_before_it_goes_back", parking::unparked(shared())),
        trial("more_delays_at_once_than_channels_are_all_kept", parking::many_delays(shared())),
        trial(
            "a_delivery_that_is_held_beyond_its_queue_keeps_no_channel_open",
            parking::held_beyond_its_queue(shared()),
        ),
        trial("a_refused_first_connection_fails_at_once", links::refused_at_first(shared())),
        trial("who_waits_for_the_first_connection_gets_it", links::waits_for_the_first(shared())),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// One that needs RabbitMQ, and is skipped by name without it.
fn trial(name: &str, run: impl Future<Output = Outcome> + Send + 'static) -> Trial {
    trial_on(Builder::new_multi_thread, name, run)
}

fn trial_on(
    runtime: fn() -> Builder,
    name: &str,
    run: impl Future<Output = Outcome> + Send + 'static,
) -> Trial {
    Trial::ignorable_test(name, move || {
        let runtime = runtime().enable_all().build()?;
        conclude(runtime.block_on(async { timeout(PATIENCE, run).await? }))
    })
}

/// More than any of them takes; one of them makes minutes pass.
const PATIENCE: Duration = Duration::from_secs(600);
