//! `sinew request`: asks, and prints the replies.
use std::time::Duration;

use clap::Args;
use sinew_core::{Event, Request as _, Subject};
use tokio::time::Instant;

use super::subscribe::{Shape, remark};
use crate::{
    args::Format,
    connection::ConnectionArgs,
    examples::{Example, section},
    exit::{Failure, Outcome, Status},
    interrupt::Stop,
    json::Received,
    message::Content,
    session::Session,
    time::{parse_positive, written},
};

pub(crate) const EXAMPLES: &[Example] = &[
    ("one reply, or exit status 75 after two seconds", "sinew request time.now --timeout 2s"),
    (
        "everyone's replies within a second, one JSON object each",
        "sinew request fleet.ping --replies 0 --timeout 1s --json",
    ),
    (
        "a reply's bytes alone",
        "sinew request thumbnails.make @/etc/hostname --raw --timeout 1s > reply",
    ),
];

/// Ask, and print the replies
#[derive(Args, Debug)]
#[command(after_help = section(EXAMPLES))]
pub(crate) struct Request {
    /// Whom to ask
    #[arg(value_name = "SUBJECT")]
    subject: Subject,
    #[command(flatten)]
    content: Content,
    /// How long to wait for the broker, and then for replies
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = parse_positive)]
    timeout: Duration,
    /// How many replies to wait for; 0: all that come in time
    #[arg(long, value_name = "N", default_value_t = 1)]
    replies: u64,
    #[command(flatten)]
    shape: Shape,
    #[command(flatten)]
    pub(crate) format: Format,
    #[command(flatten)]
    connection: ConnectionArgs,
}

impl Request {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let message = self.content.message(session, &self.subject).await?;
        let backend = session.connect(self.connection, Some(self.timeout)).await?;
        let requester = backend.requester()?;
        let asked = Instant::now();
        let deadline = asked + self.timeout;
        let mut replies = 0;
        let listen = async {
            let mut incoming = requester.request(message).await?;
            while self.replies == 0 || replies < self.replies {
                match incoming.next().await.transpose()? {
                    None => break,
                    Some(Event::Item(reply)) => {
                        replies += 1;
                        let elapsed = asked.elapsed();
                        let object = || Received::message(&reply).with_elapsed(elapsed);
                        self.shape.print(session.output, object, &reply)?;
                    }
                    Some(other) => remark(session.output, &other),
                }
            }
            Ok::<_, Failure>(())
        };
        let stop = tokio::select! {
            biased;
            done = listen => done.map(|()| Stop::Ended),
            why = session.interrupt.or_deadline(Some(deadline)) => Ok(why),
        };
        // Nothing of ours is under way any more, so there is no drain for a silent broker to hold the end up.
        let (subject, wanted) = (&self.subject, self.replies);
        match stop? {
            Stop::Interrupted => Ok(Status::Interrupted),
            _ if wanted == 0 && replies == 0 => Ok(Status::No),
            Stop::TimeOver if replies < wanted => Err(Failure::new(
                Status::TryAgain,
                format!(
                    "request {subject}: {replies} of {wanted} replies came within {}; allow more with --timeout",
                    written(self.timeout)
                ),
            )),
            _ => Ok(Status::Done),
        }
    }
}
