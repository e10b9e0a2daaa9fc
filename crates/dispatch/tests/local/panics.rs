//! What panics is told, and takes nothing with it.
use std::{
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
};

use bytes::Bytes;
use futures_util::FutureExt as _;
use sinew_core::{FromPayload, Result};
use sinew_dispatch::{AgentError, AnyAgent, Context, Dispatcher, Gathered, Until, blocking};

use crate::common::{ms, names, pass, quick, who};

type Said = std::result::Result<String, AgentError>;

#[tokio::test(start_paused = true)]
async fn a_panic_is_that_agents_error_and_it_answers_again() -> Result<()> {
    let dispatcher = Dispatcher::local();
    let agents = [
        AnyAgent::new("when-called", |_: Context, _: String| -> std::future::Ready<Said> {
            panic!("called")
        })?,
        AnyAgent::new("at-once", |_: Context, _: String| async {
            Ok(std::hint::black_box(None::<String>).expect("at once"))
        })?,
        AnyAgent::new("later", |_: Context, _: String| async {
            pass(ms(10)).await;
            let nothing: Vec<String> = Vec::new();
            Ok(nothing[7].clone())
        })?,
    ];
    let _registered: Vec<_> =
        agents.iter().map(|it| dispatcher.register("t", it)).collect::<Result<_>>()?;
    for _ in 0..2 {
        let Gathered { replies, end, .. } = dispatcher.ask("t", "?").collect::<String>().await?;
        assert_eq!((replies.len(), end.failed), (3, 3));
        for reply in replies {
            let (name, err) = (who(&reply).to_owned(), reply.result.unwrap_err());
            assert_eq!(err.code(), AgentError::PANIC, "{name}: {err}");
            assert!(!err.message().is_empty());
        }
        assert_eq!(agents.iter().map(AnyAgent::running).sum::<usize>(), 0);
    }
    Ok(())
}

#[tokio::test]
async fn a_blocking_handler_that_panics_is_told_the_same() -> Result<()> {
    let dispatcher = Dispatcher::local();
    let agent =
        AnyAgent::new("a", blocking(|_: Context, text: String| -> Said { panic!("no {text}") }))?;
    let _a = dispatcher.register("t", &agent)?;
    let Gathered { replies, .. } = dispatcher.ask("t", "wafer").collect::<String>().await?;
    let err = replies[0].result.clone().unwrap_err();
    assert_eq!((err.code(), err.message()), (AgentError::PANIC, "no wafer"));
    Ok(())
}

#[tokio::test]
async fn a_handler_that_panics_when_it_is_dropped_ends_nothing_else() -> Result<()> {
    struct Trap;
    impl Drop for Trap {
        fn drop(&mut self) {
            if !std::thread::panicking() {
                panic!("dropped");
            }
        }
    }
    let dispatcher = Dispatcher::local();
    let agent = AnyAgent::new("a", |_: Context, _: String| async {
        let _trap = Trap;
        std::future::pending::<Said>().await
    })?
    .with_grace(ms(0));
    let registered = dispatcher.register("t", &agent)?;
    let Gathered { end, .. } =
        dispatcher.ask("t", "?").deadline(ms(10)).collect::<String>().await?;
    assert_eq!(names(&end.missing), ["a"]);
    registered.drained(ms(60_000)).await
}

#[tokio::test]
async fn a_condition_that_panics_does_so_in_whoever_asked() -> Result<()> {
    let dispatcher = Dispatcher::local();
    let _a = dispatcher.register("t", &quick("a")?)?;
    let until = Until::when(|_| panic!("a condition"));
    let mut replies = dispatcher.ask("t", "?").until(until).send::<String>().await?;
    let next = poll_fn(|cx| {
        let polled = catch_unwind(AssertUnwindSafe(|| Box::pin(replies.next()).poll_unpin(cx)));
        match polled {
            Ok(polled) => polled.map(Ok),
            Err(panic) => std::task::Poll::Ready(Err(panic)),
        }
    })
    .await;
    assert_eq!(next.unwrap_err().downcast_ref::<&str>(), Some(&"a condition"));
    assert_eq!(dispatcher.ask("t", "?").collect::<String>().await?.end.ok, 1);
    Ok(())
}

#[derive(Debug)]
struct Fussy;

#[expect(clippy::panic, reason = "what it is for")]
impl FromPayload for Fussy {
    fn from_payload(_: &Bytes) -> Result<Self> {
        panic!("not this one")
    }
}

#[tokio::test]
async fn a_payload_that_panics_when_it_is_decoded_is_a_bad_one() -> Result<()> {
    let dispatcher = Dispatcher::local();
    let _a = dispatcher.register("t", &quick("a")?)?;
    let Gathered { replies, .. } = dispatcher.ask("t", "?").collect::<Fussy>().await?;
    assert_eq!(replies[0].result.as_ref().unwrap_err().code(), AgentError::BAD_REPLY);
    Ok(())
}
