//! The flaws, and which behaviours name each.

use crate::fixture::Claims;

/// Makes the list of flaws: what each is, which behaviours name it, which others it cannot help but touch.
macro_rules! flaws {
    (@claims) => { Claims::All };
    (@claims $claims:ident) => { Claims::$claims };
    ($($(#[$doc:meta])* $flaw:ident $(on $claims:ident)? => [$($caught_by:literal),+ $(,)?]
        $(, also [$($also:literal),+ $(,)?])?;)+) => {
        /// One way to break a promise.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub(crate) enum Flaw {
            $($(#[$doc])* $flaw,)+
        }

        /// Every flaw.
        pub(crate) const SHAPES: &[Shape] = &[
            $(Shape {
                flaw: Flaw::$flaw,
                claims: flaws!(@claims $($claims)?),
                caught_by: &[$($caught_by),+],
                also: &[$($($also),+)?],
            },)+
        ];
    };
}

/// What a flaw looks like from outside.
pub(crate) struct Shape {
    pub(crate) flaw: Flaw,
    /// The adapter that has it.
    pub(crate) claims: Claims,
    /// The behaviours that name it: each of them must fail.
    pub(crate) caught_by: &'static [&'static str],
    /// What it may break besides, by accident of timing or because the promise is part of another; `topic::` means
    /// any of the topic.
    pub(crate) also: &'static [&'static str],
}

