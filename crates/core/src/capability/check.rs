//! Checks: whole messages, intakes and verdicts held against what a backend promises, before anything is sent.
use crate::{
    Address, Buffer, Capabilities, Confirm, Consumption, Error, ErrorKind, Groups, HeaderCarriage,
    Lifetime, Message, Names, Need, Pattern, PatternKind, QueueAddressing, QueueKind, Registration,
    Requests, Requeue, Result, Scope, Scopes, Settlement, Start, StartPoint, Subscription, Verdict,
};

impl Capabilities {
    /// Refuses a message that the backend cannot carry whole. Adapters call it first in `publish`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`] or [`ErrorKind::TooLarge`]; [`ErrorKind::InvalidOptions`] for a priority above 9.
    pub fn check_message(&self, message: &Message) -> Result<()> {
        self.require(Need::Confirm(Confirm::Buffered), "publish through another backend")?;
        self.require(
            Need::Payload(message.payload.len()),
            "send less, or store it and send where",
        )?;
        for (name, value) in message.headers.iter() {
            let need = match value.has_text() {
                true => Need::Headers(HeaderCarriage::Text),
                false => Need::Headers(HeaderCarriage::Framed),
            };
            self.require(need, "put it into the payload").map_err(|err| err.with_subject(name))?;
        }
        self.check_scope(message.address.scope())?;
        match &message.address {
            Address::Foreign(_, name) => {
                self.require(Need::Names(names_for(name)), "publish under a subject")?;
            }
            Address::Queue(_) => self.require(
                Need::QueueAddressing(QueueAddressing::ByName),
                "publish under a subject that the queue is bound to",
            )?,
            Address::Subject(..) | Address::Reply(_) => {}
        }
        if message.reply_to.is_some() || matches!(message.address, Address::Reply(_)) {
            self.require(Need::Request(Requests::Replies), "answer under an agreed subject")?;
        }
        let Some(properties) = message.properties() else { return Ok(()) };
        if properties.priority.is_some_and(|priority| priority > 9) {
            return Err(Error::new(ErrorKind::InvalidOptions, self.backend)
                .with_detail("a priority is 0 (last) to 9 (first)"));
        }
        properties.set().try_for_each(|it| {
            self.require(Need::Property(it), "leave it unset, or put it into the payload")
        })
    }

    /// Refuses a subscription that the backend cannot honour. Adapters call it first in `subscribe`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`], or [`ErrorKind::InvalidOptions`] when it wants no pattern.
    pub fn check_subscription(&self, wanted: &Subscription) -> Result<()> {
        self.require(
            Need::Registration(Registration::Eventual),
            "subscribe through another backend",
        )?;
        self.check_patterns(wanted.scope.as_ref(), &wanted.patterns)?;
        self.check_start(&wanted.start)?;
        let Buffer { overflow, .. } = wanted.buffer;
        self.require(Need::Overflow(overflow), "choose another overflow")?;
        if wanted.group.is_some() {
            self.require(Need::Groups(Groups::Named), "subscribe without a group")?;
        }
        Ok(())
    }

    /// Refuses a consumption that the backend cannot honour. Adapters call it first in `consume` and in `declare`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`], also for a queue without a pattern where nothing can be published straight to it;
    /// [`ErrorKind::InvalidOptions`] for one without a pattern in a scope, which would mean nothing.
    pub fn check_consumption(&self, wanted: &Consumption) -> Result<()> {
        self.require(
            Need::Settlement(Settlement::Cumulative),
            "subscribe, or use a backend with queues",
        )?;
        match (&*wanted.patterns, &wanted.scope) {
            ([], None) => self.require(
                Need::QueueAddressing(QueueAddressing::ByName),
                "bind the queue to a pattern",
            )?,
            (patterns, scope) => self.check_patterns(scope.as_ref(), patterns)?,
        }
        self.check_start(&wanted.start)?;
        self.require(
            Need::Queue(match wanted.lifetime {
                Lifetime::Durable => QueueKind::Durable,
                Lifetime::UntilUnused => QueueKind::UntilUnused,
            }),
            "choose another lifetime",
        )?;
        if wanted.exclusive {
            self.require(Need::Queue(QueueKind::Exclusive), "share the queue")?;
        }
        Ok(())
    }

