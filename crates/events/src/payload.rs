//! Payloads on the wire: bytes, what they are, and what of them is accepted.
use std::{borrow::Cow, fmt};

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use sinew_core::{Address, Error, ErrorKind, Message, Result as CoreResult};

use crate::{
    compression::{self, Compression},
    error::{PayloadError, quoted},
    serializer::{self, AnySerializer},
};

/// How payloads are written, and which are accepted.
#[derive(Clone, Debug)]
pub struct PayloadOptions {
    serializer: AnySerializer,
    accept: Vec<AnySerializer>,
    max_inflated: usize,
}

impl Default for PayloadOptions {
    fn default() -> Self {
        Self { serializer: AnySerializer::default(), accept: Vec::new(), max_inflated: 64 << 20 }
    }
}

impl PayloadOptions {
    /// Writes with it, and accepts what it writes. Default: [`AnySerializer::json`].
    #[must_use]
    pub fn with_serializer(mut self, serializer: AnySerializer) -> Self {
        self.serializer = serializer;
        self
    }

    /// Accepts what it writes, too. Default: what the serializer writes, and no more.
    #[must_use]
    pub fn with_accept(mut self, serializer: AnySerializer) -> Self {
        self.accept.push(serializer);
        self
    }

    /// How large a compressed payload may be when it is inflated, in bytes. Default: 64 MiB.
    #[must_use]
    pub fn with_max_inflated(mut self, bytes: usize) -> Self {
        self.max_inflated = bytes;
        self
    }

    /// As nameko's configuration has it: writes with `serializer`, and accepts that and `accept`, each by its name as `find` knows it:
    /// [`AnySerializer::named`], and in front of it whatever `SERIALIZERS` registers. Text and bytes without a serializer
    /// (`raw`) are accepted in any case.
    ///
    /// ```
    /// use sinew_events::{AnySerializer, PayloadOptions};
    ///
    /// // serializer: json, ACCEPT: [json, msgpack], SERIALIZERS: {upper: ...}
    /// # let upper = AnySerializer::json;
    /// let find = |name: &str| match name {
    ///     "upper" => Some(upper()),
    ///     known => AnySerializer::named(known),
    /// };
    /// let payload = PayloadOptions::from_names("json", ["json", "msgpack", "upper"], find)?;
    /// assert!(PayloadOptions::from_names("pickle", ["pickle"], find).is_err());
    /// # Ok::<(), sinew_core::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidOptions`] for a name that `find` does not know.
    pub fn from_names<'a>(
        serializer: &str,
        accept: impl IntoIterator<Item = &'a str>,
        find: impl Fn(&str) -> Option<AnySerializer>,
    ) -> CoreResult<Self> {
        let known = |name: &str| {
            find(name).ok_or_else(|| {
                Error::new(ErrorKind::InvalidOptions, "choose serializer")
                    .with_subject(name)
                    .with_detail("no serializer of this name is known here")
            })
        };
        let mut options = Self::default().with_serializer(known(serializer)?);
        for name in accept.into_iter().filter(|it| !matches!(*it, "raw" | RAW_DATA | RAW_TEXT)) {
            options = options.with_accept(known(name)?);
        }
        Ok(options)
    }

    /// Writes `value`.
    ///
    /// # Errors
    ///
    /// Why it has no form.
    pub fn encode<T: Serialize + ?Sized>(&self, value: &T) -> Result<Encoded, PayloadError> {
        Ok(Encoded {
            body: self.serializer.encode(value)?,
            content_type: self.serializer.content_type().to_owned().into(),
            content_encoding: self.serializer.content_encoding().to_owned().into(),
            compression: None,
        })
    }

    /// The payload of `message`, inflated where its header says so, and whose serializer is known by its content type.
    ///
    /// As in kombu a message without a content type, or of `application/data` or `application/text`, is text, or bytes
    /// where its content encoding is `binary`, and is always accepted.
    ///
    /// # Errors
    ///
    /// Why it is not accepted, or cannot be inflated.
    pub fn open(&self, message: &Message) -> Result<Body, PayloadError> {
        let properties = message.properties();
        let content_type = properties.and_then(|it| it.content_type.as_deref()).unwrap_or_default();
        let form = if matches!(content_type, "" | RAW_DATA | RAW_TEXT) {
            Form::Raw(properties.and_then(|it| it.content_encoding.as_deref()).map(Into::into))
        } else {
            Form::Of(self.accepted(content_type)?.clone())
        };
        let header = message.headers.value(COMPRESSION);
        let bytes = compression::inflate(&message.payload, header, self.max_inflated)?;
        Ok(Body { bytes, form })
    }

    /// Opens the payload of `message` and reads it.
    ///
    /// # Errors
    ///
    /// Why it cannot be read.
    pub fn decode<T: DeserializeOwned>(&self, message: &Message) -> Result<T, PayloadError> {
        self.open(message)?.decode()
    }

    fn accepted(&self, content_type: &str) -> Result<&AnySerializer, PayloadError> {
        let mut known = std::iter::once(&self.serializer).chain(&self.accept);
        known
            .find(|it| it.content_type() == content_type)
            .ok_or_else(|| PayloadError::NotAccepted { content_type: quoted(content_type) })
    }
}

