//! A message as the command line gives it: what is in it, beside its subject.
use bytes::Bytes;
use clap::Args;
use sinew_core::{Headers, Message, Subject, Value};

use crate::{
    exit::{Failure, Status},
    payload::Source,
    session::Session,
};

/// What is in a message.
#[derive(Args, Debug)]
pub(crate) struct Content {
    /// The payload; `-` for standard input, `@FILE` for a file's content; left out: what is piped in
    #[arg(value_name = "PAYLOAD", allow_negative_numbers = true)]
    payload: Option<String>,
    /// Add a header; may be given more than once
    #[arg(short = 'H', long = "header", value_name = "K=V", value_parser = parse_header)]
    headers: Vec<(String, String)>,
}

impl Content {
    /// The message, its payload read unless that is interrupted.
    pub(crate) async fn message(
        self,
        session: &Session,
        subject: &Subject,
    ) -> Result<Message, Failure> {
        let (payload, headers) = self.parts(session).await?;
        let mut message = Message::new(subject.clone(), payload);
        message.headers = headers;
        Ok(message)
    }

    /// What is in it.
    pub(crate) async fn parts(self, session: &Session) -> Result<(Bytes, Headers), Failure> {
        Ok((read(session, self.payload).await?, headers(self.headers)?))
    }
}

async fn read(session: &Session, argument: Option<String>) -> Result<Bytes, Failure> {
    let source = Source::of(argument);
    session.output.detail("reading the payload");
    let reading = tokio::task::spawn_blocking(move || source.read());
    session
        .interrupt
        .unless(async {
            reading.await.unwrap_or_else(|err| {
                Err(Failure::new(Status::Fault, "cannot read the payload").with_source(err))
            })
        })
        .await
}

/// Splits a header into its name and value.
pub(crate) fn parse_header(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".to_owned()),
    }
}

/// The headers; one that is given twice becomes a list.
fn headers(given: Vec<(String, String)>) -> Result<Headers, Failure> {
    let mut headers = Headers::default();
    for (name, value) in given {
        let value = match headers.remove(&name) {
            None => Value::from(value),
            Some(Value::List(mut list)) => {
                list.push(value.into());
                Value::List(list)
            }
            Some(first) => Value::List(vec![first, value.into()]),
        };
        headers.insert(&name, value)?;
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_given_twice_is_a_list() {
        let given = ["a=1", "b=x=y", "a=2", "a=3"].map(|text| parse_header(text).unwrap());
        let headers = headers(given.into()).unwrap();
        assert_eq!(headers.texts("a").collect::<Vec<_>>(), ["1", "2", "3"]);
        assert_eq!(headers.text("b"), Some("x=y"));
        assert!(parse_header("novalue").is_err());
        assert!(parse_header("=x").is_err());
    }
}
