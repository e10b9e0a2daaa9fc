//! What an ask and its answers say of themselves in their headers: text, on every carriage.
use std::{fmt, time::Duration};

use sinew_core::{Error, Headers, ReplyTo, Result, Subject};

use crate::{AgentError, AgentId, AnyAgent, DispatcherOptions, ask_id::AskId};

/// The ask's own name, which a cancellation repeats. In an ask, after a `/`, how long the asker still waits, in whole
/// milliseconds: a length of time, so that clocks need not agree. Then [`FRAMED`] where its asker reads that, and the agent
/// that it is for alone. One text for all of it, which stands in the reply address where a note can: each agent parses what
/// headers there are.
const ASK: &str = "sinew-ask";
/// In place of what is not said.
const UNSAID: &str = "-";
/// An answer may come without headers, in a frame of its ask.
const FRAMED: &str = "f";
/// Which agent answers.
const AGENT: &str = "sinew-agent";
/// The code of an agent's error, whose text is the payload.
const ERROR: &str = "sinew-error";
/// Whether another agent, or another time, may do better.
const RETRYABLE: &str = "sinew-error-retryable";
/// What an agent says of itself when it is pinged.
const STATE: &str = "sinew-state";

/// The longest that an ask can say it waits: whoever says more is heard as this.
const MAX_REMAINING: Duration = DispatcherOptions::MAX_DEADLINE;

/// What an agent is told whose asker wants no answer any more.
const CANCEL: &str = "sinew.cancel";
/// What an agent is asked that shall only say that it is there.
const PING: &str = "sinew.ping";

/// What an ask says of itself. Somebody's plain request says none of it, and is an ask all the same.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct AskHead {
    /// Its name; without one it cannot be cancelled, nor say how long it waits.
    pub id: Option<AskId>,
    /// How long its asker still waits, where that is known.
    pub remaining: Option<Duration>,
    /// Who alone is to answer, where it is not for all.
    pub to: Option<AgentId>,
    /// Whether its asker reads [frames](AskId::frame).
    pub is_framed: bool,
}

impl AskHead {
    /// Of an ask that waits for so long.
    #[must_use]
    pub fn new(id: AskId, remaining: Duration) -> Self {
        Self { id: Some(id), remaining: Some(remaining), to: None, is_framed: false }
    }

    /// For this agent alone.
    #[must_use]
    pub fn with_to(mut self, to: Option<AgentId>) -> Self {
        self.to = to;
        self
    }

    /// Its asker reads frames.
    #[must_use]
    pub fn framed(mut self) -> Self {
        self.is_framed = true;
        self
    }

    /// Reads what a message says of it: in the note of its reply address, and else in its header.
    #[must_use]
    pub fn of(headers: &Headers, reply_to: Option<&ReplyTo>) -> Self {
        let said = reply_to.and_then(ReplyTo::note).or_else(|| headers.text(ASK));
        said.map_or_else(Self::default, Self::parse)
    }

    /// Reads what is there. What makes no sense counts as not said; nobody waits for longer than [`DispatcherOptions::MAX_DEADLINE`].
    #[must_use]
    pub fn read(headers: &Headers) -> Self {
        Self::of(headers, None)
    }

    fn parse(said: &str) -> Self {
        // The agent's name is last, and may hold what stands between.
        let mut words = said.splitn(4, AskId::SEPARATOR);
        // Without a name that makes sense it cannot be taken back; it is asked all the same.
        let Ok(id) = AskId::parse(words.next().unwrap_or_default()) else { return Self::default() };
        let remaining = words.next().unwrap_or_default().parse::<i64>().ok().map(|millis| {
            Duration::from_millis(u64::try_from(millis).unwrap_or(0)).min(MAX_REMAINING)
        });
        let is_framed = words.next() == Some(FRAMED);
        let to = words.next().and_then(|name| AgentId::parse(name).ok());
        Self { id: Some(id), remaining, to, is_framed }
    }

    /// Says it in a header. A part of a millisecond is dropped: an agent may think that it has less time, never more.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidHeader`](sinew_core::ErrorKind::InvalidHeader) where the headers are full.
    pub fn write(&self, headers: &mut Headers) -> Result<()> {
        self.note().map_or(Ok(()), |said| headers.insert(ASK, said).map(drop))
    }