    /// Refuses a verdict that the backend cannot honour. Adapters call it first in `settle`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`].
    pub fn check_verdict(&self, verdict: Verdict) -> Result<()> {
        let need = match verdict {
            Verdict::Ack => Need::Settlement(Settlement::Cumulative),
            Verdict::Discard => Need::Settlement(Settlement::Each),
            Verdict::Requeue => Need::Requeue(Requeue::Immediate),
            Verdict::RequeueAfter(_) => Need::Requeue(Requeue::Delayed),
        };
        self.require(need, "settle in another way")?;
        match (verdict, self.max_delay) {
            (Verdict::RequeueAfter(delay), Some(max)) if delay > max => {
                Err(Error::new(ErrorKind::Unsupported, self.backend)
                    .with_detail(format!("a delay of {delay:?}, at most {max:?} is kept")))
            }
            _ => Ok(()),
        }
    }

    fn check_patterns(&self, scope: Option<&Scope>, patterns: &[Pattern]) -> Result<()> {
        self.check_scope(scope)?;
        if patterns.is_empty() {
            return Err(Error::new(ErrorKind::InvalidOptions, self.backend)
                .with_detail("an intake needs a pattern"));
        }
        patterns.iter().try_for_each(|pattern| {
            let named = |err: Error| err.with_subject(pattern.to_string());
            let names = match pattern.kind() {
                PatternKind::Tokens(_) => Names::Subjects,
                PatternKind::Exact(name) => names_for(name),
                PatternKind::Prefix(_) => Names::Prefixes,
            };
            self.require(Need::Names(names), "use a pattern of tokens").map_err(named)?;
            self.require(
                Need::Wildcards(pattern.needs()),
                "name the subjects, or take more and filter",
            )
            .map_err(named)
        })
    }

    fn check_scope(&self, scope: Option<&Scope>) -> Result<()> {
        match scope {
            Some(_) => self.require(Need::Scopes(Scopes::Prefix), "put it into the subject"),
            None => Ok(()),
        }
    }

    fn check_start(&self, start: &Start) -> Result<()> {
        let point = match start {
            Start::New => return Ok(()),
            Start::Earliest => StartPoint::Earliest,
            Start::Latest => StartPoint::Latest,
            Start::At(_) | Start::After(_) => StartPoint::Offset,
            Start::Time(_) => StartPoint::Time,
        };
        self.require(
            Need::Start(point),
            "start with what is new, or use a backend that keeps a log",
        )
    }
}

