//! Requests that fail cost no other request its reply.
use sinew_adapter_amqp::{
    Amqp, ExchangePolicy,
    lapin::{
        ExchangeKind,
        options::{ExchangeDeclareOptions, ExchangeDeleteOptions},
        types::FieldTable,
    },
};
use sinew_core::{
    Error, ErrorKind, Incoming, Message, Pattern, PublishExt as _, Request as _, Scope, Sent,
    Subscribe as _, Subscription,
};
use sinew_testkit::harness::rabbitmq::{RabbitMq, RabbitMqOptions};

use crate::support::{
    Other, Outcome, Shared, address, check, connect, event, failure, message, options, refused,
    soon,
};

/// A question that somebody has heard and not answered.
struct Waiting {
    replies: Incoming<Message>,
    question: Message,
    answerer: Amqp,
}

impl Waiting {
    /// `asker` asks `subject` in `scope`, or without one.
    async fn ask(
        asker: &Amqp,
        answerer: &Amqp,
        subject: &str,
        scope: Option<&Scope>,
    ) -> Outcome<Self> {
        let mut heard = Subscription::new(Pattern::parse(subject)?);
        let mut question = message(subject, "?")?;
        if let Some(scope) = scope {
            heard = heard.with_scope(scope.clone());
            question = question.with_scope(scope.clone());
        }
        let mut questions = answerer.subscribe(heard).await?;
        let replies = asker.request(question).await?;
        let question = soon("the question", questions.next_item()).await?.ok_or("it ended")??;
        Ok(Self { replies, question, answerer: answerer.clone() })
    }

    async fn gets_its_reply(mut self) -> Outcome {
        self.answerer.send(self.question.reply("yes").ok_or("nobody asked")?).await?;
        let reply = event(&mut self.replies, "the reply").await?.item().ok_or("no reply")?;
        check(reply.payload == "yes", format!("{reply:?}"))
    }

    /// It fell with the channel of another: it may be asked again, and says what the broker said.
    async fn fell(mut self, said: &str) -> Outcome {
        let err = failure(&mut self.replies).await?;
        check(
            err.kind() == ErrorKind::Disconnected
                && err.sent() == Sent::Maybe
                && err.is_transient()
                && err.to_string().contains(said)
                && std::error::Error::source(&err).is_some(),
            format!("{err:?} is transient, and says {said}"),
        )
    }
}

/// The error that `question` ends with.
async fn fate(asker: &Amqp, question: Message) -> Outcome<Error> {
    failure(&mut asker.request(question).await?).await
}

pub(crate) async fn exchange_deleted(shared: Shared) -> Outcome {
    let at = shared.address().await?;
    let other = Other::connect(at).await?;
    let (name, options) = ("exchange-deleted.events", ExchangeDeclareOptions::default());
    let declaring = other.channel.exchange_declare(
        name.into(),
        ExchangeKind::Topic,
        options,
        FieldTable::default(),
    );
    declaring.await?;
    let scope = Scope::parse(name)?;
    let (asker, answerer) = (connect(at).await?, connect(at).await?);
    let elsewhere = Waiting::ask(&asker, &answerer, "exchange-deleted", None).await?;
    let beside = Waiting::ask(&asker, &answerer, "a", Some(&scope)).await?;
    other.channel.exchange_delete(name.into(), ExchangeDeleteOptions::default()).await?;

    let question = || Ok::<_, Error>(message("a", "?")?.with_scope(scope.clone()));
    let err = fate(&asker, question()?).await?;
    check(err.kind() == ErrorKind::NotFound, format!("{err:?} says what is missing"))?;
    beside.fell("NOT_FOUND").await?;
    elsewhere.gets_its_reply().await?;
    refused(asker.request(question()?).await, ErrorKind::NotFound, Sent::No)?;
    Ok(())
}

pub(crate) async fn exchange_denied(shared: Shared) -> Outcome {
    let broker = shared.broker().await?;
    add_user(broker, "exchange-denied", "^amq\\.topic$").await?;
    let at = address(broker);
    let asker = options(at).with_user("exchange-denied", "pw").connect().await?;
    let answerer = connect(at).await?;
    let elsewhere = Waiting::ask(&asker, &answerer, "exchange-denied", None).await?;
    for _ in 0..2 {
        let question = message("a", "?")?.with_scope(Scope::parse("amq.direct")?);
        let err = fate(&asker, question).await?;
        check(err.kind() == ErrorKind::Denied, format!("{err:?} says what is not allowed"))?;
    }
    elsewhere.gets_its_reply().await
}

/// A broker of its own, which takes little.
pub(crate) async fn too_large() -> Outcome {
    const MOST: usize = 1 << 16;
    let broker = RabbitMqOptions::new().with_max_message_size(MOST).start().await?;
    let at = address(&broker);
    let (asker, answerer) = (connect(at).await?, connect(at).await?);
    let elsewhere = Waiting::ask(&asker, &answerer, "too-large", None).await?;
    let scope = Scope::parse("amq.direct")?;
    let beside = Waiting::ask(&asker, &answerer, "too-large", Some(&scope)).await?;
    let large = message("too-large", &"x".repeat(MOST + 1))?.with_scope(scope.clone());
    let err = fate(&asker, large).await?;
    check(err.kind() == ErrorKind::TooLarge, format!("{err:?} says that it is too large"))?;
    beside.fell("larger than").await?;
    elsewhere.gets_its_reply().await?;
    Waiting::ask(&asker, &answerer, "too-large", Some(&scope)).await?.gets_its_reply().await
}

/// More exchanges than are asked at once: those that nobody waits for make room, the other one stays.
pub(crate) async fn many_exchanges(shared: Shared) -> Outcome {
    const MOST: usize = 128;
    let broker = shared.broker().await?;
    add_user(broker, "many-exchanges", ".*").await?;
    let at = address(broker);
    let policy = ExchangePolicy::declare().with_auto_delete(true).with_durable(false);
    let asker = options(at).with_user("many-exchanges", "pw").with_exchanges(policy);
    let (asker, answerer) = (asker.connect().await?, connect(at).await?);
    let first = Waiting::ask(&asker, &answerer, "many-exchanges", None).await?;
    for number in 0..MOST + 8 {
        let scope = Scope::parse(&format!("many-exchanges.{number}"))?;
        let err = fate(&asker, message("a", "?")?.with_scope(scope)).await?;
        check(err.kind() == ErrorKind::NoResponders, format!("{err:?} says that nobody hears"))?;
    }
    soon("the end of what made room", async {
        loop {
            let channels = broker.list(&["list_channels", "user", "number"]).await?;
            let ours = channels.iter().filter(|it| it.to_string().contains("many-exchanges"));
            if ours.count() <= MOST {
                return Outcome::Ok(());
            }
        }
    })
    .await??;
    first.gets_its_reply().await
}

/// A user who may do anything but write to what does not match `write`.
async fn add_user(broker: &RabbitMq, name: &str, write: &str) -> Outcome {
    broker.ctl(&["add_user", name, "pw"]).await?;
    broker.ctl(&["set_permissions", name, ".*", write, ".*"]).await?;
    Ok(())
}
