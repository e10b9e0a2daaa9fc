//! Service events as nameko has them on AMQP: queues per handler kind, exchanges, headers, names, must-route.
use std::{collections::BTreeSet, sync::Mutex, time::Duration};

use bytes::Bytes;
use sinew_core::{
    Address, Attempt, Backend, BoxFuture, Capabilities, Confirm, Consume, Consumption, Delivery,
    Error, ErrorKind, HeaderCarriage, Incoming, Lifetime, Message, Names, Pattern, PatternKind,
    Pending, PropertySet, Publish, Queue, QueueKind, QueueKinds, QueueStatus, Receipt,
    Registration, Requeue, Result, Scope, Scopes, Sent, Settle, Settlement, Value, Verdict,
    Wildcards,
};

use crate::support::{Feed, lock, now};

/// What goes over the wire, as far as nameko's own tests look at it.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Frame {
    ExchangeDeclare { name: String, auto_delete: bool },
    QueueDeclare { name: String, durable: bool, exclusive: bool, auto_delete: bool },
    QueueBind { exchange: String, key: String },
    Qos(u16),
    Publish { exchange: String, key: String, mandatory: bool, expiration: Option<String> },
}

/// An option of this broker alone, so it lives on the adapter: `core` knows scopes, not how exchanges come to be.
#[derive(Clone, Copy, Default)]
enum ExchangePolicy {
    /// `DECLARE_EVENT_EXCHANGES: false`.
    #[default]
    Assume,
    Declare {
        /// `AUTO_DELETE_EVENT_EXCHANGES`.
        auto_delete: bool,
    },
}

#[derive(Default)]
struct Amqp {
    policy: ExchangePolicy,
    exchanges: Mutex<BTreeSet<String>>,
    bound: Mutex<BTreeSet<(String, String)>>,
    frames: Mutex<Vec<Frame>>,
}

impl Amqp {
    fn with_policy(policy: ExchangePolicy) -> Self {
        Self { policy, ..Self::default() }
    }

    fn send(&self, frame: Frame) {
        lock(&self.frames).push(frame);
    }

    fn exchange(&self, scope: Option<&Scope>) -> Result<String> {
        let Some(scope) = scope else { return Ok("amq.topic".to_owned()) };
        let name = scope.to_string();
        if let ExchangePolicy::Declare { auto_delete } = self.policy {
            self.send(Frame::ExchangeDeclare { name: name.clone(), auto_delete });
            lock(&self.exchanges).insert(name.clone());
        }
        match lock(&self.exchanges).contains(&name) {
            true => Ok(name),
            false => Err(Error::new(ErrorKind::NotFound, "amqp exchange").with_subject(name)),
        }
    }
}

impl Backend for Amqp {
    fn capabilities(&self) -> Capabilities {
        Capabilities::new("amqp")
            .with_confirm(Confirm::Accepted)
            .with_registration(Registration::Confirmed)
            .with_settlement(Settlement::Each)
            .with_requeue(Requeue::Immediate)
            .with_wildcards(Wildcards::Full)
            .with_names(Names::Any)
            .with_scopes(Scopes::Native)
            .with_headers(HeaderCarriage::Typed)
            .with_queues(QueueKinds::of(&[
                QueueKind::Durable,
                QueueKind::UntilUnused,
                QueueKind::Exclusive,
            ]))
            .with_properties(PropertySet::all())
    }
}

impl Publish for Amqp {
    async fn publish(&self, message: Message) -> Result<Pending<Receipt>> {
        self.capabilities().check_message(&message)?;
        let exchange = self.exchange(message.address.scope())?;
        let key = match &message.address {
            Address::Subject(_, subject) => subject.to_string(),
            Address::Foreign(_, name) => text(name)?,
            other => return Err(Error::new(ErrorKind::Unsupported, other.to_string())),
        };
        let properties = message.properties();
        let mandatory = properties.is_some_and(|it| it.must_route);
        let ttl = properties.and_then(|it| it.ttl);
        self.send(Frame::Publish {
            exchange: exchange.clone(),
            key: key.clone(),
            mandatory,
            expiration: ttl.map(|ttl| ttl.as_millis().to_string()),
        });
        let is_returned = mandatory && !lock(&self.bound).contains(&(exchange, key.clone()));
        // `basic.return`, then `basic.ack`: the broker had it, and gave it back.
        Ok(Pending::later(async move {
            match is_returned {
                false => Ok(Receipt::Accepted),
                true => Err(Error::new(ErrorKind::Unroutable, "amqp publish")
                    .with_subject(key)
                    .with_sent(Sent::Yes)),
            }
        }))
    }

