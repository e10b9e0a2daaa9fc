//! A service that answers, and clients that own their deadlines.
#![expect(clippy::print_stdout, reason = "a program to look at")]

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sinew_codec::Json;
use sinew_core::{
    AnyBackend, ErrorKind, IntoPayload, Link, Message, Pattern, PublishExt, Request, Result,
    Subscribe, Subscription,
};
use tokio::time::timeout;

#[derive(Debug, Deserialize, Serialize)]
struct Sum {
    terms: Vec<i64>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let backend = sinew_connect::connect("memory:").await?;
    let wanted = Subscription::new(Pattern::parse("math.sum")?);
    let requests = backend.subscriber()?.subscribe(wanted).await?;
    let service = tokio::spawn(serve(backend.clone(), requests));

    let requester = backend.requester()?;
    let question = Message::encode("math.sum", Json(Sum { terms: vec![1, 2, 39] }))?;
    let mut replies = requester.request(question).await?;
    let second = Duration::from_secs(1);
    match timeout(second, replies.next_item()).await {
        Ok(Some(reply)) => println!("the sum is {}", reply?.decode::<Json<i64>>()?.0),
        Ok(None) | Err(_) => println!("no reply within {second:?}"),
    }

    // Where the broker knows that nobody listens, it says so at once.
    let mut replies = requester.request(Message::encode("math.product", "")?).await?;
    if let Some(Err(err)) = replies.next().await
        && err.kind() == ErrorKind::NoResponders
    {
        println!("{err}");
    }

    backend.link().drain(Duration::from_secs(5)).await?;
    service.await.unwrap_or(Ok(()))
}

async fn serve(backend: AnyBackend, mut requests: sinew_core::Incoming<Message>) -> Result<()> {
    let publisher = backend.publisher()?;
    while let Some(request) = requests.next_item().await.transpose()? {
        let Json(Sum { terms }) = request.decode()?;
        let answer = Json(terms.iter().sum::<i64>()).into_payload()?;
        if let Some(reply) = request.reply(answer) {
            publisher.send(reply).await?;
        }
    }
    Ok(())
}
