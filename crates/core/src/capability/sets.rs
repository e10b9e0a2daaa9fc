//! Capabilities that are there or not, each on its own: sets of flags.
use std::fmt;

/// A set of named flags, one bit each.
macro_rules! flags {
    ($(#[$doc:meta])* $name:ident($repr:ty) of $flag:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        /// One member of the set that [`Capabilities`](crate::Capabilities) keeps of these.
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

        impl fmt::Display for $flag {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.describe())
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
                    member.fmt(f)?;
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
        /// What kind of message it is.
        Type = "type",
        /// The application that made it.
        AppId = "application id",
        /// The user who published it.
        UserId = "user id",
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_what_it_was_made_of() {
        let starts = StartPoints::of(&[StartPoint::Earliest, StartPoint::Time]);
        assert!(starts.has(StartPoint::Time) && !starts.has(StartPoint::Offset));
        assert_eq!(starts.to_string(), "earliest, time");
        assert_eq!(StartPoints::NONE.to_string(), "none");
        assert_eq!(PropertySet::all().iter().count(), Property::ALL.len());
    }
}
