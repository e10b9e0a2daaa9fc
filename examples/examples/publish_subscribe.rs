//! Publish and subscribe over whatever broker the URL names.
//!
//! `SINEW_URL` says which; without it, the broker inside this process. The others take a feature:
//! `--features sinew-connect/nats,sinew-connect/amqp`.
#![expect(clippy::print_stdout, reason = "a program to look at")]

use std::{env, time::Duration};

use sinew_core::{Event, Link, Pattern, PublishExt, Result, Subscribe, Subscription};

#[tokio::main]
async fn main() -> Result<()> {
    let url = env::var("SINEW_URL").unwrap_or_else(|_| "memory:".to_owned());
    let backend = sinew_connect::connect(&url).await?;

    // Once this has ended, the broker delivers whatever anyone publishes.
    let wanted = Subscription::new(Pattern::parse("orders.>")?);
    let mut orders = backend.subscriber()?.subscribe(wanted).await?;

    let publisher = backend.publisher()?;
    for n in 1..=3 {
        let receipt = publisher.send_to("orders.eu.created", format!("order {n}")).await?;
        println!("published order {n}: {receipt:?}");
    }

    // A drain stops the intake; what has come in is still yielded, then it ends.
    backend.link().drain(Duration::from_secs(5)).await?;
    while let Some(event) = orders.next().await.transpose()? {
        match event {
            Event::Item(order) => println!("heard {}: {:?}", order.address, order.payload),
            other => println!("heard that {other:?}"),
        }
    }
    Ok(())
}
