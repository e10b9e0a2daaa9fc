//! Messages that would cost us something: the broker takes them from anyone, and delivers them again.
use std::{net::SocketAddr, time::Duration};

use sinew_core::{Consume as _, ErrorKind, PublishExt as _, Sent, Verdict};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{Outcome, Shared, check, connect, delivery, message, queue, refused, soon};

/// The client reads tables by recursion, and ends the process when its stack does.
pub(crate) async fn deep_header(shared: Shared) -> Outcome {
    let address = shared.address().await?;
    let amqp = connect(address).await?;
    let mut intake = amqp.consume(queue("deep-header")?).await?;
    let mut wire = Wire::open(address).await?;
    for depth in [1000, 20_000] {
        wire.publish(
            "deep-header",
            &table(&[("deep", nested(depth)?), ("flat", b"t\x01".into())])?,
        )
        .await?;
        let seen = delivery(&mut intake, "x").await?;
        check(seen.message.headers.len() == 1, "the deep one is left out")?;
        check(seen.message.headers.value("flat").is_some(), "the other one is kept")?;
        seen.ack().await?;
    }
    amqp.send(message("deep-header", "goes on")?).await?;
    delivery(&mut intake, "goes on").await?.ack().await?;
    Ok(())
}

/// The broker refuses a false user id at the cost of the channel, and a copy that waits has one, too.
pub(crate) async fn user_id(shared: Shared) -> Outcome {
    let amqp = connect(shared.address().await?).await?;
    let mut intake = amqp.consume(queue("user-id")?).await?;
    let anns = message("user-id", "x")?.with_user_id("ann");
    refused(amqp.send(anns).await, ErrorKind::Denied, Sent::No)?;
    amqp.send(message("user-id", "x")?.with_user_id("guest")).await?;
    let held = delivery(&mut intake, "x").await?;
    held.settle(Verdict::RequeueAfter(Duration::from_millis(10))).await?;
    let again = delivery(&mut intake, "x").await?;
    let user = again.message.properties().and_then(|it| it.user_id.as_deref());
    check(user == Some("guest"), format!("{user:?} is who published it"))?;
    again.ack().await?;
    Ok(())
}

/// So many lists in one another.
fn nested(depth: usize) -> Outcome<Vec<u8>> {
    let mut heads = Vec::with_capacity(depth);
    for level in 0..depth {
        heads.push([&b"A"[..], &u32::try_from(level * 5)?.to_be_bytes()].concat());
    }
    Ok(heads.into_iter().rev().flatten().collect())
}

fn table(entries: &[(&str, Vec<u8>)]) -> Outcome<Vec<u8>> {
    let mut bytes = Vec::new();
    for (name, value) in entries {
        bytes.extend([&text(name)?, &**value].concat());
    }
    Ok([&u32::try_from(bytes.len())?.to_be_bytes(), &*bytes].concat())
}

fn text(text: &str) -> Outcome<Vec<u8>> {
    Ok([&[u8::try_from(text.len())?], text.as_bytes()].concat())
}

/// A connection on which we write every byte ourselves.
struct Wire(TcpStream);

impl Wire {
    async fn open(address: SocketAddr) -> Outcome<Self> {
        let mut wire = Self(TcpStream::connect(address).await?);
        wire.0.write_all(b"AMQP\0\0\x09\x01").await?;
        wire.answer().await?;
        wire.send(1, 0, b"\0\x0a\0\x0b\0\0\0\0\x05PLAIN\0\0\0\x0c\0guest\0guest\x05en_US").await?;
        wire.answer().await?;
        wire.send(1, 0, b"\0\x0a\0\x1f\0\x10\0\x02\0\0\0\0").await?;
        wire.send(1, 0, b"\0\x0a\0\x28\x01/\0\0").await?;
        wire.answer().await?;
        wire.send(1, 1, b"\0\x14\0\x0a\0").await?;
        wire.answer().await?;
        Ok(wire)
    }

    /// Puts a message into `queue` that says `x`.
    async fn publish(&mut self, queue: &str, headers: &[u8]) -> Outcome {
        let method = [b"\0\x3c\0\x28\0\0\0", &*text(queue)?, b"\0"].concat();
        self.send(1, 1, &method).await?;
        let content = [b"\0\x3c\0\0\0\0\0\0\0\0\0\x01\x20\0", headers].concat();
        self.send(2, 1, &content).await?;
        self.send(3, 1, b"x").await
    }

    async fn send(&mut self, kind: u8, channel: u8, payload: &[u8]) -> Outcome {
        let size = u32::try_from(payload.len())?.to_be_bytes();
        let frame = [&[kind, 0, channel][..], &size, payload, b"\xce"].concat();
        Ok(self.0.write_all(&frame).await?)
    }

    /// Waits for a frame, whatever it says.
    async fn answer(&mut self) -> Outcome {
        let frame = async {
            let mut head = [0; 7];
            self.0.read_exact(&mut head).await?;
            let [_, _, _, size @ ..] = head;
            let mut rest = vec![0; usize::try_from(u32::from_be_bytes(size))? + 1];
            self.0.read_exact(&mut rest).await?;
            Ok(())
        };
        soon("the broker's frame", frame).await?
    }
}
