//! Headers: what is carried arrives unchanged, what cannot be carried is refused.
use std::{
    iter,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use sinew_core::{
    AnyPublisher, Error, ErrorKind, HeaderCarriage, Headers, Message, PublishExt, Sent, Subject,
    Value,
};

use super::{
    Context, During, Outcome,
    behaviour::behaviours,
    ensure, ensure_eq,
    support::{message, refused, unsupported},
    tally::Intake,
    when,
};

behaviours! { "headers";
    |it| when::publishes(it) && it.headers == HeaderCarriage::None => headers_are_refused,
    when::carries => no_headers_arrive_as_none,
    when::carries_headers => text_arrives_as_it_was,
    when::carries_typed_headers => every_type_arrives_as_it_was,
    when::carries_text_headers => numbers_booleans_and_times_arrive_as_text,
    when::carries_text_headers => a_list_of_text_arrives_as_one,
    when::carries_text_headers => what_text_cannot_carry_is_refused,
    when::carries_headers => an_awkward_value_arrives_as_it_was_or_is_refused,
    when::carries_headers => every_name_is_carried,
    when::carries_headers => names_of_properties_are_only_names,
    when::carries_headers => many_and_long_headers_arrive,
}

async fn headers_are_refused(cx: &Context) -> Outcome {
    let publisher = cx.connect().await?.publisher()?;
    let carrying = message(cx.subject("refused")?, "x")?.with_header("a", "b")?;
    unsupported(cx, "a header", publisher.send(carrying).await)
}

async fn no_headers_arrive_as_none(cx: &Context) -> Outcome {
    let mut wire = Wire::open(cx, "none").await?;
    for seen in wire.carry(Headers::default()).await? {
        ensure_eq("headers that nobody set", seen, Headers::default())?;
    }
    Ok(())
}

async fn text_arrives_as_it_was(cx: &Context) -> Outcome {
    let mut wire = Wire::open(cx, "text").await?;
    for text in ["plain", "a b", "a:b", "a=b; c=\"d\"", "x,y", "0", "true", "null", "%41"] {
        wire.arrives("text", Value::from(text)).await?;
    }
    Ok(())
}

async fn every_type_arrives_as_it_was(cx: &Context) -> Outcome {
    let mut wire = Wire::open(cx, "typed").await?;
    let nested = vec![Value::from("x"), Value::Integer(1), Value::List(vec![Value::Null])];
    let map = vec![
        ("a".to_owned(), Value::Bool(true)),
        ("é b".to_owned(), Value::Map(vec![("c".to_owned(), Value::Float(0.5))])),
    ];
    let values = [
        Value::Null,
        Value::Bool(true),
        Value::Bool(false),
        Value::Integer(0),
        Value::Integer(i64::MIN),
        Value::Integer(i64::MAX),
        Value::Float(0.1),
        Value::Float(-0.0),
        Value::from(""),
        Value::from("日本 \r\n\0"),
        Value::Bytes(Bytes::new()),
        Value::Bytes(Bytes::from_static(b"\0\xff\r\n")),
        Value::Time(second()),
        Value::Time(UNIX_EPOCH),
        Value::List(Vec::new()),
        Value::List(nested),
        Value::from_iter(["a", "b"]),
        Value::Map(Vec::new()),
        Value::Map(map),
    ];
    for value in values {
        wire.arrives(value.type_name(), value.clone()).await?;
    }
    Ok(())
}

async fn numbers_booleans_and_times_arrive_as_text(cx: &Context) -> Outcome {
    let mut wire = Wire::open(cx, "numbers").await?;
    for number in [0, 42, -1, i64::MIN, i64::MAX] {
        let wanted = number.to_string();
        wire.reads("integer", Value::Integer(number), |text| text == wanted).await?;
    }
    for bool in [true, false] {
        wire.reads("bool", Value::Bool(bool), |text| text == bool.to_string()).await?;
    }
    for float in [0.1, -1.5e300, f64::MIN_POSITIVE, f64::INFINITY] {
        let same = |text: &str| text.parse() == Ok(float);
        wire.reads("float", Value::Float(float), same).await?;
    }
    let nan = |text: &str| text.parse::<f64>().is_ok_and(f64::is_nan);
    wire.reads("float", Value::Float(f64::NAN), nan).await?;
    wire.reads("time", Value::Time(second()), |text| !text.is_empty()).await
}

async fn a_list_of_text_arrives_as_one(cx: &Context) -> Outcome {
    let mut wire = Wire::open(cx, "list").await?;
    for list in [vec!["one"], vec!["a", "b"], vec!["b", "a", "b", "c d", "e,f"]] {
        for seen in wire.carry(headers([("list", Value::from_iter(list.clone()))])?).await? {
            ensure_eq("a list of text", seen.texts("list").collect::<Vec<_>>(), list.clone())?;
        }
    }
    Ok(())
}

async fn what_text_cannot_carry_is_refused(cx: &Context) -> Outcome {
    let mut wire = Wire::open(cx, "untextual").await?;
    let values = [
        Value::Null,
        Value::Bytes(Bytes::from_static(b"bytes")),
        Value::Map(vec![("a".to_owned(), Value::from("b"))]),
        Value::List(Vec::new()),
        Value::List(vec![Value::from_iter(["nested"])]),
        Value::List(vec![Value::from("x"), Value::Null]),
    ];
    for value in values {
        let what = format!("a {} among text headers: {value:?}", value.type_name());
        match wire.try_carry(headers([("it", value)])?).await? {
            Ok(seen) => ensure(false, || format!("{what} was to be refused, {seen:?} arrived"))?,
            Err(err) => is_refusal(&what, err)?,
        }
    }
    Ok(())
}

async fn an_awkward_value_arrives_as_it_was_or_is_refused(cx: &Context) -> Outcome {
    let mut wire = Wire::open(cx, "awkward").await?;
    let texts = [
        "",
        " ",
        " leading",
        "trailing ",
        "\ttab\t",
        "a\nb",
        "a\r\nb: c",
        "a\r",
        "nul\0",
        "\u{7f}",
        "é日本😀",
        "\u{85}next line",
        "\u{a0}no-break",
    ];
    for text in texts {
        wire.arrives_or_is_refused(Value::from(text), |seen| seen.text("it") == Some(text)).await?;
        let list = [text, "b"];
        let same = |seen: &Headers| seen.texts("it").eq(list);
        wire.arrives_or_is_refused(Value::from_iter(list), same).await?;
    }
    // A broker in Erlang has no such numbers.
    for number in [f64::INFINITY, f64::NEG_INFINITY, f64::NAN] {
        let same = |seen: &Headers| match seen.value("it") {
            Some(Value::Float(seen)) => seen.total_cmp(&number).is_eq(),
            Some(Value::Text(seen)) => seen
                .parse::<f64>()
                .is_ok_and(|seen| seen == number || seen.is_nan() && number.is_nan()),
            _ => false,
        };
        wire.arrives_or_is_refused(Value::Float(number), same).await?;
    }
    Ok(())
}

async fn every_name_is_carried(cx: &Context) -> Outcome {
    let mut wire = Wire::open(cx, "names").await?;
    let visible: String = (b'!'..=b'~').filter(|byte| *byte != b':').map(char::from).collect();
    let sent = headers([
        ("lower", Value::from("1")),
        ("Lower", Value::from("2")),
        ("LOWER", Value::from("3")),
        ("x-dash_under.dot", Value::from("4")),
        ("7", Value::from("5")),
        (&visible, Value::from("6")),
        (&"n".repeat(200), Value::from("7")),
    ])?;
    for seen in wire.carry(sent.clone()).await? {
        let as_sent = sent.iter().all(|(name, value)| seen.text(name) == text_of(value));
        ensure(as_sent && seen.len() == sent.len(), || {
            format!("headers {sent:?} were sent, {seen:?} arrived")
        })?;
    }
    Ok(())
}

/// A header is not taken for a property that travels under the same name: it arrives, or is refused.
async fn names_of_properties_are_only_names(cx: &Context) -> Outcome {
    const VALUE: &str = "a header's value";
    let mut wire = Wire::open(cx, "properties").await?;
    for name in ["id", "subject", "reply-to", "content-type", "timestamp", "key", "ttl", "priority"]
    {
        let seen = match wire.try_carry(headers([(name, Value::from(VALUE))])?).await? {
            Ok(seen) => seen,
            Err(err) => {
                is_refusal(name, err)?;
                continue;
            }
        };
        for seen in seen {
            ensure_eq(name, seen.headers.text(name), Some(VALUE))?;
            let set = seen.properties().is_some_and(|it| {
                it.id.is_some() || it.content_type.is_some() || it.key.is_some() || it.ttl.is_some()
            });
            ensure(!set, || format!("header `{name}` set a property: {:?}", seen.properties()))?;
        }
    }
    Ok(())
}

async fn many_and_long_headers_arrive(cx: &Context) -> Outcome {
    let mut wire = Wire::open(cx, "many").await?;
    let mut many = Headers::default();
    for number in 0..200 {
        many.insert(&format!("header-{number}"), format!("value {number}"))?;
    }
    many.insert("long", "long ".repeat(1600) + "end")?;
    for seen in wire.carry(many.clone()).await? {
        ensure_eq("the number of headers", seen.len(), many.len())?;
        for (name, value) in many.iter() {
            ensure(seen.text(name) == text_of(value), || format!("header `{name}` changed"))?;
        }
    }
    Ok(())
}

/// A publisher, and an intake of each kind that sees what it publishes.
struct Wire<'a> {
    cx: &'a Context,
    publisher: AnyPublisher,
    subject: Subject,
    intakes: Vec<Intake>,
}