/// A payload that came, opened by [`PayloadOptions::open`]: as often as it is read, it is inflated once.
#[derive(Clone)]
pub struct Body {
    bytes: Bytes,
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    Of(AnySerializer),
    /// Text or bytes, by this content encoding.
    Raw(Option<Box<str>>),
}

impl Body {
    /// Reads it.
    ///
    /// # Errors
    ///
    /// Why it cannot be read as a `T`.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, PayloadError> {
        match &self.form {
            Form::Of(serializer) => serializer.decode(&self.bytes),
            Form::Raw(encoding) => serializer::decode_raw(&self.bytes, encoding.as_deref()),
        }
    }

    /// Its bytes, as its serializer wrote them.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

/// Shows how long it is: what it says may be a secret.
impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body")
            .field("bytes", &format_args!("{} bytes", self.bytes.len()))
            .field("form", &self.form)
            .finish()
    }
}

/// A payload that is written, and what it says of itself.
#[derive(Clone, Eq, PartialEq)]
pub struct Encoded {
    body: Bytes,
    content_type: Cow<'static, str>,
    content_encoding: Cow<'static, str>,
    compression: Option<Compression>,
}

impl Encoded {
    /// Bytes that are written already, of this content type: `application/json`, `utf-8`. One with parameters (`; charset=`) is
    /// not emitted: Python would lose the event.
    #[must_use]
    pub fn new(
        body: impl Into<Bytes>,
        content_type: impl Into<Cow<'static, str>>,
        content_encoding: impl Into<Cow<'static, str>>,
    ) -> Self {
        let (content_type, content_encoding) = (content_type.into(), content_encoding.into());
        Self { body: body.into(), content_type, content_encoding, compression: None }
    }

    /// Bytes, as kombu sends them without a serializer: `application/data`, `binary`.
    #[must_use]
    pub fn bytes(body: impl Into<Bytes>) -> Self {
        Self::new(body, "application/data", "binary")
    }

    /// Text, as kombu sends it without a serializer: `application/data`, `utf-8`.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self::new(text.into(), "application/data", "utf-8")
    }

    /// Compresses it. It is compressed once.
    ///
    /// # Errors
    ///
    /// [`PayloadError::Malformed`] where it cannot be.
    pub fn compressed(mut self, compression: Compression) -> Result<Self, PayloadError> {
        if self.compression.is_none() {
            self.body = compression.compress(&self.body)?;
            self.compression = Some(compression);
        }
        Ok(self)
    }

    /// Refuses a content type that its readers would not know: kombu takes `application/json; charset=utf-8` for a type of
    /// its own, and Python loses the event.
    pub(crate) fn check(&self) -> Result<(), PayloadError> {
        match self.content_type.contains(';') {
            true => Err(PayloadError::malformed("its content type has a parameter")),
            false => Ok(()),
        }
    }

    /// The message that carries it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidHeader`](sinew_core::ErrorKind::InvalidHeader), which it does not come to: the header is one.
    pub fn into_message(self, address: Address) -> CoreResult<Message> {
        let message = Message::to(address, self.body)
            .with_content_type(self.content_type)
            .with_content_encoding(self.content_encoding);
        match self.compression {
            Some(compression) => message.with_header(COMPRESSION, compression.content_type()),
            None => Ok(message),
        }
    }
}

/// Shows how long it is: what it says may be a secret.
impl fmt::Debug for Encoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoded")
            .field("body", &format_args!("{} bytes", self.body.len()))
            .field("content_type", &self.content_type)
            .field("content_encoding", &self.content_encoding)
            .field("compression", &self.compression)
            .finish()
    }
}

/// What kombu says of payloads that no serializer wrote.
const RAW_DATA: &str = "application/data";
const RAW_TEXT: &str = "application/text";

