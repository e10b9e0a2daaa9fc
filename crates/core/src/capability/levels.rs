//! Capabilities that come in degrees: enums ordered from less to more.
use std::fmt;

macro_rules! ordered {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$vdoc])* $variant,)+
        }

        impl $name {
            /// All of them, from less to more.
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
        /// By a cursor over the contiguous acknowledged prefix; requeue and delay are refused. An ack is answered once
        /// it is noted: the cursor passes it when all before it are acked.
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
        /// Any text, as far as it is no longer than the backend takes.
        Text = "any text",
        /// Any bytes.
        Any = "any bytes",
        /// Any bytes, wanted by what they start with, too: [`Pattern::prefix`](crate::Pattern::prefix).
        Prefixes = "any bytes, byte prefixes",
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
    /// Whether a message can be published straight to a queue: [`Address::Queue`](crate::Address::Queue).
    QueueAddressing {
        /// A queue gets what it is bound to, and nothing else.
        #[default]
        None = "none",
        /// By the queue's name; so a queue can be made that is bound to nothing.
        ByName = "by name",
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
        /// The same; a note can stand in the reply address.
        Noted = "replies, no responders, notes",
    }
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
}