/// Behaviours that no flaw here breaks, and why.
pub(crate) const NOT_BROKEN: &[(&str, &str)] = &[
    (
        "faults::no_confirmed_message_is_lost_by_a_restart",
        "the memory adapter keeps nothing across a restart that could be lost",
    ),
    (
        "settlement::an_ack_covers_the_contiguous_prefix",
        "the memory adapter has no log whose cursor could be moved wrongly",
    ),
];

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
    SwallowsAProperty => ["properties::a_carried_property_arrives_as_it_was", "properties::an_awkward_property_arrives_as_it_was_or_is_refused"];
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
    IgnoresMustRoute => ["declare::a_must_route_message_to_a_queue_that_is_not_there_fails", "properties::a_must_route_message_that_no_queue_takes_fails"];
    /// A subject is one in all scopes.
    MixesScopes => [
        "names::scopes_stay_apart",
        "names::wildcards_stay_in_their_scope",
    ], also [
        "request::a_request_is_answered",
        "request::nobody_listening_is_told",
    ];
    /// Works on the threads of a runtime only.
    NeedsARuntime => ["runtimes::a_plain_thread_can_use_it"];
    /// Sends nothing until the outcome is awaited.
    PublishesWhenAwaited => ["publish::a_dropped_outcome_withdraws_nothing", "lifecycle::a_drain_delivers_what_was_handed_over"], also ["log::a_flush_tells_a_failure_that_nobody_read", "publish::a_flush_waits_for_the_answers"];
    /// Bounds the publishes whose outcomes are not awaited.
    UnawaitedOutcomesHoldRoom => ["publish::outcomes_that_nobody_awaits_hold_nothing_up"], also [
        "queues::a_full_consumer_loses_nothing",
    ];
    /// Publishes into the void while the broker is down.
    OkWhenNotSent => ["faults::a_publish_while_the_broker_is_down_is_honest"];
    /// Publishes into the void while the broker takes nothing.
    OkWhenNotTaken => ["blocked::a_publish_waits_or_fails_honestly_until_the_broker_takes_it"];
    /// Says that it sent nothing, and sends.
    SendsWhatItRefuses => ["blocked::a_publish_waits_or_fails_honestly_until_the_broker_takes_it"];
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
    /// A flush does not wait for one answer in fifty.
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
    IgnoresTheGroup => ["groups::members_share_and_groups_do_not", "request::one_member_of_a_group_answers"];
    /// Bounds a buffer in messages only.
    IgnoresTheBytes => ["overflow::a_buffer_is_bounded_in_bytes"];
    /// Drops the newest, whatever was asked for.
    IgnoresTheOverflow => ["overflow::a_full_buffer_fails_its_intake", "overflow::a_full_buffer_that_blocks_loses_nothing"], also ["overflow::dropping_the_oldest_is_counted_exactly"];
    /// A last `#` wants one token at least.
    TakesHashForTail => ["patterns::a_subscription_wants_what_its_pattern_matches", "patterns::a_queue_wants_what_its_pattern_matches"];
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
    ], also ["faults::"];
    /// A restart has cost nothing, it says.
    HidesGaps => ["faults::a_subscription_goes_on_after_a_restart"];
    /// What is no subject is dropped.
    DropsForeignNames => ["log::a_foreign_name_is_delivered", "names::a_foreign_name_is_published_and_wanted", "patterns::a_prefix_wants_the_bytes_it_starts_with"];
    /// Messages do not say where they are stored.
    DropsPositions => ["log::a_message_says_where_it_is_stored"];
    /// Every tenth message comes twice.
    DeliversTwice => ["publish::messages_arrive_once", "publish::many_publishers_reach_many_intakes"], also ["lifecycle::a_drain_delivers_what_was_handed_over", "ordering::every_intake_sees_one_order", "ordering::messages_of_one_publisher_keep_their_order_across_subjects", "ordering::messages_of_one_subject_keep_their_order", "overflow::a_full_buffer_that_blocks_loses_nothing", "overflow::a_slow_subscriber_disturbs_no_other", "request::a_dropped_request_leaves_nothing", "request::a_late_reply_never_resolves_a_later_request", "request::concurrent_requests_get_their_own_replies"];
    /// Every hundredth message comes late.
    Reorders => ["ordering::messages_of_one_subject_keep_their_order", "ordering::messages_of_one_publisher_keep_their_order_across_subjects", "ordering::every_intake_sees_one_order"], also ["overflow::a_full_buffer_that_blocks_loses_nothing", "request::a_dropped_request_leaves_nothing", "request::a_late_reply_never_resolves_a_later_request"];
    /// Prefetches as many as it likes.
    IgnoresThePrefetch => ["queues::the_prefetch_bounds_what_is_unsettled"];
    /// Every queue is durable.
    IgnoresTheLifetime => ["declare::declaring_a_queue_of_another_lifetime_is_a_conflict", "queues::an_unused_queue_goes", "queues::a_queue_of_another_lifetime_is_a_conflict"];
    /// A declared queue is made by its first consumer.
    DeclaresNothing => ["declare::a_declared_queue_keeps_what_is_published", "declare::a_queue_is_published_to_by_its_name"], also ["declare::"];
    /// Who looks for a queue makes it.
    MakesTheQueueItLooksFor => ["declare::a_look_makes_no_queue_and_tells_how_one_is"];
    /// One consumer more than there are.
    CountsConsumersWrong => ["declare::a_declaration_tells_how_the_queue_is"];
    /// A message to a queue is one to the subject of its name.
    TakesAQueueForASubject => ["declare::a_delivery_that_was_published_to_its_queue_comes_back_as_it_was", "declare::a_queue_is_published_to_by_its_name"], also ["declare::a_must_route_message_to_a_queue_that_is_not_there_fails"];
    /// Every queue is shared.
    IgnoresExclusive => ["queues::an_exclusive_queue_takes_one_consumer"];
    /// Acks when it delivers.
    AcksEarly => ["settlement::a_dropped_delivery_comes_back"], also ["declare::a_delivery_that_was_published_to_its_queue_comes_back_as_it_was", "faults::a_kill_revokes_deliveries", "lifecycle::a_drain_that_runs_out_of_time_says_so", "lifecycle::a_drain_waits_for_a_slow_handler", "lifecycle::a_settlement_after_the_close_fails", "queues::the_prefetch_bounds_what_is_unsettled", "settlement::a_cancelled_handler_loses_nothing", "settlement::a_delayed_requeue_is_not_early", "settlement::a_longer_delay_than_the_longest_is_refused", "settlement::a_panicking_handler_loses_nothing", "settlement::a_requeued_delivery_comes_back", "settlement::attempts_are_counted", "settlement::deliveries_are_settled_in_any_order", "settlement::many_requeues_lose_nothing"];
    /// Acks when somebody waits for it.
    AcksWhenAwaited => ["settlement::a_cancelled_ack_still_acks"];
    /// What is handed back is gone.
    RequeueForgets => ["settlement::a_requeued_delivery_comes_back", "settlement::a_dropped_delivery_comes_back", "settlement::a_panicking_handler_loses_nothing", "settlement::a_cancelled_handler_loses_nothing", "settlement::many_requeues_lose_nothing", "settlement::deliveries_are_settled_in_any_order"], also ["declare::a_delivery_that_was_published_to_its_queue_comes_back_as_it_was", "settlement::attempts_are_counted"];
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
    MixesUpReplies => ["request::a_late_reply_never_resolves_a_later_request", "request::a_dropped_request_leaves_nothing"];
    /// Only the first reply is taken.
    TakesOneReply => [
        "request::a_request_yields_many_replies",
        "request::a_request_is_answered",
    ], also ["request::"];
    /// A request that nobody hears waits.
    HidesThatNobodyListens => ["request::nobody_listening_is_told"];
    /// Whoever stops watching closes the link for all.
    AWatchThatEndsClosesTheLink => ["lifecycle::dropping_a_clone_closes_no_other"], also [
        "faults::a_killed_broker_is_told_to_watchers",
        "lifecycle::a_watch_starts_with_the_state_of_now",
    ];
    /// A drain does not wait for handlers.
    DrainCutsHandlers => ["lifecycle::a_drain_waits_for_a_slow_handler"], also [
        "lifecycle::a_drain_that_runs_out_of_time_says_so",
    ];
    /// A drain takes as long as it takes.
    DrainsForEver => ["lifecycle::a_drain_that_runs_out_of_time_says_so", "faults::a_drain_on_a_frozen_broker_ends"], also ["lifecycle::a_settlement_after_the_close_fails"];
    /// A second drain is an error.
    ClosesOnce => ["lifecycle::closing_twice_is_closing_once"];
    /// What comes with each message beside what was sent.
    AddsAHeader => ["headers::no_headers_arrive_as_none"], also [
        "headers::every_name_is_carried",
        "headers::many_and_long_headers_arrive",
        "properties::a_carried_property_arrives_as_it_was",
    ];
    /// White space around a header's text does not travel.
    TrimsHeaders => ["headers::an_awkward_value_arrives_as_it_was_or_is_refused"];
    /// A header of a property's name is that property.
    TakesHeadersForProperties => ["headers::names_of_properties_are_only_names"];
    /// Numbers, booleans and times do not become text.
    LeavesNumbersAsTheyAre on Text => ["headers::numbers_booleans_and_times_arrive_as_text"];
    /// A header that is no text stays behind.
    DropsWhatTextCannotCarry on Text => ["headers::what_text_cannot_carry_is_refused"];
    /// Of a repeated header the first travels.
    KeepsOneOfAList on Text => ["headers::a_list_of_text_arrives_as_one"], also [
        "headers::an_awkward_value_arrives_as_it_was_or_is_refused",
        "headers::what_text_cannot_carry_is_refused",
    ];
    /// White space around an id does not travel.
    TrimsProperties => ["properties::an_awkward_property_arrives_as_it_was_or_is_refused"];
    /// A second message of one id is a message.
    ForgetsIds => ["properties::a_second_message_of_one_id_is_dropped"];
    /// An id that is only a name is taken for a promise.
    TakesAnIdForADuplicate on Bare => ["properties::messages_of_one_id_all_arrive"];
    /// The largest payload loses its last byte.
    CutsTheLargestPayload => [
        "payloads::the_largest_payload_arrives",
        "payloads::the_largest_payload_with_headers_arrives_or_is_refused",
    ], also ["payloads::one_byte_more_than_the_largest_is_refused"];
    /// A message of nothing is nothing to send.
    SwallowsEmptyPayloads => ["payloads::an_empty_payload_arrives_empty"];
    /// Asks for anything, is told that it has it.
    AcceptsWhatItLacks on Bare => [
        "declare::a_kind_of_queue_that_the_backend_has_not_is_not_declared",
        "declare::an_unbound_queue_is_refused",
        "declare::publishing_to_a_queue_is_refused",
        "groups::a_group_is_refused",
        "headers::headers_are_refused",
        "log::a_start_that_the_backend_has_not_is_refused",
        "names::a_foreign_name_cannot_be_published",
        "names::a_scope_is_refused",
        "overflow::an_overflow_that_the_backend_has_not_is_refused",
        "patterns::a_pattern_beyond_the_capability_is_refused",
        "properties::a_property_that_is_not_carried_is_refused",
        "queues::a_kind_of_queue_that_the_backend_has_not_is_refused",
        "settlement::a_verdict_that_the_backend_has_not_is_refused",
    ];
    /// A delay that is too long is cut.
    TakesAnyDelay => ["settlement::a_longer_delay_than_the_longest_is_refused"];
    /// No pattern is a pattern that nothing matches.
    TakesNoPatternForNothing => [
        "intake::a_subscription_without_a_pattern_is_refused",
    ];
    /// A position of another log is one of this.
    TakesAnyPosition => ["log::a_position_of_another_log_is_refused"];
    /// All but the first pattern are dropped.
    TakesTheFirstPattern => ["patterns::several_patterns_want_what_any_of_them_matches"], also ["patterns::a_message_that_several_patterns_match_arrives_once"];
    /// Who wants a name wants what starts with it.
    TakesNamesForPrefixes => ["publish::subjects_stay_apart"], also [
        "names::a_foreign_name_is_published_and_wanted",
        "patterns::",
        "publish::unusual_subjects_stay_apart",
    ];
    /// Names differ in more than case.
    MixesCase => ["publish::unusual_subjects_stay_apart"], also [
        "names::a_foreign_name_is_published_and_wanted",
        "patterns::a_prefix_wants_the_bytes_it_starts_with",
    ];
    /// Names of groups and queues are spelled in fewer letters.
    SimplifiesNames => ["groups::groups_of_similar_names_stay_apart", "queues::queues_of_similar_names_stay_apart"], also ["declare::a_delivery_that_was_published_to_its_queue_comes_back_as_it_was", "declare::a_must_route_message_to_a_queue_that_is_not_there_fails", "declare::a_queue_is_published_to_by_its_name", "patterns::a_queue_wants_what_its_pattern_matches"];
    /// Each message is at the same place.
    PositionsStandStill => ["publish::positions_rise_within_one_log"], also ["log::"];
    /// Nobody else hears it.
    EachConnectionIsAlone => ["publish::a_publish_reaches_other_connections"], also [
        "blocked::",
        "declare::",
        "faults::",
        "intake::",
        "lifecycle::",
        "log::a_foreign_name_is_delivered",
        "ordering::",
        "overflow::",
        "publish::many_publishers_reach_many_intakes",
        "queues::",
        "request::",
    ];
    /// Works on the threads of the runtime that connected it only.
    NeedsItsOwnRuntime => [
        "runtimes::another_runtime_can_use_it",
        "runtimes::it_outlives_the_runtime_that_only_used_it",
    ], also ["runtimes::a_plain_thread_can_use_it"];
    /// The record that it shows is not the one that it was sold with.
    ClaimsAnotherRecord => ["lifecycle::the_capabilities_are_those_of_the_connected_backend"];
    /// Waits for a broker that is away, whatever becomes of it.
    WaitsForEverWhenNotSent => ["faults::what_was_in_flight_at_a_kill_is_answered"], also ["faults::a_publish_while_the_broker_is_down_is_honest"];
    /// Drops what is published to a frozen broker.
    SwallowsWhileFrozen => ["faults::a_frozen_broker_delays_and_loses_nothing"], also ["faults::a_drain_on_a_frozen_broker_ends"];
    /// What is asked of a frozen broker is forgotten.
    HangsOnceFrozen => ["faults::nothing_hangs_for_ever_on_a_frozen_broker"];
    /// Replies say nothing of the link.
    RequestsHearOfNoFault => ["faults::a_request_in_flight_at_a_kill_does_not_hang"];
    /// A drain waits for the broker.
    DrainsOnceUp => ["faults::a_drain_while_the_broker_is_down_ends"];
    /// A drain that nobody awaits stops.
    DrainsWhileAwaited => ["lifecycle::a_dropped_drain_goes_on"];
    /// What was received is dropped at the end.
    EndsDiscard => [
        "intake::a_stopped_intake_yields_what_it_received",
        "lifecycle::a_drain_yields_what_was_received",
    ];
    /// A watch starts with what happens next.
    WatchesStartLater => ["lifecycle::a_watch_starts_with_the_state_of_now"], also [
        "faults::",
        "runtimes::a_plain_thread_can_use_it",
        "runtimes::another_runtime_can_use_it",
    ];
    /// An eventual registration never comes.
    NeverRegisters on Bare => ["intake::a_registration_takes_effect_in_the_end"], also [
        "faults::",
        "headers::no_headers_arrive_as_none",
        "intake::",
        "lifecycle::",
        "log::a_foreign_name_is_delivered",
        "ordering::",
        "overflow::a_full_buffer_that_blocks_loses_nothing",
        "overflow::one_message_is_let_in_however_large",
        "patterns::",
        "payloads::",
        "properties::",
        "publish::",
        "request::",
        "runtimes::a_plain_thread_can_use_it",
        "runtimes::another_runtime_can_use_it",
    ];
    /// Consuming ends before it is known to the broker.
    RegistersQueuesLater => ["intake::what_is_published_right_after_consuming_arrives"];
    /// All subscribers are one group.
    SubscribersShare => ["intake::each_subscriber_gets_a_copy"], also [
        "intake::intakes_that_end_at_once_disturb_no_other",
        "log::",
        "ordering::every_intake_sees_one_order",
        "overflow::a_slow_subscriber_disturbs_no_other",
        "patterns::a_subscription_wants_what_its_pattern_matches",
        "publish::many_publishers_reach_many_intakes",
    ];
    /// New is what was there already.
    StartsWithThePast => ["intake::a_new_intake_sees_no_past"], also ["faults::", "intake::", "lifecycle::", "ordering::", "overflow::", "patterns::", "publish::", "request::"];
    /// Who has unsubscribed cannot come back.
    SubscribesOnce => ["intake::a_dropped_intake_ends_and_another_takes_its_place"], also [
        "groups::groups_of_similar_names_stay_apart",
        "groups::members_share_and_groups_do_not",
        "intake::each_subscriber_gets_a_copy",
        "intake::intakes_that_end_at_once_disturb_no_other",
        "lifecycle::after_a_close_everything_is_closed",
        "log::",
        "overflow::a_slow_subscriber_disturbs_no_other",
    ];
    /// What a dropped intake would get is kept for it.
    IntakesOutliveTheirDrop => ["groups::a_group_goes_on_when_a_member_leaves"], also [
        "declare::a_declaration_tells_how_the_queue_is",
        "intake::a_stopped_intake_yields_what_it_received",
        "queues::an_exclusive_queue_takes_one_consumer",
    ];
    /// A consumer that ends acks what is on its way to it.
    EndsTakeWhatIsOnItsWay => ["queues::what_a_dropped_consumer_held_goes_to_others"], also ["queues::nothing_is_lost_across_reopening", "settlement::many_requeues_lose_nothing"];
    /// Each intake that ends takes a message of another's with it.
    AnEndCostsAnotherAMessage => ["intake::intakes_that_end_at_once_disturb_no_other"], also [
        "intake::",
        "log::each_new_intake_sees_the_whole_log",
        "names::a_foreign_name_is_published_and_wanted",
        "publish::many_publishers_reach_many_intakes",
    ];
    /// Drops what is larger than the buffer.
    SwallowsWhatOutgrowsTheBuffer => ["overflow::one_message_is_let_in_however_large"];
    /// Who reads slowly slows everyone.
    TheSlowestSetsThePace => ["overflow::a_slow_subscriber_disturbs_no_other"], also ["overflow::"];
    /// Each consumer of a queue gets everything.
    EachConsumerHasAQueue => [
        "queues::competing_consumers_share_a_queue",
        "queues::each_competing_consumer_gets_work",
    ], also [
        "declare::",
        "lifecycle::a_drain_waits_for_a_slow_handler",
        "properties::an_expired_message_is_not_delivered",
        "queues::",
        "settlement::deliveries_are_settled_in_any_order",
    ];
    /// Queues that want the same are one.
    OneQueuePerPattern => ["queues::each_queue_gets_a_copy"], also [
        "declare::",
        "log::an_intake_starts_at_and_after_a_position",
        "log::each_new_intake_sees_the_whole_log",
        "names::scopes_stay_apart",
        "names::wildcards_stay_in_their_scope",
        "ordering::every_intake_sees_one_order",
        "publish::many_publishers_reach_many_intakes",
        "publish::unusual_subjects_stay_apart",
        "queues::queues_of_similar_names_stay_apart",
    ];
    /// A queue goes with its last consumer.
    QueuesGoWithTheirConsumers => [
        "queues::a_queue_survives_its_consumer",
        "queues::nothing_is_lost_across_reopening",
    ], also [
        "declare::",
        "lifecycle::",
        "properties::an_expired_message_is_not_delivered",
        "queues::a_queue_of_another_lifetime_is_a_conflict",
        "settlement::deliveries_are_settled_in_any_order",
    ];
    /// One delivery too many is acked and dropped.
    SwallowsWhatComesLate => ["queues::a_full_consumer_loses_nothing"];
    /// One ack in twenty does not arrive.
    AcksAreLost => ["settlement::an_acked_delivery_is_gone", "blocked::consumers_go_on_while_publishers_wait"], also ["declare::", "faults::", "headers::", "intake::", "lifecycle::", "log::", "ordering::", "patterns::", "properties::", "publish::", "queues::", "settlement::"];
    /// A delivery cannot be settled without its intake.
    AcksEndWithTheIntake => ["settlement::a_delivery_can_be_acked_after_its_intake_ended"], also ["queues::what_a_dropped_consumer_held_goes_to_others"];
    /// What cannot be handed back is done.
    AcksWhatItRefuses on Bare => [
        "settlement::a_verdict_that_the_backend_has_not_is_refused",
        "settlement::what_was_not_acked_comes_back_to_the_next_consumer",
    ], also ["settlement::deliveries_are_settled_in_any_order"];
    /// Counts attempts that it does not promise to count.
    TellsAttempts on Bare => ["settlement::attempts_are_unknown"];
    /// Flags no second delivery.
    FlagsNothing on Text => ["settlement::a_second_delivery_is_flagged"];
    /// The reply address does not travel.
    DropsTheReplyAddress => ["request::a_request_can_be_passed_on"];
    /// Two requests get each other's replies.
    CrossesReplies => ["request::concurrent_requests_get_their_own_replies"], also ["faults::a_request_in_flight_at_a_kill_does_not_hang", "request::"];
    /// Tells of nobody where it cannot know.
    KnowsThatNobodyListens on Bare => ["request::nobody_listening_is_silence"];
}