/// What a name that is no subject takes.
fn names_for(name: &[u8]) -> Names {
    match std::str::from_utf8(name) {
        Ok(_) => Names::Text,
        Err(_) => Names::Any,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{QueueKinds, ReplyTo, Subject, Value};

    #[test]
    fn a_message_is_refused_for_what_would_be_dropped() {
        let plain = Message::new(Subject::parse("a").unwrap(), "1234");
        let able = Capabilities::new("x").with_confirm(Confirm::Buffered).with_max_payload(Some(4));
        assert!(able.check_message(&plain).is_ok());
        let refused = [
            (plain.clone().with_header("a", 1).unwrap(), ErrorKind::Unsupported),
            (plain.clone().with_priority(1), ErrorKind::Unsupported),
            (plain.clone().with_priority(10), ErrorKind::InvalidOptions),
            (plain.clone().with_reply_to(ReplyTo::new("r")), ErrorKind::Unsupported),
            (Message::to(Address::Reply(ReplyTo::new("r")), ""), ErrorKind::Unsupported),
            (plain.clone().with_scope(Scope::parse("s").unwrap()), ErrorKind::Unsupported),
            (Message::to(Address::Foreign(None, "".into()), ""), ErrorKind::Unsupported),
            (Message::new(Subject::parse("a").unwrap(), "12345"), ErrorKind::TooLarge),
        ];
        for (message, kind) in refused {
            assert_eq!(able.check_message(&message).unwrap_err().kind(), kind);
        }
        assert!(Capabilities::new("x").check_message(&plain).is_err());
    }

    #[test]
    fn a_header_without_a_text_form_is_refused_where_headers_are_text() {
        let able = Capabilities::new("x")
            .with_confirm(Confirm::Buffered)
            .with_headers(HeaderCarriage::Text);
        let check = |value: Value| {
            let message = Message::new(Subject::parse("a").unwrap(), "");
            able.check_message(&message.with_header("h", value).unwrap()).map_err(|err| err.kind())
        };
        for value in [Value::from("a"), Value::from(1), Value::from_iter(["a", "b"])] {
            assert_eq!(check(value), Ok(()));
        }
        for value in [
            Value::Null,
            Value::from(bytes::Bytes::from_static(b"a")),
            Value::List(vec![]),
            Value::from_iter([1, 2]),
            Value::Map(vec![]),
        ] {
            assert_eq!(check(value), Err(ErrorKind::Unsupported));
        }
    }

    #[test]
    fn a_verdict_is_refused_beyond_the_longest_delay() {
        let able = Capabilities::new("x")
            .with_settlement(Settlement::Each)
            .with_requeue(Requeue::Delayed)
            .with_max_delay(Some(Duration::from_secs(1)));
        assert!(able.check_verdict(Verdict::RequeueAfter(Duration::from_secs(1))).is_ok());
        assert!(able.check_verdict(Verdict::RequeueAfter(Duration::from_secs(2))).is_err());
    }

    #[test]
    fn names_are_refused_beyond_what_they_may_be_made_of() {
        let all = Capabilities::new("x")
            .with_confirm(Confirm::Buffered)
            .with_registration(Registration::Confirmed)
            .with_overflow(crate::Overflows::all())
            .with_wildcards(crate::Wildcards::Full);
        let names = [(&b"a..b"[..], Names::Text), (b"\xff", Names::Any)];
        for has in Names::ALL {
            let able = all.clone().with_names(*has);
            let takes = |pattern| able.check_subscription(&Subscription::new(pattern)).is_ok();
            for (name, needed) in names {
                let message = Message::to(Address::Foreign(None, name.into()), "");
                assert_eq!(able.check_message(&message).is_ok(), *has >= needed);
                assert_eq!(takes(Pattern::exact(name)), *has >= needed);
            }
            assert_eq!(takes(Pattern::prefix("a")), *has >= Names::Prefixes);
            assert!(takes(Pattern::exact("a.b")));
        }
    }

    #[test]
    fn an_intake_without_a_pattern_is_refused() {
        let able = Capabilities::new("x")
            .with_settlement(Settlement::Each)
            .with_queues(QueueKinds::of(&[QueueKind::Durable]));
        let queue = crate::Queue::parse("q").unwrap();
        let mut wanted = Consumption::new(queue, Subject::parse("a").unwrap());
        assert!(able.check_consumption(&wanted).is_ok());
        assert!(able.check_consumption(&wanted.clone().with_exclusive(true)).is_err());
        wanted.patterns.clear();
        assert_eq!(able.check_consumption(&wanted).unwrap_err().kind(), ErrorKind::Unsupported);
        let mut copies = Subscription::new(Subject::parse("a").unwrap());
        copies.patterns.clear();
        let able = Capabilities::new("x").with_registration(Registration::Confirmed);
        assert_eq!(able.check_subscription(&copies).unwrap_err().kind(), ErrorKind::InvalidOptions);
    }

    #[test]
    fn a_queue_is_addressed_and_left_unbound_only_where_that_leads_to_it() {
        let queue = crate::Queue::parse("q").unwrap();
        let able = Capabilities::new("x")
            .with_confirm(Confirm::Buffered)
            .with_settlement(Settlement::Each)
            .with_scopes(Scopes::Native)
            .with_queues(QueueKinds::of(&[QueueKind::Durable]));
        let message = Message::to(Address::Queue(queue.clone()), "");
        let unbound = Consumption::unbound(queue);
        for has in QueueAddressing::ALL {
            let able = able.clone().with_queue_addressing(*has);
            let takes = *has >= QueueAddressing::ByName;
            assert_eq!(able.check_message(&message).is_ok(), takes);
            assert_eq!(able.check_consumption(&unbound).is_ok(), takes);
        }
        let able = able.with_queue_addressing(QueueAddressing::ByName);
        let scoped = unbound.with_scope(Scope::parse("s").unwrap());
        assert_eq!(able.check_consumption(&scoped).unwrap_err().kind(), ErrorKind::InvalidOptions);
    }
}
