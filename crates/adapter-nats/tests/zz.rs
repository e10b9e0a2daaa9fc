//! zz
use sinew_adapter_nats::*;
use sinew_core::*;
#[tokio::test]
async fn zz() {
    let js = JetStreamOptions::new("ZZ").with_create(async_nats::jetstream::stream::Config{subjects: vec!["zz.>".into()], ..Default::default()}).connect(NatsOptions::new("nats://127.0.0.1:14999")).await.unwrap();
    let mut c = js.subscribe(Subscription::new(Pattern::parse("zz.#").unwrap()).with_buffer(Buffer::default().with_bytes(1).with_messages(1).with_overflow(Overflow::Block))).await.unwrap();
    for _ in 0..3 {
    println!("{:?}", js.send(Message::new(Subject::parse("zz.a").unwrap(), vec![0u8;100])).await);
    println!("{:?}", tokio::time::timeout(std::time::Duration::from_secs(2), c.next()).await);
    }
}