    /// The same as a note for a reply address; `None` where there is nothing to say.
    #[must_use]
    pub fn note(&self) -> Option<String> {
        let id = self.id.as_ref()?;
        let mut said = String::with_capacity(AskId::MAX_LEN);
        said.push_str(id.as_str());
        let mut say = |word: &str| {
            said.push(AskId::SEPARATOR);
            said.push_str(word);
        };
        let has_more = self.to.is_some() || self.is_framed;
        match self.remaining.map(|it| it.min(MAX_REMAINING).as_millis()) {
            Some(millis) => say(&millis.to_string()),
            None if has_more => say(UNSAID),
            None => {}
        }
        if has_more {
            say(if self.is_framed { FRAMED } else { UNSAID });
        }
        if let Some(to) = &self.to {
            say(to.as_str());
        }
        Some(said)
    }
}

/// What a reply says of itself. One that says nothing is a plain responder's.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct ReplyHead {
    /// Who answers, where that is said.
    pub agent: Option<AgentId>,
    /// Why it cannot; without it the payload is the answer.
    pub error: Option<AgentError>,
}

impl ReplyHead {
    /// Of what `agent` answers.
    #[must_use]
    pub fn new(agent: AgentId) -> Self {
        Self { agent: Some(agent), error: None }
    }

    /// It failed.
    #[must_use]
    pub fn with_error(mut self, error: AgentError) -> Self {
        self.error = Some(error);
        self
    }

    /// Reads what is there. A reply whose code makes no sense is an error all the same: [`AgentError::FAILED`].
    #[must_use]
    pub fn read(headers: &Headers, payload: &[u8]) -> Self {
        let agent = headers.text(AGENT).and_then(|name| AgentId::parse(name).ok());
        let error = headers.value(ERROR).map(|_| {
            let code = headers.text(ERROR).filter(|code| is_word(code, AgentError::MAX_CODE));
            // No more of a peer's bytes is looked at than is kept.
            let text = payload.get(..AgentError::MAX_MESSAGE).unwrap_or(payload);
            let text = String::from_utf8_lossy(text).into_owned();
            AgentError::new(code.unwrap_or(AgentError::FAILED).to_owned(), text)
                .with_retryable(headers.text(RETRYABLE) == Some("true"))
        });
        Self { agent, error }
    }

    /// Says it; what is returned stands in place of the answer's payload.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidHeader`](sinew_core::ErrorKind::InvalidHeader) where the headers are full.
    pub fn write(&self, headers: &mut Headers) -> Result<Option<String>> {
        if let Some(agent) = &self.agent {
            headers.insert(AGENT, agent.as_str())?;
        }
        let Some(error) = &self.error else { return Ok(None) };
        headers.insert(ERROR, error.code())?;
        headers.insert(RETRYABLE, if error.is_retryable() { "true" } else { "false" })?;
        Ok(Some(error.message().to_owned()))
    }
}

/// What an agent says when it is pinged.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum AgentState {
    /// It would take an ask.
    Ready,
    /// It has as much to do as it may, and would reject one.
    Busy,
}

impl AgentState {
    pub(crate) fn of(agent: &AnyAgent) -> Self {
        let (load, limit) = agent.limit();
        if load.running() < limit { Self::Ready } else { Self::Busy }
    }

    /// As it stands in a header.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Busy => "busy",
        }
    }

    /// Reads what is there; a word that is not known, or none, is an agent that is there all the same.
    #[doc(hidden)]
    #[must_use]
    pub fn read(headers: &Headers) -> Self {
        match headers.text(STATE) {
            Some("busy") => Self::Busy,
            _ => Self::Ready,
        }
    }

    /// Says it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidHeader`](sinew_core::ErrorKind::InvalidHeader) where the headers are full.
    #[doc(hidden)]
    pub fn write(self, headers: &mut Headers) -> Result<()> {
        headers.insert(STATE, self.as_str()).map(drop)
    }
}

