//! zz
use sinew_adapter_nats::*;
use sinew_core::*;
#[tokio::test]
async fn zz() {
    let js = JetStreamOptions::new("ZZ").with_create(async_nats::jetstream::stream::Config{subjects: vec!["zz.>".into()], ..Default::default()}).connect(NatsOptions::new("nats://127.0.0.1:14999")).await.unwrap();
    let mut c = js.consume(Consumption::new(Queue::parse("q 1").unwrap(), Pattern::parse("zz.#").unwrap())).await.unwrap();
    println!("{:?}", js.send_to("zz.a", "1").await);
    let d = c.next_item().await.unwrap().unwrap();
    println!("{d:?}");
    println!("{:?}", d.ack().await);
}
