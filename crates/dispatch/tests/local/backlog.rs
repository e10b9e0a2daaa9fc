//! More comes to an agent at once than it takes in.
use sinew_adapter_memory::MemoryBroker;
use sinew_core::{Message, PublishExt as _, ReplyTo, Result, Subject};
use sinew_dispatch::{
    Dispatcher,
    heads::{AskHead, AskId},
};
use tokio::task::coop::unconstrained;

use crate::common::{ms, pass, silent};

/// What is called off is heard before what is asked, so it is known as such when it comes.
#[tokio::test(start_paused = true)]
async fn what_is_called_off_while_it_waits_is_not_begun_however_much_waits() -> Result<()> {
    const ASKS: u32 = 4_000;
    let broker = MemoryBroker::new();
    let (there, asker) = (broker.connect().into_any(), broker.connect().into_any());
    let agent = silent("a")?;
    let service = Dispatcher::over(&there)?.serve("t", &agent).await?;
    let publisher = asker.publisher()?;
    let send = async {
        for subject in ["t", "sinew.cancel.t"] {
            for nth in 0..ASKS {
                let mut message = Message::new(Subject::parse(subject)?, "?");
                let id = AskId::parse(&nth.to_string())?;
                AskHead::new(id, ms(60_000)).write(&mut message.headers)?;
                message.reply_to = Some(ReplyTo::new("nobody"));
                publisher.send(message).await?;
            }
        }
        Ok::<_, sinew_core::Error>(())
    };
    // All of it waits before the agent has its turn.
    unconstrained(send).await?;
    pass(ms(500)).await;
    assert_eq!((service.counts().cancelled, service.counts().lost), (u64::from(ASKS), 0));
    assert_eq!((service.counts().busy, agent.running()), (0, 0));
    Ok(())
}