impl fmt::Display for AgentState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The subjects of one topic: where it is asked, where an ask is taken back, where its agents are pinged.
#[derive(Clone, Debug)]
pub(crate) struct Subjects {
    pub(crate) ask: Subject,
    pub(crate) cancel: Subject,
    pub(crate) ping: Subject,
}

impl Subjects {
    /// # Errors
    ///
    /// [`ErrorKind::InvalidSubject`](sinew_core::ErrorKind::InvalidSubject) where the topic is too long for it.
    pub(crate) fn of(topic: &Subject) -> Result<Self> {
        Ok(Self {
            ask: topic.clone(),
            cancel: Self::cancel(topic)?,
            ping: Subject::parse(&format!("{PING}.{topic}"))?,
        })
    }

    /// The longest of them.
    ///
    /// # Errors
    ///
    /// As [`Subjects::of`].
    pub(crate) fn cancel(topic: &Subject) -> Result<Subject> {
        Subject::parse(&format!("{CANCEL}.{topic}")).map_err(|err| {
            Error::new(err.kind(), "parse topic").with_subject(topic.as_str()).with_detail(
                "longer than 242 bytes, beyond which `sinew.cancel.` does not fit before it",
            )
        })
    }
}

/// Whether it is one word that any carriage takes as it is.
fn is_word(text: &str, longest: usize) -> bool {
    (1..=longest).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sinew_core::{ErrorKind, Value};

    use super::*;

    fn headers(sent: Vec<(&str, String)>) -> Headers {
        Headers::from_wire(sent.into_iter().map(|(name, text)| (name, Value::from(text)))).0
    }

    /// Something near to what a peer would send, and far from it.
    fn sent() -> impl Strategy<Value = Headers> {
        let name = prop::sample::select(vec![ASK, AGENT, ERROR, RETRYABLE, STATE]);
        let text = prop_oneof![
            "[!-~]{0,70}",
            "\\PC{0,20}",
            "[!-.0-~]{1,64}/-?[0-9]{1,20}",
            "[!-.0-~]{1,64}/(-|[0-9]{1,5})/(-|f|[a-z]{0,3})(/[!-~]{0,130})?",
            Just("true".to_owned()),
            Just("a.b".to_owned()),
        ];
        proptest::collection::vec((name, text), 0..8).prop_map(headers)
    }

    #[test]
    fn an_ask_is_for_the_agent_of_that_name_though_a_slash_is_in_it() {
        let to = AgentId::parse("rack/7").unwrap();
        let ask = AskHead::new(AskId::parse("m.1").unwrap(), Duration::from_secs(1));
        let note = ask.with_to(Some(to.clone())).note().unwrap();
        assert_eq!(note, "m.1/1000/-/rack/7");
        let reply_to = ReplyTo::new(format!("inbox.1{}{note}", ReplyTo::NOTE));
        assert_eq!(AskHead::of(&Headers::default(), Some(&reply_to)).to, Some(to));
    }

    proptest! {
        #[test]
        fn what_an_ask_says_arrives(
            id in "[!-.0-~]{1,64}", millis in 0..100_000_000_u64, part in 0..1_000_000_u32, to in "[a-z/~]{0,10}",
            framed: bool,
        ) {
            let remaining = Duration::from_millis(millis) + Duration::from_nanos(part.into());
            let head = AskHead::new(AskId::parse(&id).unwrap(), remaining).with_to(AgentId::parse(&to).ok());
            let head = if framed { head.framed() } else { head };
            let mut headers = Headers::default();
            head.write(&mut headers).unwrap();
            let read = AskHead::read(&headers);
            prop_assert_eq!((&read.id, &read.to, read.is_framed), (&head.id, &head.to, framed));
            let whole = Duration::from_millis(millis).min(MAX_REMAINING);
            prop_assert_eq!(read.remaining, Some(whole));
        }

        #[test]
        fn what_an_agent_says_arrives(
            agent in "[a-z]{1,10}", code in "[!-~]{1,64}", text in "\\PC{0,2000}", retryable: bool,
        ) {
            let agent = AgentId::parse(&agent).unwrap();
            let error = AgentError::new(code, text).with_retryable(retryable);
            for head in [ReplyHead::new(agent.clone()), ReplyHead::new(agent).with_error(error)] {
                let mut headers = Headers::default();
                let payload = head.write(&mut headers).unwrap().unwrap_or_default();
                let read = ReplyHead::read(&headers, payload.as_bytes());
                prop_assert_eq!(read, head);
            }
        }

        #[test]
        fn whatever_is_sent_is_read_as_what_can_be_said(headers in sent(), payload: Vec<u8>) {
            let ask = AskHead::read(&headers);
            prop_assert!(ask.remaining.is_none_or(|it| it <= MAX_REMAINING));
            let mut again = Headers::default();
            ask.write(&mut again).unwrap();
            prop_assert_eq!(AskHead::read(&again), ask);

            let reply = ReplyHead::read(&headers, &payload);
            prop_assert_eq!(reply.error.is_some(), headers.value(ERROR).is_some());
            let mut again = Headers::default();
            let text = reply.write(&mut again).unwrap().unwrap_or_default();
            prop_assert_eq!(ReplyHead::read(&again, text.as_bytes()), reply);

            let state = AgentState::read(&headers);
            let mut again = Headers::default();
            state.write(&mut again).unwrap();
            prop_assert_eq!(AgentState::read(&again), state);
        }
    }

    #[test]
    fn a_plain_request_and_a_plain_reply_say_nothing() {
        assert_eq!(AskHead::read(&Headers::default()), AskHead::default());
        assert_eq!(ReplyHead::read(&Headers::default(), b"42"), ReplyHead::default());
    }

    #[test]
    fn time_that_is_over_is_none_left() {
        for (said, left) in [("0", 0), ("-1", 0), ("-9223372036854775808", 0), ("250", 250)] {
            let read = AskHead::read(&headers(vec![(ASK, format!("x/{said}"))]));
            assert_eq!(read.remaining, Some(Duration::from_millis(left)), "{said}");
        }
        for said in ["", "soon", "1.5", "99999999999999999999", " 1", "-", "- 1"] {
            let read = AskHead::read(&headers(vec![(ASK, format!("x/{said}"))]));
            assert_eq!((read.remaining, read.id), (None, AskId::parse("x").ok()), "{said}");
        }
        // Whoever gives no name says nothing.
        assert_eq!(AskHead::read(&headers(vec![(ASK, "/250".to_owned())])), AskHead::default());
    }

    #[test]
    fn whom_it_is_for_stands_last_and_a_name_that_no_agent_has_is_none() {
        for (said, to) in [
            ("x/250/f/visual-7", Some("visual-7")),
            ("x/250/-/rack/7", Some("rack/7")),
            ("x/250/-/visual-7/and more", None),
            ("x/-/-/visual-7", Some("visual-7")),
            ("x/250", None),
            ("x/250/f", None),
            ("x/250/f/", None),
            ("x/250/f/a.b", None),
        ] {
            let read = AskHead::read(&headers(vec![(ASK, said.to_owned())]));
            assert_eq!(read.to.as_ref().map(AgentId::as_str), to, "{said}");
            assert_eq!(read.is_framed, said.contains("/f"), "{said}");
        }
    }

    #[test]
    fn an_error_whose_code_or_text_makes_no_sense_is_one_all_the_same() {
        let read = ReplyHead::read(&headers(vec![(ERROR, "no word".to_owned())]), &[0xff; 9000]);
        let error = read.error.unwrap();
        assert_eq!((error.code(), error.is_retryable()), (AgentError::FAILED, false));
        assert_eq!(error.message().len(), AgentError::MAX_MESSAGE - 1);
    }

    #[test]
    fn a_topic_that_leaves_no_room_is_refused() {
        let topic = |length| Subject::parse(&"t".repeat(length)).unwrap();
        assert!(Subjects::of(&topic(242)).is_ok());
        let refused = Subjects::of(&topic(243)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidSubject);
        assert_eq!(refused.subject(), Some(topic(243).as_str()), "{refused}");
        assert!(refused.to_string().contains("242"), "{refused}");
    }
}
