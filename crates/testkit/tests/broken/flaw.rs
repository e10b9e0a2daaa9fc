//! The flaws, and which behaviours name each.

/// Makes the list of flaws: what each is, which behaviours name it, which others it cannot help but touch.
macro_rules! flaws {
    ($($(#[$doc:meta])* $flaw:ident => [$($caught_by:literal),+ $(,)?] $(, also [$($also:literal),+ $(,)?])?;)+) => {
        /// One way to break a promise.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub(crate) enum Flaw {
            $($(#[$doc])* $flaw,)+
        }

        /// Every flaw.
        pub(crate) const SHAPES: &[Shape] = &[
            $(Shape {
                flaw: Flaw::$flaw,
                caught_by: &[$($caught_by),+],
                also: &[$($($also),+)?],
            },)+
        ];
    };
}

/// What a flaw looks like from outside.
pub(crate) struct Shape {
    pub(crate) flaw: Flaw,
    /// The behaviours that name it: each of them must fail.
    pub(crate) caught_by: &'static [&'static str],
    /// What it may break besides, by accident of timing or because the promise is part of another.
    pub(crate) also: &'static [&'static str],
}

flaws! {
    /// The last header does not travel.
    SwallowsHeaders => [
        "headers::text_arrives_as_it_was",
        "headers::every_type_arrives_as_it_was",
        "headers::many_and_long_headers_arrive",
        "headers::every_name_is_carried",
    ], also [
        "headers::an_awkward_value_arrives_as_it_was_or_is_refused",
        "headers::names_of_properties_are_only_names",
        "request::a_request_is_answered",
    ];
    /// The correlation id does not travel.
    SwallowsAProperty => ["properties::a_carried_property_arrives_as_it_was"], also [
        "properties::an_awkward_property_arrives_as_it_was_or_is_refused",
    ];
    /// White space at the end of a payload does not travel.
    TrimsPayloads => ["payloads::any_bytes_arrive_as_they_were"], also [
        "request::a_request_is_answered",
    ];
    /// What is too large is cut to size.
    CutsLargePayloads => ["payloads::one_byte_more_than_the_largest_is_refused"];
    /// Appends whatever the publisher thinks.
    IgnoresTheExpectedPosition => ["log::the_expected_position_is_checked"], also [
        "log::a_flush_tells_a_failure_that_nobody_read",
    ];
    /// Delivers what has expired.
    IgnoresTheTimeToLive => ["properties::an_expired_message_is_not_delivered"];
    /// Drops what no queue takes.
    IgnoresMustRoute => ["properties::a_must_route_message_that_no_queue_takes_fails"];
    /// A subject is one in all scopes.
    MixesScopes => [
        "names::scopes_stay_apart",
        "names::wildcards_stay_in_their_scope",
    ], also [
        "request::a_request_is_answered",
        "request::nobody_listening_is_told",
    ];
    /// Works on the threads of a runtime only.
    NeedsItsRuntime => ["runtimes::a_plain_thread_can_use_it"];
    /// Sends nothing until the outcome is awaited.
    PublishesWhenAwaited => ["publish::a_dropped_outcome_withdraws_nothing"], also [
        "lifecycle::a_drain_delivers_what_was_handed_over",
        "log::a_flush_tells_a_failure_that_nobody_read",
        "publish::a_flush_waits_for_the_answers",
    ];
    /// Bounds the publishes whose outcomes are not awaited.
    UnawaitedOutcomesHoldRoom => ["publish::outcomes_that_nobody_awaits_hold_nothing_up"], also [
        "queues::a_full_consumer_loses_nothing",
    ];
    /// Publishes into the void while the broker is down.
    OkWhenNotSent => ["faults::a_publish_while_the_broker_is_down_is_honest"];
    /// Publishes into the void once closed.
    OkAfterTheClose => ["lifecycle::after_a_close_everything_is_closed"], also [
        "faults::a_drain_on_a_frozen_broker_ends",
        "faults::a_drain_while_the_broker_is_down_ends",
        "lifecycle::a_drain_that_runs_out_of_time_says_so",
        "lifecycle::a_dropped_drain_goes_on",
    ];
    /// Says of a failed publish that it arrived.
    LiesAboutWhatWasSent => ["faults::a_publish_while_the_broker_is_down_is_honest"], also [
        "faults::what_was_in_flight_at_a_kill_is_answered",
    ];
    /// Accepted is all it says.
    ClaimsLessThanItKnows => ["publish::a_receipt_says_what_the_capability_says"], also [
        "log::a_flush_tells_a_failure_that_nobody_read",
        "log::the_expected_position_is_checked",
        "publish::positions_rise_within_one_log",
    ];
    /// A flush does not wait.
    FlushesNothing => ["publish::a_flush_waits_for_the_answers"];
    /// A flush tells of no failure.
    ForgetsWhatNobodyRead => ["log::a_flush_tells_a_failure_that_nobody_read"];
    /// Every subscription starts now.
    IgnoresTheStart => [
        "log::each_new_intake_sees_the_whole_log",
        "log::an_intake_starts_with_the_latest_message",
        "log::an_intake_starts_at_and_after_a_position",
        "log::an_intake_starts_at_a_time",
    ], also [
        "log::a_position_of_another_log_is_refused",
    ];
    /// Each member gets a copy.
    IgnoresTheGroup => ["groups::members_share_and_groups_do_not"], also [
        "request::one_member_of_a_group_answers",
    ];
    /// Bounds a buffer in messages only.
    IgnoresTheBytes => ["overflow::a_buffer_is_bounded_in_bytes"];
    /// Drops the newest, whatever was asked for.
    IgnoresTheOverflow => ["overflow::a_full_buffer_fails_its_intake"], also [
        "overflow::a_full_buffer_that_blocks_loses_nothing",
        "overflow::dropping_the_oldest_is_counted_exactly",
    ];
    /// A last `#` wants one token at least.
    TakesHashForTail => ["patterns::a_subscription_wants_what_its_pattern_matches"];
    /// A message comes once for each pattern.
    DeliversOncePerPattern => ["patterns::a_message_that_several_patterns_match_arrives_once"], also [
        "patterns::several_patterns_want_what_any_of_them_matches",
    ];
    /// Subscribing ends before it is known to the broker.
    RegistersLater => ["intake::what_is_published_right_after_subscribing_arrives"];
    /// A full buffer loses without a word.
    LosesSilently => [
        "overflow::dropping_the_newest_is_counted_exactly",
        "overflow::dropping_the_oldest_is_counted_exactly",
    ], also [
        "overflow::a_buffer_is_bounded_in_bytes",
    ];
    /// One more than were lost.
    CountsLossesWrong => [
        "overflow::dropping_the_newest_is_counted_exactly",
        "overflow::dropping_the_oldest_is_counted_exactly",
    ], also [
        "overflow::a_buffer_is_bounded_in_bytes",
    ];
    /// Neither intakes nor watchers learn that the link is down.
    HidesTheLink => [
        "faults::a_killed_broker_is_told_to_watchers",
        "faults::a_subscription_goes_on_after_a_restart",
        "faults::a_queue_goes_on_after_a_restart",
    ], also [
        "faults::a_drain_while_the_broker_is_down_ends",
        "faults::a_kill_revokes_deliveries",
        "faults::a_publish_while_the_broker_is_down_is_honest",
        "faults::a_request_in_flight_at_a_kill_does_not_hang",
    ];
    /// A restart has cost nothing, it says.
    HidesGaps => ["faults::a_subscription_goes_on_after_a_restart"];
    /// What is no subject is dropped.
    DropsForeignNames => ["log::a_foreign_name_is_delivered"], also [
        "names::a_foreign_name_is_published_and_wanted",
        "patterns::a_prefix_wants_the_bytes_it_starts_with",
    ];
    /// Messages do not say where they are stored.
    DropsPositions => ["log::a_message_says_where_it_is_stored"];
    /// Every tenth message comes twice.
    DeliversTwice => ["publish::messages_arrive_once"], also [
        "lifecycle::a_drain_delivers_what_was_handed_over",
        "ordering::every_intake_sees_one_order",
        "ordering::messages_of_one_publisher_keep_their_order_across_subjects",
        "ordering::messages_of_one_subject_keep_their_order",
        "overflow::a_full_buffer_that_blocks_loses_nothing",
        "overflow::a_slow_subscriber_disturbs_no_other",
        "publish::many_publishers_reach_many_intakes",
        "request::a_dropped_request_leaves_nothing",
        "request::a_late_reply_never_resolves_a_later_request",
        "request::concurrent_requests_get_their_own_replies",
    ];
    /// Every hundredth message comes late.
    Reorders => [
        "ordering::messages_of_one_subject_keep_their_order",
        "ordering::messages_of_one_publisher_keep_their_order_across_subjects",
    ], also [
        "ordering::every_intake_sees_one_order",
        "overflow::a_full_buffer_that_blocks_loses_nothing",
        "request::a_dropped_request_leaves_nothing",
        "request::a_late_reply_never_resolves_a_later_request",
    ];
    /// Prefetches as many as it likes.
    IgnoresThePrefetch => ["queues::the_prefetch_bounds_what_is_unsettled"];
    /// Every queue is durable.
    IgnoresTheLifetime => ["queues::an_unused_queue_goes"], also [
        "queues::a_queue_of_another_lifetime_is_a_conflict",
    ];
    /// Every queue is shared.
    IgnoresExclusive => ["queues::an_exclusive_queue_takes_one_consumer"];
    /// Acks when it delivers.
    AcksEarly => ["settlement::a_dropped_delivery_comes_back"], also [
        "faults::a_kill_revokes_deliveries",
        "lifecycle::a_drain_that_runs_out_of_time_says_so",
        "lifecycle::a_drain_waits_for_a_slow_handler",
        "lifecycle::a_settlement_after_the_close_fails",
        "queues::the_prefetch_bounds_what_is_unsettled",
        "settlement::a_cancelled_handler_loses_nothing",
        "settlement::a_delayed_requeue_is_not_early",
        "settlement::a_longer_delay_than_the_longest_is_refused",
        "settlement::a_panicking_handler_loses_nothing",
        "settlement::a_requeued_delivery_comes_back",
        "settlement::attempts_are_counted",
        "settlement::deliveries_are_settled_in_any_order",
        "settlement::many_requeues_lose_nothing",
    ];
    /// Acks when somebody waits for it.
    AcksWhenAwaited => ["settlement::a_cancelled_ack_still_acks"];
    /// What is handed back is gone.
    RequeueForgets => [
        "settlement::a_requeued_delivery_comes_back",
        "settlement::a_dropped_delivery_comes_back",
        "settlement::a_panicking_handler_loses_nothing",
        "settlement::a_cancelled_handler_loses_nothing",
    ], also [
        "settlement::attempts_are_counted",
        "settlement::deliveries_are_settled_in_any_order",
        "settlement::many_requeues_lose_nothing",
    ];
    /// A delay is a hundredth as long.
    RequeuesEarly => ["settlement::a_delayed_requeue_is_not_early"];
    /// What is discarded comes again.
    DiscardRequeues => ["settlement::a_discarded_delivery_never_comes_back"];
    /// Each attempt is the first.
    AttemptsAreStuck => ["settlement::attempts_are_counted"];
    /// Nobody learns that a delivery was taken back.
    NeverRevokes => ["faults::a_kill_revokes_deliveries"], also [
        "lifecycle::a_drain_that_runs_out_of_time_says_so",
    ];
    /// An ack is Ok, even across a restart.
    OkWhenRevoked => [
        "lifecycle::a_settlement_after_the_close_fails",
        "faults::a_kill_revokes_deliveries",
    ];
    /// Requests are promised, and not there.
    HidesAContract => ["lifecycle::a_contract_is_there_or_refused"], also [
        "faults::a_request_in_flight_at_a_kill_does_not_hang",
        "faults::nothing_hangs_for_ever_on_a_frozen_broker",
        "request::a_dropped_request_leaves_nothing",
        "request::a_late_reply_never_resolves_a_later_request",
        "request::a_request_can_be_passed_on",
        "request::a_request_is_answered",
        "request::a_request_with_a_reply_address_is_refused",
        "request::a_request_yields_many_replies",
        "request::concurrent_requests_get_their_own_replies",
        "request::nobody_listening_is_told",
        "request::one_member_of_a_group_answers",
        "runtimes::a_plain_thread_can_use_it",
        "runtimes::another_runtime_can_use_it",
    ];
    /// Takes requests that answer to somebody else.
    TakesAForeignReplyAddress => ["request::a_request_with_a_reply_address_is_refused"];
    /// Late replies come to the request after.
    MixesUpReplies => ["request::a_late_reply_never_resolves_a_later_request"], also [
        "request::a_dropped_request_leaves_nothing",
    ];
    /// Only the first reply is taken.
    TakesOneReply => ["request::a_request_yields_many_replies"], also [
        "request::a_request_is_answered",
    ];
    /// A request that nobody hears waits.
    HidesThatNobodyListens => ["request::nobody_listening_is_told"];
    /// Whoever stops watching closes the link for all.
    AWatchThatEndsClosesTheLink => ["lifecycle::dropping_a_clone_closes_no_other"], also [
        "lifecycle::a_watch_starts_with_the_state_of_now",
    ];
    /// A drain does not wait for handlers.
    DrainCutsHandlers => ["lifecycle::a_drain_waits_for_a_slow_handler"], also [
        "lifecycle::a_drain_that_runs_out_of_time_says_so",
    ];
    /// A drain takes as long as it takes.
    DrainsForEver => ["lifecycle::a_drain_that_runs_out_of_time_says_so"], also [
        "faults::a_drain_on_a_frozen_broker_ends",
        "lifecycle::a_settlement_after_the_close_fails",
    ];
    /// A second drain is an error.
    ClosesOnce => ["lifecycle::closing_twice_is_closing_once"];
}
