//! What a producer is called with, and how values become bytes and come back.
use std::time::{Duration, UNIX_EPOCH};

use bytes::{Buf, BufMut, Bytes};
use sinew_core::{Error, ErrorKind, FromPayload, Headers, IntoPayload, Result, Value};

/// `*args` and `**kwargs`.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Call {
    /// Arguments by position.
    pub args: Vec<Value>,
    /// Arguments by name, in the order in which they were given.
    pub kwargs: Vec<(String, Value)>,
}

impl Call {
    /// An argument by its position.
    #[must_use]
    pub fn arg(&self, at: usize) -> Option<&Value> {
        self.args.get(at)
    }

    /// An argument by its name.
    #[must_use]
    pub fn kwarg(&self, name: &str) -> Option<&Value> {
        self.kwargs.iter().find(|(it, _)| it == name).map(|(_, value)| value)
    }
}

impl IntoPayload for Call {
    fn into_payload(self) -> Result<Bytes> {
        let call = [Value::List(self.args), Value::Map(self.kwargs)];
        Whole(Value::List(call.into())).into_payload()
    }
}

impl FromPayload for Call {
    fn from_payload(payload: &Bytes) -> Result<Self> {
        let Whole(Value::List(call)) = Whole::from_payload(payload)? else { return Err(broken()) };
        match <[Value; 2]>::try_from(call) {
            Ok([Value::List(args), Value::Map(kwargs)]) => Ok(Self { args, kwargs }),
            _ => Err(broken()),
        }
    }
}

/// One value as a payload.
pub(super) struct Whole(pub(super) Value);

impl IntoPayload for Whole {
    fn into_payload(self) -> Result<Bytes> {
        let mut to = Vec::new();
        put(&self.0, DEPTH, &mut to)?;
        Ok(to.into())
    }
}

impl FromPayload for Whole {
    fn from_payload(payload: &Bytes) -> Result<Self> {
        let mut from = payload.clone();
        let value = take(&mut from, DEPTH)?;
        match from.is_empty() {
            true => Ok(Self(value)),
            false => Err(broken()),
        }
    }
}

/// How deep values nest: a call is two levels of its own.
const DEPTH: usize = Headers::MAX_DEPTH + 2;

fn put(value: &Value, levels: usize, to: &mut Vec<u8>) -> Result<()> {
    let Some(levels) = levels.checked_sub(1) else {
        return Err(refused("nested deeper than 32 levels"));
    };
    match value {
        Value::Null => to.put_u8(b'n'),
        Value::Bool(it) => to.put_slice(&[b'b', u8::from(*it)]),
        Value::Integer(it) => {
            to.put_u8(b'i');
            to.put_i64(*it);
        }
        Value::Float(it) => {
            to.put_u8(b'f');
            to.put_f64(*it);
        }
        Value::Text(it) => {
            to.put_u8(b's');
            put_bytes(it.as_bytes(), to);
        }
        Value::Bytes(it) => {
            to.put_u8(b'y');
            put_bytes(it, to);
        }
        Value::Time(it) => {
            let since = it.duration_since(UNIX_EPOCH);
            let since = since.map_err(|_| refused("a time before 1970"))?;
            to.put_u8(b't');
            to.put_u64(since.as_secs());
            to.put_u32(since.subsec_nanos());
        }
        Value::List(items) => {
            to.put_u8(b'l');
            to.put_u64(items.len() as u64);
            for it in items {
                put(it, levels, to)?;
            }
        }
        Value::Map(items) => {
            to.put_u8(b'm');
            to.put_u64(items.len() as u64);
            for (name, it) in items {
                put_bytes(name.as_bytes(), to);
                put(it, levels, to)?;
            }
        }
        _ => return Err(refused("a value of a kind that this version does not know")),
    }
    Ok(())
}

fn put_bytes(bytes: &[u8], to: &mut Vec<u8>) {
    to.put_u64(bytes.len() as u64);
    to.put_slice(bytes);
}

