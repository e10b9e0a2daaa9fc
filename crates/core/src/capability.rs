//! Capabilities: what a backend can do, as data that survives erasure, and the refusals drawn from it.
use std::{fmt, time::Duration};

/// What a backend promises. One record per backend; every option that it cannot honour is refused, never ignored.
///
/// It starts from [`Capabilities::new`], which promises nothing, and is built up with the `with_*` setters, so that
/// third parties can. Enums are ordered from less to more: compare them, or let [`Capabilities::require`] do it.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Capabilities {
    /// The backend's name as users know it: `nats`, `nats jetstream`, `memory`.
    pub backend: &'static str,
    /// What a publish's answer means.
    pub confirm: Confirm,
    /// Whether a finished `subscribe` or `consume` is known to the broker.
    pub registration: Registration,
    /// How often a subscriber sees a message.
    pub delivery: Guarantee,
    /// How deliveries are settled.
    pub settlement: Settlement,
    /// Whether a delivery can be handed back, and when it returns.
    pub requeue: Requeue,
    /// What a delivery knows of earlier ones.
    pub attempts: Attempts,
    /// What order a subscriber sees.
    pub ordering: Ordering,
    /// Whether subscribers can share one copy.
    pub groups: Groups,
    /// Which patterns an intake takes.
    pub wildcards: Wildcards,
    /// Which names can be published under and bound to.
    pub names: Names,
    /// Whether subjects can live in scopes.
    pub scopes: Scopes,
    /// How headers travel.
    pub headers: HeaderCarriage,
    /// What outlives what.
    pub persistence: Persistence,
    /// Where an intake may start.
    pub starts: StartPoints,
    /// Which queue lifetimes there are.
    pub queues: QueueKinds,
    /// Whether requests can be made.
    pub request: Requests,
    /// Which properties travel.
    pub properties: PropertySet,
    /// What happens to a consumer that is too slow.
    pub overflow: Overflows,
    /// The largest payload in bytes, where known.
    pub max_payload: Option<usize>,
    /// The longest delay that `RequeueAfter` takes, where bounded.
    pub max_delay: Option<Duration>,
}

macro_rules! ordered {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$vdoc])* $variant,)+
        }

        impl $name {
            /// Every value, from less to more.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The value in words, as tables and errors show it.
            #[must_use]
            pub const fn describe(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.describe())
            }
        }
    };
}

ordered! {
    /// What a finished publish means.
    Confirm {
        /// Nothing can be published.
        #[default]
        None = "none",
        /// It left for the broker.
        Buffered = "buffered",
        /// The broker has it.
        Accepted = "accepted",
        /// It is stored, and its position known.
        Persisted = "persisted",
    }
}
ordered! {
    /// Whether a finished `subscribe` or `consume` is known to the broker.
    Registration {
        /// Nothing can be taken in.
        #[default]
        None = "none",
        /// The broker learns of it some time later: what is published at once may be missed.
        Eventual = "eventual",
        /// What is published from then on, by anyone, arrives.
        Confirmed = "confirmed",
    }
}
ordered! {
    /// How often a subscriber or a queue sees a message.
    Guarantee {
        /// Once, or not at all.
        #[default]
        AtMostOnce = "at most once",
        /// Once or more, until it is settled.
        AtLeastOnce = "at least once",
    }
}
ordered! {
    /// How deliveries are settled.
    Settlement {
        /// There is no settled intake.
        #[default]
        None = "none",
        /// By a cursor over the contiguous acknowledged prefix; requeue and delay are refused.
        Cumulative = "cumulative",
        /// Each on its own.
        Each = "each",
    }
}
ordered! {
    /// Whether a delivery can be handed back.
    Requeue {
        /// It cannot.
        #[default]
        None = "none",
        /// At once.
        Immediate = "immediate",
        /// At once, or after a delay.
        Delayed = "delayed",
    }
}
ordered! {
    /// What a delivery knows of earlier ones of the same message.
    Attempts {
        /// Nothing.
        #[default]
        Unknown = "unknown",
        /// Whether there was one.
        Flag = "redelivered flag",
        /// How many there were.
        Counted = "counted",
    }
}
ordered! {
    /// What order one subscription or queue keeps between messages of one publisher.
    Ordering {
        /// None.
        #[default]
        None = "none",
        /// Per subject or key.
        Key = "per key",
        /// As published.
        Publisher = "per publisher",
        /// One order for everyone.
        Total = "total",
    }
}
ordered! {
    /// Whether unsettled subscribers can share one copy of each message.
    Groups {
        /// They cannot.
        #[default]
        None = "none",
        /// By a group's name.
        Named = "named",
    }
}
ordered! {
    /// Which patterns an intake takes.
    Wildcards {
        /// Whole names only.
        #[default]
        None = "none",
        /// A prefix of bytes.
        Prefix = "prefix",
        /// `*` anywhere, `>` or `#` at the end.
        Tokens = "`*`, `>`, last `#`",
        /// `*` and `#` anywhere, `>` at the end.
        Full = "`*`, `>`, any `#`",
    }
}
ordered! {
    /// Which names can be published under and bound to.
    Names {
        /// Subjects.
        #[default]
        Subjects = "subjects",
        /// Any bytes.
        Any = "any bytes",
    }
}
ordered! {
    /// Whether subjects can live in a [`Scope`](crate::Scope).
    Scopes {
        /// They cannot.
        #[default]
        None = "none",
        /// As an encoded prefix of the subject.
        Prefix = "prefix",
        /// As a thing of the broker's own: an exchange.
        Native = "native",
    }
}
ordered! {
    /// How headers travel.
    HeaderCarriage {
        /// They do not.
        #[default]
        None = "none",
        /// As text: numbers, booleans and times arrive as the text of them; a list of text is a repeated header.
        Text = "text",
        /// In a frame of Sinew's own beside the payload, which others do not read.
        Framed = "framed",
        /// With their types.
        Typed = "typed",
    }
}
ordered! {
    /// What outlives what.
    Persistence {
        /// Nothing is kept for those who are absent.
        #[default]
        None = "none",
        /// Queues and logs outlive their consumers, not the broker.
        Memory = "memory",
        /// They outlive the broker.
        Disk = "disk",
    }
}
ordered! {
    /// Whether requests can be made, and what the broker knows of responders.
    Requests {
        /// They cannot.
        #[default]
        None = "none",
        /// One or many replies.
        Replies = "replies",
        /// The same; that nobody listens is known at once.
        NoResponders = "replies, no responders",
    }
}