/// The header that tells of compression, with no prefix before it.
const COMPRESSION: &str = "compression";

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::names::Source;

    fn message(encoded: Encoded) -> Message {
        let address = Source::parse("orders").unwrap().address("created").unwrap();
        encoded.into_message(address).unwrap()
    }

    fn read(encoded: Encoded) -> Result<Value, PayloadError> {
        PayloadOptions::default().decode(&message(encoded))
    }

    #[test]
    fn what_is_written_says_what_it_is_and_comes_back() {
        let value = json!({"id": 7, "name": "é"});
        for (serializer, content_type, content_encoding) in [
            (AnySerializer::json(), "application/json", "utf-8"),
            (AnySerializer::typed_json(), "application/json", "utf-8"),
            (AnySerializer::message_pack(), "application/x-msgpack", "binary"),
        ] {
            let options = PayloadOptions::default().with_serializer(serializer);
            let plain = message(options.encode(&value).unwrap());
            let properties = plain.properties().unwrap();
            assert_eq!(properties.content_type.as_deref(), Some(content_type));
            assert_eq!(properties.content_encoding.as_deref(), Some(content_encoding));
            assert_eq!(options.decode::<Value>(&plain).unwrap(), value);
            let packed = options.encode(&value).unwrap().compressed(Compression::Gzip).unwrap();
            let packed = message(packed.compressed(Compression::Gzip).unwrap());
            assert_eq!(packed.headers.text("compression"), Some("application/x-gzip"));
            assert_eq!(packed.properties(), plain.properties());
            assert_eq!(options.decode::<Value>(&packed).unwrap(), value);
        }
    }

    #[test]
    fn a_content_type_is_accepted_as_it_is_or_not_at_all() {
        for content_type in [
            "application/x-python-serialize",
            "application/x-yaml",
            "application/x-msgpack",
            "application/json; charset=utf-8",
            "Application/JSON",
            "text/plain",
        ] {
            let err = read(Encoded::new("1", content_type, "utf-8")).unwrap_err();
            assert_eq!(err, PayloadError::NotAccepted { content_type: content_type.into() });
        }
        let options = PayloadOptions::default().with_accept(AnySerializer::message_pack());
        let packed = message(Encoded::new(&b"\x07"[..], "application/x-msgpack", "binary"));
        assert_eq!(options.decode::<u8>(&packed).unwrap(), 7);
    }

    #[test]
    fn serializers_are_found_by_the_names_that_nameko_has() {
        let found = |serializer, accept: &[&'static str]| {
            PayloadOptions::from_names(serializer, accept.iter().copied(), AnySerializer::named)
        };
        let options = found("msgpack", &["json", "application/x-msgpack", "raw"]).unwrap();
        let written = options.encode(&7).unwrap();
        assert_eq!(written, Encoded::new(&b"\x07"[..], "application/x-msgpack", "binary"));
        for encoded in [written, Encoded::new("7", "application/json", "utf-8")] {
            assert_eq!(options.decode::<u8>(&message(encoded)).unwrap(), 7);
        }
        for (serializer, accept) in [("pickle", "json"), ("json", "yaml"), ("json", "")] {
            let err = found(serializer, &[accept]).unwrap_err();
            assert_eq!(err.kind(), ErrorKind::InvalidOptions);
        }
    }

    #[test]
    fn a_content_type_in_an_error_is_escaped_and_bounded() {
        let err = read(Encoded::new("1", format!("a\n{}", "b".repeat(9000)), "utf-8")).unwrap_err();
        let PayloadError::NotAccepted { content_type } = err else { panic!("{err:?}") };
        assert!(content_type.len() <= 128 && content_type.starts_with("a\\nb"), "{content_type}");
    }

    #[test]
    fn without_a_serializer_it_is_text_or_bytes() {
        assert_eq!(read(Encoded::text("7")).unwrap(), json!("7"));
        assert_eq!(read(Encoded::new("é", "application/text", "UTF-8")).unwrap(), json!("é"));
        assert_eq!(read(Encoded::new("", "", "")).unwrap(), json!(""));
        let bytes = message(Encoded::bytes(&b"\xff\0"[..]));
        let read_bytes: crate::python::Bytes = PayloadOptions::default().decode(&bytes).unwrap();
        assert_eq!(read_bytes.0, &b"\xff\0"[..]);
        let bare = Message::to(bytes.address, "hello");
        assert_eq!(PayloadOptions::default().decode::<String>(&bare).unwrap(), "hello");
        for (body, encoding) in [(&b"\xff"[..], "utf-8"), (b"a", "utf-16")] {
            let err = read(Encoded::new(body, "application/data", encoding)).unwrap_err();
            assert!(matches!(err, PayloadError::Malformed { .. }), "{err:?}");
        }
    }

    #[test]
    fn debug_shows_no_payload() {
        let shown = format!("{:?}", Encoded::text("s3cret"));
        assert!(shown.contains("6 bytes") && !shown.contains("s3cret"), "{shown}");
    }
}