    async fn flush(&self) -> Result<()> {
        Ok(())
    }
}

impl Consume for Amqp {
    async fn consume(&self, wanted: Consumption) -> Result<Incoming<Delivery>> {
        self.capabilities().check_consumption(&wanted)?;
        let exchange = self.exchange(wanted.scope.as_ref())?;
        self.send(Frame::QueueDeclare {
            name: wanted.queue.to_string(),
            durable: true,
            exclusive: wanted.exclusive,
            auto_delete: wanted.lifetime == Lifetime::UntilUnused,
        });
        let feed = Feed::new();
        for pattern in &wanted.patterns {
            let key = match pattern.kind() {
                PatternKind::Tokens(tokens) => tokens.to_owned(),
                PatternKind::Exact(name) => text(name)?,
                _ => return Err(Error::new(ErrorKind::Unsupported, "amqp bind")),
            };
            lock(&self.bound).insert((exchange.clone(), key.clone()));
            let address = Address::from_wire(wanted.scope.clone(), key.clone());
            self.send(Frame::QueueBind { exchange: exchange.clone(), key });
            feed.push(Delivery::new(Message::to(address, "{}"), Attempt::Unknown, Acked));
        }
        self.send(Frame::Qos(wanted.prefetch));
        Ok(feed.incoming())
    }

    async fn declare(&self, wanted: Consumption) -> Result<QueueStatus> {
        self.capabilities().check_consumption(&wanted)?;
        Ok(QueueStatus::new().with_messages(0).with_consumers(0))
    }

    async fn inspect(&self, _: &Queue) -> Result<QueueStatus> {
        Ok(QueueStatus::new().with_messages(0).with_consumers(0))
    }
}

struct Acked;

impl Settle for Acked {
    fn settle(self: Box<Self>, _: Verdict) -> Pending<()> {
        Pending::ready(Ok(()))
    }

    fn revoked(&self) -> BoxFuture<'static, ()> {
        Box::pin(std::future::pending())
    }
}

fn text(name: &Bytes) -> Result<String> {
    String::from_utf8(name.to_vec())
        .map_err(|err| Error::new(ErrorKind::Unsupported, "amqp key").with_source(err))
}

/// The tag of an AMQP field, as nameko's side reads it.
fn field(value: &Value) -> String {
    match value {
        Value::Null => "V".to_owned(),
        Value::Bool(_) => "t".to_owned(),
        Value::Integer(_) => "l".to_owned(),
        Value::Float(_) => "d".to_owned(),
        Value::Time(_) => "T".to_owned(),
        Value::List(list) => format!("A[{}]", list.iter().map(field).collect::<String>()),
        Value::Map(map) => {
            format!("F{{{}}}", map.iter().map(|(_, value)| field(value)).collect::<String>())
        }
        _ => "S".to_owned(),
    }
}

/// The pattern's side, as the crate `events` will have it.
enum Kind {
    Pool,
    Singleton,
    Broadcast(&'static str),
}

fn handler(event_type: &str, kind: &Kind, is_reliable: bool) -> Result<Consumption> {
    let queue = match kind {
        Kind::Pool => format!("evt-src-{event_type}--svc.method"),
        Kind::Singleton => format!("evt-src-{event_type}"),
        Kind::Broadcast(identifier) => format!("evt-src-{event_type}--svc.method-{identifier}"),
    };
    let lifetime = if is_reliable { Lifetime::Durable } else { Lifetime::UntilUnused };
    Ok(Consumption::new(Queue::parse(&queue)?, binding(event_type))
        .with_scope(Scope::parse("src.events")?)
        .with_lifetime(lifetime)
        .with_exclusive(matches!(kind, Kind::Broadcast(_)) && !is_reliable)
        .with_prefetch(10))
}

/// nameko binds with the event type as it is: a pattern where it is one, else a name.
fn binding(event_type: &str) -> Pattern {
    Pattern::parse(event_type).unwrap_or_else(|_| Pattern::exact(event_type.to_owned()))
}

fn event(event_type: &str) -> Result<Message> {
    let scope = Scope::parse("src.events")?;
    Ok(Message::to(Address::from_wire(Some(scope), event_type.to_owned()), "{}"))
}

#[test]
fn each_handler_kind_declares_the_queue_that_nameko_declares() {
    let cases = [
        (Kind::Pool, true, "evt-src-order paid--svc.method", false, false),
        (Kind::Pool, false, "evt-src-order paid--svc.method", false, true),
        (Kind::Singleton, true, "evt-src-order paid", false, false),
        (Kind::Singleton, false, "evt-src-order paid", false, true),
        (Kind::Broadcast("node-1"), true, "evt-src-order paid--svc.method-node-1", false, false),
        (Kind::Broadcast("5f2c"), false, "evt-src-order paid--svc.method-5f2c", true, true),
    ];
    for (kind, is_reliable, name, exclusive, auto_delete) in cases {
        let amqp = Amqp::with_policy(ExchangePolicy::Declare { auto_delete: false });
        let wanted = handler("order paid", &kind, is_reliable).unwrap();
        drop(now(amqp.consume(wanted)).unwrap().unwrap());
        let exchange = "src.events".to_owned();
        assert_eq!(
            *lock(&amqp.frames),
            [
                Frame::ExchangeDeclare { name: exchange.clone(), auto_delete: false },
                Frame::QueueDeclare {
                    name: name.to_owned(),
                    durable: true,
                    exclusive,
                    auto_delete
                },
                Frame::QueueBind { exchange, key: "order paid".to_owned() },
                Frame::Qos(10),
            ]
        );
    }
}

#[test]
fn the_exchange_policy_is_the_adapters_and_a_missing_exchange_is_told() {
    let assumed = Amqp::with_policy(ExchangePolicy::Assume);
    let err = now(assumed.publish(event("paid").unwrap())).unwrap().unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NotFound);
    assert_eq!(*lock(&assumed.frames), []);

