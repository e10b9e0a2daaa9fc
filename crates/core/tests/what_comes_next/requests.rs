//! Requests with many replies, under a deadline that the caller owns.
use std::{pin::pin, sync::Mutex, task::Poll};

use sinew_core::{
    AnyRequester, Backend, Capabilities, Confirm, Error, ErrorKind, Event, Incoming, Message,
    ReplyTo, Request, Requests, Result,
};

use crate::support::{Feed, lock, now, poll, subject};

/// A broker that hands requests to the test, and takes its replies.
#[derive(Default)]
struct Bus {
    asked: Mutex<Vec<(Message, Feed<Message>)>>,
    has_responders: bool,
}

impl Backend for Bus {
    fn capabilities(&self) -> Capabilities {
        Capabilities::new("bus")
            .with_confirm(Confirm::Buffered)
            .with_request(Requests::NoResponders)
    }
}

impl Request for Bus {
    async fn request(&self, message: Message) -> Result<Incoming<Message>> {
        self.capabilities().check_message(&message)?;
        if message.reply_to.is_some() {
            return Err(Error::new(ErrorKind::InvalidOptions, "bus request"));
        }
        let feed = Feed::new();
        if !self.has_responders {
            feed.push_event(Err(Error::new(ErrorKind::NoResponders, "bus request")));
        }
        let message = message.with_reply_to(ReplyTo::new("inbox.1"));
        lock(&self.asked).push((message, feed.clone()));
        Ok(feed.incoming())
    }
}

/// Scatter-gather in miniature: it ends with the deadline, whatever its clock is, or with the stream.
async fn gather(
    mut replies: Incoming<Message>,
    deadline: impl Future<Output = ()>,
) -> Vec<Message> {
    let mut deadline = pin!(deadline);
    let mut gathered = Vec::new();
    loop {
        let mut next = pin!(replies.next());
        let event = std::future::poll_fn(|cx| match deadline.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(None),
            Poll::Pending => next.as_mut().poll(cx),
        });
        match event.await {
            Some(Ok(Event::Item(reply))) => gathered.push(reply),
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return gathered,
        }
    }
}

#[test]
fn many_replies_are_gathered_until_the_callers_deadline() {
    let bus = Bus { has_responders: true, ..Bus::default() };
    let question = Message::new(subject("who").unwrap(), "?");
    let replies = now(bus.request(question)).unwrap().unwrap();
    let (asked, feed) = lock(&bus.asked).pop().unwrap();

    let is_over = Mutex::new(false);
    let deadline = std::future::poll_fn(|_| match *lock(&is_over) {
        true => Poll::Ready(()),
        false => Poll::Pending,
    });
    let mut gathering = pin!(gather(replies, deadline));
    for name in ["a", "b", "c"] {
        assert!(feed.push(asked.reply(name).unwrap()));
        assert!(poll(gathering.as_mut()).is_pending());
    }
    *lock(&is_over) = true;
    let Poll::Ready(gathered) = poll(gathering.as_mut()) else { panic!("the deadline has passed") };
    assert_eq!(gathered.iter().map(|it| &*it.payload).collect::<Vec<_>>(), [b"a", b"b", b"c"]);
    // The late one reaches nobody, this time or the next.
    assert!(!feed.push(asked.reply("late").unwrap()));
}

#[test]
fn nobody_to_answer_is_the_last_item() {
    let requester = AnyRequester::new(Bus::default());
    let question = Message::new(subject("who").unwrap(), "?");
    let mut replies = now(requester.request(question)).unwrap().unwrap();
    let err = now(replies.next()).unwrap().unwrap().unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NoResponders);
    assert!(now(replies.next()).unwrap().is_none());
}

#[test]
fn a_request_with_a_reply_address_of_its_own_is_refused() {
    let question = Message::new(subject("who").unwrap(), "?").with_reply_to(ReplyTo::new("mine"));
    let err = now(Bus::default().request(question)).unwrap().unwrap_err();
    assert_eq!(err.kind(), ErrorKind::InvalidOptions);
}
