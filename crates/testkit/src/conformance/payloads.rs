//! Payloads: any bytes, from none to the most that the backend takes.
use bytes::Bytes;
use sinew_core::{Backend, ErrorKind, PublishExt, Sent};

use super::{
    Context, During, Outcome,
    behaviour::behaviours,
    ensure, ensure_eq,
    support::{message, refused},
    when,
};

behaviours! { "payloads";
    when::carries => an_empty_payload_arrives_empty,
    when::carries => any_bytes_arrive_as_they_were,
    when::carries => the_largest_payload_arrives,
    when::publishes => one_byte_more_than_the_largest_is_refused,
    when::carries_headers => the_largest_payload_with_headers_arrives_or_is_refused,
}

async fn an_empty_payload_arrives_empty(cx: &Context) -> Outcome {
    arrives(cx, "empty", Bytes::new()).await
}

async fn any_bytes_arrive_as_they_were(cx: &Context) -> Outcome {
    let every_byte: Bytes = (0..=u8::MAX).cycle().take(64 << 10).collect();
    arrives(cx, "binary", every_byte).await?;
    arrives(cx, "protocol", Bytes::from_static(b"\r\nPUB x 1\r\n\r\n\0\xff\xfe+OK\r\n")).await
}

async fn the_largest_payload_arrives(cx: &Context) -> Outcome {
    let largest = cx.connect().await?.capabilities().max_payload;
    arrives(cx, "largest", filled(largest.unwrap_or(UNBOUNDED))).await
}

async fn one_byte_more_than_the_largest_is_refused(cx: &Context) -> Outcome {
    let backend = cx.connect().await?;
    let Some(largest) = backend.capabilities().max_payload else { return Ok(()) };
    let (publisher, subject) = (backend.publisher()?, cx.subject("too-large")?);
    let sent = publisher.send(message(&subject, filled(largest + 1))?).await;
    let err = refused("a payload one byte too large", sent, &[ErrorKind::TooLarge])?;
    ensure_eq("sent", err.sent(), Sent::No)?;
    // The link is none the worse for it.
    cx.send(&publisher, message(&subject, "small")?).await.map(drop)
}

/// Some brokers count headers into the bound, and close the connection of whoever exceeds it.
async fn the_largest_payload_with_headers_arrives_or_is_refused(cx: &Context) -> Outcome {
    let backend = cx.connect().await?;
    let largest = backend.capabilities().max_payload.unwrap_or(UNBOUNDED);
    let (publisher, subject) = (backend.publisher()?, cx.subject("headers")?);
    let mut intakes = cx.intakes_of(&backend, &subject).await?;
    let large = message(&subject, filled(largest))?.with_header("size", "x".repeat(100))?;
    match cx.soon("an answer", publisher.send(large)).await? {
        Ok(_) => {
            for intake in &mut intakes {
                let seen = intake.message(cx, "the large one").await?;
                ensure_eq("its length", seen.payload.len(), largest)?;
            }
        }
        Err(err) => {
            let kinds = [ErrorKind::TooLarge];
            refused::<()>("a payload too large with its headers", Err(err), &kinds)?;
        }
    }
    cx.send(&publisher, message(&subject, "small")?).await.during("after a large one")?;
    for intake in &mut intakes {
        ensure_eq("the next", intake.message(cx, "the small one").await?.payload.len(), 5)?;
    }
    Ok(())
}

async fn arrives(cx: &Context, name: &str, payload: Bytes) -> Outcome {
    let backend = cx.connect().await?;
    let subject = cx.subject(name)?;
    let mut intakes = cx.intakes_of(&backend, &subject).await?;
    let what = format!("a payload of {} bytes", payload.len());
    cx.send(&backend.publisher()?, message(&subject, payload.clone())?).await.during(&what)?;
    for intake in &mut intakes {
        let seen = intake.message(cx, &what).await?;
        ensure_eq("its length", seen.payload.len(), payload.len())?;
        ensure(seen.payload == payload, || format!("{what} arrived changed"))?;
    }
    Ok(())
}

fn filled(length: usize) -> Bytes {
    // A prime number of bytes, so that no block of the system's repeats itself.
    let piece: Vec<u8> = (0..=250).collect();
    let mut bytes = piece.repeat(length / piece.len() + 1);
    bytes.truncate(length);
    bytes.into()
}

/// What stands for the largest where there is none.
const UNBOUNDED: usize = 8 << 20;
