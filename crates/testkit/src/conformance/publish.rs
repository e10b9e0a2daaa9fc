//! Publishing: what `Ok` means, what flushing waits for, what arrives.
use std::future::poll_fn;

use sinew_core::{Confirm, PublishExt, Receipt};

use super::{Context, During, Outcome, behaviour::behaviours, ensure, ensure_eq, when};

behaviours! { "publish";
    |it| it.confirm > Confirm::None => a_receipt_says_what_the_capability_says,
}

async fn a_receipt_says_what_the_capability_says(cx: &Context) -> Outcome {
    let publisher = cx.connect().await?.publisher()?;
    let subject = cx.subject("receipt")?;
    let receipt = publisher.send_to(subject, "x").await.during("publish")?;
    let level = match receipt {
        Receipt::Buffered => Confirm::Buffered,
        Receipt::Accepted => Confirm::Accepted,
        Receipt::Persisted(_) => Confirm::Persisted,
        _ => Confirm::None,
    };
    ensure_eq("the receipt's level", level, cx.capabilities().confirm)
}