/// A set of named flags, one bit each.
macro_rules! flags {
    ($(#[$doc:meta])* $name:ident($repr:ty) of $flag:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        /// One member of the set that [`Capabilities`] keeps of these.
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        #[non_exhaustive]
        pub enum $flag {
            $($(#[$vdoc])* $variant,)+
        }

        impl $flag {
            /// Every member there is.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The member in words.
            #[must_use]
            pub const fn describe(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }

        $(#[$doc])*
        #[derive(Clone, Copy, Default, Eq, Hash, PartialEq)]
        pub struct $name($repr);

        impl $name {
            /// The empty set.
            pub const NONE: Self = Self(0);

            /// The set of these members.
            #[must_use]
            pub const fn of(members: &[$flag]) -> Self {
                let mut bits = 0;
                let mut rest = members;
                while let [first, tail @ ..] = rest {
                    bits |= 1 << *first as $repr;
                    rest = tail;
                }
                Self(bits)
            }

            /// The set of all members.
            #[must_use]
            pub const fn all() -> Self {
                Self::of($flag::ALL)
            }

            /// Whether `member` is in it.
            #[must_use]
            pub const fn has(self, member: $flag) -> bool {
                self.0 & (1 << member as $repr) != 0
            }

            /// Its members, in the order of declaration.
            pub fn iter(self) -> impl Iterator<Item = $flag> {
                $flag::ALL.iter().copied().filter(move |member| self.has(*member))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_set().entries(self.iter()).finish()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                if *self == Self::NONE {
                    return f.write_str("none");
                }
                for (index, member) in self.iter().enumerate() {
                    if index > 0 {
                        f.write_str(", ")?;
                    }
                    f.write_str(member.describe())?;
                }
                Ok(())
            }
        }
    };
}

flags! {
    /// Where an intake may start, beside [`Start::New`](crate::Start::New), which every backend has.
    StartPoints(u8) of StartPoint {
        /// At the oldest message kept.
        Earliest = "earliest",
        /// At the newest message kept.
        Latest = "latest",
        /// At or after a position.
        Offset = "offset",
        /// At a time.
        Time = "time",
    }
}
flags! {
    /// What a queue may be asked to be.
    QueueKinds(u8) of QueueKind {
        /// Kept until somebody deletes it.
        Durable = "durable",
        /// Gone some time after its last consumer.
        UntilUnused = "until unused",
        /// For one consumer at a time.
        Exclusive = "exclusive",
    }
}
flags! {
    /// What may happen when an intake's buffer is full.
    Overflows(u8) of Overflow {
        /// The publisher, or the broker, waits.
        Block = "block",
        /// The new message is lost, and counted.
        DropNewest = "drop newest",
        /// The oldest message is lost, and counted.
        DropOldest = "drop oldest",
        /// The intake ends with an error.
        Fail = "fail",
    }
}
flags! {
    /// Which [`Properties`](crate::Properties) travel with a message.
    PropertySet(u16) of Property {
        /// Message id.
        Id = "id",
        /// A second message of the same id is dropped by the broker within its window.
        Deduplication = "deduplication by id",
        /// Correlation id.
        CorrelationId = "correlation id",
        /// Content type.
        ContentType = "content type",
        /// Content encoding.
        ContentEncoding = "content encoding",
        /// Key for ordering and partitions.
        Key = "key",
        /// Time to live.
        Ttl = "ttl",
        /// Priority.
        Priority = "priority",
        /// The publisher's time stamp.
        Timestamp = "timestamp",
        /// Returned when no queue takes it.
        MustRoute = "must-route",
        /// Refused unless the log ends where the publisher thinks.
        ExpectedPosition = "expected position",
        /// Whether it outlives the broker, said per message.
        Durable = "durable",
    }
}

impl Capabilities {
    /// Promises nothing, under `backend`'s name.
    #[must_use]
    pub const fn new(backend: &'static str) -> Self {
        Self {
            backend,
            confirm: Confirm::None,
            registration: Registration::None,
            delivery: Guarantee::AtMostOnce,
            settlement: Settlement::None,
            requeue: Requeue::None,
            attempts: Attempts::Unknown,
            ordering: Ordering::None,
            groups: Groups::None,
            wildcards: Wildcards::None,
            names: Names::Subjects,
            scopes: Scopes::None,
            headers: HeaderCarriage::None,
            persistence: Persistence::None,
            starts: StartPoints::NONE,
            queues: QueueKinds::NONE,
            request: Requests::None,
            properties: PropertySet::NONE,
            overflow: Overflows::NONE,
            max_payload: None,
            max_delay: None,
        }
    }
}

macro_rules! setters {
    ($($(#[$doc:meta])* $setter:ident($field:ident: $ty:ty)),+ $(,)?) => {
        impl Capabilities {
            $(
                $(#[$doc])*
                #[must_use]
                pub const fn $setter(mut self, $field: $ty) -> Self {
                    self.$field = $field;
                    self
                }
            )+
        }
    };
}
setters! {
    /// Default: [`Confirm::None`].
    with_confirm(confirm: Confirm),
    /// Default: [`Registration::None`].
    with_registration(registration: Registration),
    /// Default: [`Guarantee::AtMostOnce`].
    with_delivery(delivery: Guarantee),
    /// Default: [`Settlement::None`].
    with_settlement(settlement: Settlement),
    /// Default: [`Requeue::None`].
    with_requeue(requeue: Requeue),
    /// Default: [`Attempts::Unknown`].
    with_attempts(attempts: Attempts),
    /// Default: [`Ordering::None`].
    with_ordering(ordering: Ordering),
    /// Default: [`Groups::None`].
    with_groups(groups: Groups),
    /// Default: [`Wildcards::None`].
    with_wildcards(wildcards: Wildcards),
    /// Default: [`Names::Subjects`].
    with_names(names: Names),
    /// Default: [`Scopes::None`].
    with_scopes(scopes: Scopes),
    /// Default: [`HeaderCarriage::None`].
    with_headers(headers: HeaderCarriage),
    /// Default: [`Persistence::None`].
    with_persistence(persistence: Persistence),
    /// Default: empty.
    with_starts(starts: StartPoints),
    /// Default: empty.
    with_queues(queues: QueueKinds),
    /// Default: [`Requests::None`].
    with_request(request: Requests),
    /// Default: empty.
    with_properties(properties: PropertySet),
    /// Default: empty.
    with_overflow(overflow: Overflows),
    /// In bytes. Default: unknown.
    with_max_payload(max_payload: Option<usize>),
    /// Default: unbounded.
    with_max_delay(max_delay: Option<Duration>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enums_run_from_less_to_more() {
        assert!(Confirm::None < Confirm::Persisted);
        assert!(Wildcards::Tokens < Wildcards::Full);
        assert!(Wildcards::ALL.is_sorted());
    }

    #[test]
    fn a_set_has_what_it_was_made_of() {
        let starts = StartPoints::of(&[StartPoint::Earliest, StartPoint::Time]);
        assert!(starts.has(StartPoint::Time) && !starts.has(StartPoint::Offset));
        assert_eq!(starts.to_string(), "earliest, time");
        assert_eq!(StartPoints::NONE.to_string(), "none");
        assert_eq!(PropertySet::all().iter().count(), Property::ALL.len());
    }
}