impl<'a> Wire<'a> {
    async fn open(cx: &'a Context, name: &str) -> Outcome<Self> {
        let backend = cx.connect().await?;
        let subject = cx.subject(name)?;
        let intakes = cx.intakes_of(&backend, &subject).await?;
        Ok(Self { cx, publisher: backend.publisher()?, subject, intakes })
    }

    /// What becomes of `headers`: refused, or seen once per intake.
    async fn try_carry(&mut self, headers: Headers) -> Outcome<Result<Vec<Message>, Error>> {
        let mut sent = message(&self.subject, "x")?;
        sent.headers = headers;
        if let Err(err) = self.cx.soon("an answer", self.publisher.send(sent)).await? {
            return Ok(Err(err));
        }
        let mut seen = Vec::new();
        for intake in &mut self.intakes {
            seen.push(intake.message(self.cx, "a message with headers").await?);
        }
        Ok(Ok(seen))
    }

    async fn carry(&mut self, headers: Headers) -> Outcome<Vec<Headers>> {
        let seen = self.try_carry(headers).await?.during("publish with headers")?;
        Ok(seen.into_iter().map(|message| message.headers).collect())
    }

    async fn arrives(&mut self, what: &str, value: Value) -> Outcome {
        for seen in self.carry(headers([("it", value.clone())])?).await? {
            let arrived = seen.value("it");
            ensure(arrived.is_some_and(|it| same(it, &value)), || {
                format!("{what} {value:?} was sent, {arrived:?} arrived")
            })?;
        }
        Ok(())
    }

