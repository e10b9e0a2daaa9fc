//! A queue whose workers settle what they take: what fails comes back, and is given up after three attempts.
#![expect(clippy::print_stdout, reason = "a program to look at")]

use std::time::Duration;

use sinew_core::{
    Attempt, Consume, Consumption, Delivery, Error, ErrorKind, Link, Pattern, PublishExt, Queue,
    Result, Verdict,
};

#[tokio::main]
async fn main() -> Result<()> {
    let backend = sinew_connect::connect("memory:").await?;
    let wanted = Consumption::new(Queue::parse("thumbnails")?, Pattern::parse("images.*")?);
    let mut jobs = backend.consumer()?.consume(wanted.with_prefetch(4)).await?;

    let publisher = backend.publisher()?;
    for image in ["cat.png", "broken.png", "dog.png"] {
        publisher.send_to("images.uploaded", image).await?;
    }

    let mut open = 3;
    while open > 0 {
        let job = jobs.next_item().await.transpose()?.ok_or_else(ended)?;
        let verdict = work(&job);
        println!("{:?} (attempt {:?}): {verdict:?}", job.message.payload, job.attempt);
        open -= u32::from(matches!(verdict, Verdict::Ack | Verdict::Discard));
        // A delivery that is dropped unsettled, by a panic say, is requeued, too.
        job.settle(verdict).await?;
    }
    backend.link().drain(Duration::from_secs(5)).await
}

fn work(job: &Delivery) -> Verdict {
    match job.attempt {
        _ if job.message.payload != "broken.png" => Verdict::Ack,
        Attempt::Number(3..) => Verdict::Discard,
        _ => Verdict::RequeueAfter(Duration::from_millis(50)),
    }
}

fn ended() -> Error {
    Error::new(ErrorKind::Closed, "consume").with_detail("the queue ended")
}
