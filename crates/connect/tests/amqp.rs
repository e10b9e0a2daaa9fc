//! AMQP by URL, against a real RabbitMQ; skipped by name where there is none.
use std::{sync::Arc, time::Duration};

use libtest_mimic::{Arguments, Trial};
use sinew_connect::{ConnectOptions, blocking::Blocking, connect};
use sinew_core::{
    Backend, Consumption, Error, ErrorKind, Link, Message, Pattern, PublishExt, Queue, Receipt,
    Result, Subject, Subscribe, Subscription, Verdict,
};
use sinew_testkit::{
    harness::rabbitmq::{RabbitMq, RabbitMqOptions},
    trial::trial_on,
};
use tokio::{runtime::Runtime, sync::OnceCell};

const SOON: Duration = Duration::from_secs(10);

type Body = fn(&Runtime, &RabbitMq) -> Result<()>;

fn main() {
    let trials: [(&str, Body); 5] = [
        ("a_url_of_each_scheme_leads_to_the_broker", a_url_of_each_scheme_leads_to_the_broker),
        ("the_blocking_door_leads_there_too", the_blocking_door_leads_there_too),
        ("a_login_may_stand_in_the_url_or_in_the_options", a_login_may_stand_in_either),
        ("a_virtual_host_that_is_not_there_is_not_found", a_missing_vhost_is_not_found),
        ("an_exchange_is_created_where_the_url_says_so", an_exchange_is_created),
    ];
    let shared = Arc::default();
    let trials = trials.into_iter().map(|(name, body)| trial(name, body, &shared)).collect();
    let conclusion = libtest_mimic::run(&Arguments::from_args(), trials);
    // With the last hold on it, the broker ends before we do.
    drop(shared);
    conclusion.exit()
}

/// No trial hurts the broker, which takes seconds to start: they share one.
fn trial(name: &str, body: Body, shared: &Arc<OnceCell<RabbitMq>>) -> Trial {
    let shared = Arc::clone(shared);
    trial_on(name, move |runtime| {
        let start = || RabbitMqOptions::new().start();
        body(runtime, runtime.block_on(shared.get_or_try_init(start))?)
    })
}

fn ended() -> Error {
    Error::new(ErrorKind::Closed, "test").with_detail("the intake has ended")
}

fn message(subject: &str) -> Result<Message> {
    Ok(Message::new(Subject::parse(subject)?, "hello"))
}

fn a_url_of_each_scheme_leads_to_the_broker(runtime: &Runtime, broker: &RabbitMq) -> Result<()> {
    runtime.block_on(async {
        // With the login that kombu and RabbitMQ take where none is given.
        let bare = broker.url().replace("guest:guest@", "");
        let (one, other) = (connect(&bare).await?, connect(&format!("py{bare}//")).await?);
        assert_eq!(one.capabilities().backend, "amqp");
        let wanted = Subscription::new(Pattern::parse("schemes.>")?);
        let mut heard = other.subscriber()?.subscribe(wanted).await?;
        let receipt = one.publisher()?.send(message("schemes.one")?).await?;
        assert_eq!(receipt, Receipt::Accepted);
        assert_eq!(heard.next_item().await.ok_or_else(ended)??.payload, "hello");
        one.link().drain(SOON).await?;
        other.link().drain(SOON).await
    })
}

fn the_blocking_door_leads_there_too(_: &Runtime, broker: &RabbitMq) -> Result<()> {
    let connection = Blocking::connect(&broker.url(), SOON)?;
    let wanted = Consumption::new(Queue::parse("blocking")?, Pattern::parse("blocking.#")?);
    let mut deliveries = connection.consume(wanted, SOON)?;
    assert_eq!(connection.publish(message("blocking.door")?, SOON)?, Receipt::Accepted);
    let delivery = deliveries.next_item(SOON)?.ok_or_else(ended)?;
    assert_eq!(delivery.message.payload, "hello");
    connection.settle(delivery, Verdict::Ack, SOON)?;
    let err = connection.request(message("nobody")?, SOON)?.next(SOON).err().ok_or_else(ended)?;
    assert_eq!(err.kind(), ErrorKind::NoResponders);
    connection.drain(SOON)?;
    assert!(deliveries.next(SOON)?.is_none());
    Ok(())
}

fn a_login_may_stand_in_either(runtime: &Runtime, broker: &RabbitMq) -> Result<()> {
    runtime.block_on(async {
        broker.ctl(&["add_user", "ann", "p@ss/w"]).await?;
        broker.ctl(&["set_permissions", "ann", ".*", ".*", ".*"]).await
    })?;
    let kind = |options: ConnectOptions| match Blocking::with_options(options, SOON) {
        Ok(_) => None,
        Err(err) => {
            assert!(!format!("{err} {err:?}").contains("p@ss"), "{err:?}");
            Some(err.kind())
        }
    };
    let bare = broker.url().replace("guest:guest@", "");
    let inline = ConnectOptions::new(&bare.replace("//", "//ann:p%40ss%2Fw@"))?;
    assert_eq!(kind(inline.clone()), None);
    assert_eq!(kind(ConnectOptions::new(&bare)?.with_user("ann", "p@ss/w")), None);
    // Half of one is completed by `guest`, and refused.
    assert_eq!(kind(ConnectOptions::new(&bare.replace("//", "//ann@"))?), Some(ErrorKind::Denied));
    // What is set beats what the URL says.
    assert_eq!(kind(inline.with_user("ann", "p@ss")), Some(ErrorKind::Denied));
    Ok(())
}

fn a_missing_vhost_is_not_found(runtime: &Runtime, broker: &RabbitMq) -> Result<()> {
    runtime.block_on(async {
        broker.add_vhost("shop/eu").await?;
        connect(&broker.url_of("shop/eu")).await?.link().drain(SOON).await?;
        let err = connect(&broker.url_of("nosuch")).await.err().ok_or_else(ended)?;
        assert_eq!(err.kind(), ErrorKind::NotFound);
        Ok(())
    })
}

fn an_exchange_is_created(runtime: &Runtime, broker: &RabbitMq) -> Result<()> {
    runtime.block_on(async {
        let url = format!("{}/?exchange=shop.events", broker.url());
        let assuming = connect(&url).await?;
        let err = assuming.publisher()?.send(message("a")?).await.err().ok_or_else(ended)?;
        assert_eq!(err.kind(), ErrorKind::NotFound);
        let declaring = connect(&format!("{url}&declare_exchanges")).await?;
        declaring.publisher()?.send(message("a")?).await?;
        // It is there now, as whoever assumes it finds.
        assuming.publisher()?.send(message("a")?).await?;
        assuming.link().drain(SOON).await?;
        declaring.link().drain(SOON).await
    })
}