    let old_fleet = Amqp::with_policy(ExchangePolicy::Declare { auto_delete: true });
    drop(now(old_fleet.publish(event("paid").unwrap())).unwrap().unwrap());
    assert_eq!(
        lock(&old_fleet.frames).first(),
        Some(&Frame::ExchangeDeclare { name: "src.events".to_owned(), auto_delete: true })
    );
}

#[test]
fn the_call_stack_travels_as_an_array_of_long_strings() {
    let message = event("paid")
        .unwrap()
        .with_header("nameko.call_id_stack", Value::from_iter(["a.m.1", "b.m.2"]))
        .unwrap()
        .with_header("nameko.user_id", 7)
        .unwrap();
    let fields: Vec<_> = message.headers.iter().map(|(_, value)| field(value)).collect();
    assert_eq!(fields, ["A[SS]", "l"]);
    // What would kill a nameko container can be told from it on the way in.
    let poison = event("paid").unwrap().with_header("nameko.call_id_stack", Value::Null).unwrap();
    assert_eq!(poison.headers.value("nameko.call_id_stack"), Some(&Value::Null));
    assert_eq!(poison.headers.texts("nameko.call_id_stack").count(), 0);
}

#[test]
fn empty_and_spaced_event_types_are_published_bound_and_delivered() {
    let amqp = Amqp::with_policy(ExchangePolicy::Declare { auto_delete: false });
    for event_type in ["", "order paid", "a..b", "a>b"] {
        let wanted = handler(event_type, &Kind::Pool, true).unwrap();
        assert_eq!(wanted.patterns, [Pattern::exact(event_type)]);
        let mut incoming = now(amqp.consume(wanted)).unwrap().unwrap();
        let delivery = now(incoming.next_item()).unwrap().unwrap().unwrap();
        // The exchange is known even where the key is no subject.
        assert_eq!(delivery.message.address, event(event_type).unwrap().address);
        assert_eq!(delivery.message.address.scope(), Some(&Scope::parse("src.events").unwrap()));
        now(delivery.ack()).unwrap().unwrap();

        let outcome = now(amqp.publish(event(event_type).unwrap().with_must_route(true)));
        assert_eq!(now(outcome.unwrap().unwrap()).unwrap().unwrap(), Receipt::Accepted);
    }
    assert_eq!(binding("a.*"), Pattern::parse("a.*").unwrap());
}

#[test]
fn a_must_route_message_that_comes_back_fails_as_sent() {
    let amqp = Amqp::with_policy(ExchangePolicy::Declare { auto_delete: false });
    let unbound = || event("nobody").unwrap();
    let must = unbound().with_must_route(true).with_ttl(Duration::from_secs(5));
    let err = now(now(amqp.publish(must)).unwrap().unwrap()).unwrap().unwrap_err();
    assert_eq!((err.kind(), err.sent()), (ErrorKind::Unroutable, Sent::Yes));
    assert!(matches!(
        lock(&amqp.frames).last(),
        Some(Frame::Publish { mandatory: true, expiration: Some(it), .. }) if it == "5000"
    ));

    let may = now(now(amqp.publish(unbound())).unwrap().unwrap()).unwrap();
    assert_eq!(may.unwrap(), Receipt::Accepted);
}