/// Reads one value. What is told of its length is believed only as far as there are bytes.
fn take(from: &mut Bytes, levels: usize) -> Result<Value> {
    let levels = levels.checked_sub(1).ok_or_else(broken)?;
    let cut = |_| broken();
    Ok(match from.try_get_u8().map_err(cut)? {
        b'n' => Value::Null,
        b'b' => Value::Bool(from.try_get_u8().map_err(cut)? != 0),
        b'i' => Value::Integer(from.try_get_i64().map_err(cut)?),
        b'f' => Value::Float(from.try_get_f64().map_err(cut)?),
        b's' => Value::Text(take_text(from)?),
        b'y' => Value::Bytes(take_bytes(from)?),
        b't' => {
            let (seconds, nanos) =
                (from.try_get_u64().map_err(cut)?, from.try_get_u32().map_err(cut)?);
            let since =
                Duration::from_secs(seconds).checked_add(Duration::from_nanos(nanos.into()));
            let time = since.and_then(|since| UNIX_EPOCH.checked_add(since));
            Value::Time(time.ok_or_else(broken)?)
        }
        b'l' => {
            let count = from.try_get_u64().map_err(cut)?;
            let mut items = Vec::new();
            for _ in 0..count {
                items.push(take(from, levels)?);
            }
            Value::List(items)
        }
        b'm' => {
            let count = from.try_get_u64().map_err(cut)?;
            let mut items = Vec::new();
            for _ in 0..count {
                items.push((take_text(from)?, take(from, levels)?));
            }
            Value::Map(items)
        }
        _ => return Err(broken()),
    })
}

fn take_bytes(from: &mut Bytes) -> Result<Bytes> {
    let length = from.try_get_u64().map_err(|_| broken())?;
    let length = usize::try_from(length).ok().filter(|it| *it <= from.len()).ok_or_else(broken)?;
    Ok(from.split_to(length))
}

fn take_text(from: &mut Bytes) -> Result<String> {
    String::from_utf8(take_bytes(from)?.into()).map_err(|_| broken())
}

fn refused(why: &'static str) -> Error {
    Error::new(ErrorKind::InvalidPayload, "encode call").with_detail(why)
}

fn broken() -> Error {
    Error::new(ErrorKind::InvalidPayload, "decode call").with_detail("it is no value, or cut short")
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::Integer),
            (-1e9..1e9).prop_map(Value::Float),
            ".*".prop_map(Value::Text),
            vec(any::<u8>(), 0..9).prop_map(|it| Value::Bytes(it.into())),
            (0..4_000_000_000_u64, 0..1_000_000_000_u32)
                .prop_map(|(secs, nanos)| Value::Time(UNIX_EPOCH + Duration::new(secs, nanos))),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                vec(inner.clone(), 0..4).prop_map(Value::List),
                vec((".*", inner), 0..4).prop_map(Value::Map),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(args in vec(value(), 0..4), kwargs in vec((".*", value()), 0..4)) {
            let call = Call { args, kwargs };
            let payload = call.clone().into_payload().unwrap();
            prop_assert_eq!(Call::from_payload(&payload).unwrap(), call);
            for cut in 0..payload.len() {
                prop_assert!(Call::from_payload(&payload.slice(..cut)).is_err());
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..200)) {
            let _ = Call::from_payload(&bytes.clone().into());
            let _ = Whole::from_payload(&bytes.into());
        }
    }

    #[test]
    fn depth_and_length_are_bounded_in_both_directions() {
        let deep = |levels: usize| (0..levels).fold(Value::Null, |it, _| Value::List(vec![it]));
        assert!(Whole(deep(33)).into_payload().is_ok());
        assert_eq!(Whole(deep(34)).into_payload().unwrap_err().kind(), ErrorKind::InvalidPayload);
        let endless = [b'l', 0, 0, 0, 0, 0, 0, 0, 1].repeat(100_000);
        assert!(Whole::from_payload(&endless.into()).is_err());
        let huge = [b's', 255, 255, 255, 255, 255, 255, 255, 255, b'x'];
        assert!(Whole::from_payload(&Bytes::copy_from_slice(&huge)).is_err());
    }
}