    /// It arrives as text, and `reads` accepts it.
    async fn reads(&mut self, what: &str, value: Value, reads: impl Fn(&str) -> bool) -> Outcome {
        for seen in self.carry(headers([("it", value.clone())])?).await? {
            ensure(seen.text("it").is_some_and(&reads), || {
                format!("{what} {value:?} was sent, {:?} arrived", seen.value("it"))
            })?;
        }
        Ok(())
    }

    async fn arrives_or_is_refused(
        &mut self,
        value: Value,
        same: impl Fn(&Headers) -> bool,
    ) -> Outcome {
        match self.try_carry(headers([("it", value.clone())])?).await? {
            Err(err) => is_refusal(&format!("header {value:?}"), err),
            Ok(seen) => seen.iter().try_for_each(|message| {
                ensure(same(&message.headers), || {
                    format!("{value:?} was sent, {:?} arrived", message.headers.value("it"))
                })
            }),
        }
    }
}

fn is_refusal(what: &str, err: Error) -> Outcome {
    let kinds = [ErrorKind::InvalidHeader, ErrorKind::Unsupported];
    let err = refused::<()>(what, Err(err), &kinds)?;
    ensure_eq(format_args!("{what}: sent"), err.sent(), Sent::No)
}

fn headers<'a>(pairs: impl IntoIterator<Item = (&'a str, Value)>) -> Outcome<Headers> {
    let mut headers = Headers::default();
    for (name, value) in pairs {
        headers.insert(name, value)?;
    }
    Ok(headers)
}

fn text_of(value: &Value) -> Option<&str> {
    match value {
        Value::Text(text) => Some(text),
        _ => None,
    }
}

/// Equal, where a number that is none is equal to itself, and zeros have signs.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Float(a), Value::Float(b)) => {
            a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
        }
        (Value::List(a), Value::List(b)) => {
            a.len() == b.len() && iter::zip(a, b).all(|(a, b)| same(a, b))
        }
        _ => a == b,
    }
}

/// A whole second: some brokers keep no more of a time.
fn second() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_700_000_000)
}
