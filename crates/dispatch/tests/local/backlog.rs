//! More comes to an agent at once than it has taken in.
use sinew_adapter_memory::MemoryBroker;
use sinew_core::{AnyPublisher, Message, PublishExt as _, ReplyTo, Result, Subject};
use sinew_dispatch::{
    Dispatcher, Service,
    heads::{AskHead, AskId},
};
use tokio::task::coop::unconstrained;

use crate::common::{ms, pass, silent};

const CANCEL: &str = "sinew.cancel.t";

/// One who says nothing, and the way to it.
async fn serve() -> Result<(Service, AnyPublisher)> {
    let broker = MemoryBroker::new();
    let (there, asker) = (broker.connect().into_any(), broker.connect().into_any());
    let service = Dispatcher::over(&there)?.serve("t", &silent("a")?).await?;
    Ok((service, asker.publisher()?))
}

/// Sends so many asks, or what calls them off, before the agent has its turn.
async fn send(publisher: &AnyPublisher, subject: &str, count: u32) -> Result<()> {
    let sending = async {
        for nth in 0..count {
            let mut message = Message::new(Subject::parse(subject)?, "?");
            let id = AskId::parse(&nth.to_string())?;
            AskHead::new(id, ms(60_000)).write(&mut message.headers)?;
            message.reply_to = Some(ReplyTo::new("nobody"));
            publisher.send(message).await?;
        }
        Ok(())
    };
    unconstrained(sending).await
}

#[tokio::test(start_paused = true)]
async fn what_is_called_off_while_it_waits_is_not_begun_however_much_waits() -> Result<()> {
    let (service, publisher) = serve().await?;
    send(&publisher, "t", 4_000).await?;
    send(&publisher, CANCEL, 4_000).await?;
    pass(ms(500)).await;
    let counts = service.counts();
    assert_eq!((counts.cancelled, counts.busy, counts.lost), (4_000, 0, 0));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn what_calls_off_and_is_lost_is_counted() -> Result<()> {
    let (service, publisher) = serve().await?;
    send(&publisher, CANCEL, 5_000).await?;
    pass(ms(500)).await;
    assert_eq!(service.counts().lost, 5_000 - 4_096);
    Ok(())
}
