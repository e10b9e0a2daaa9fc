//! Field tables: headers and queue arguments as AMQP types them, and back.
//!
//! | [`Value`] | goes as | comes from |
//! |---|---|---|
//! | `Null` | `V` | `V` |
//! | `Bool` | `t` | `t` |
//! | `Integer` | `l`, whatever its size: its type says nothing about its value | `b` `B` `s` `u` `I` `i` `l` `L` |
//! | `Float` | `d`, where it is finite | `f` `d` |
//! | `Text` | `S` | `S` in UTF-8; `D` as its digits, `12.34`; `T` beyond the year 9999, as its seconds |
//! | `Bytes` | `x` | `x`, and `S` that is no UTF-8 |
//! | `Time` | `T`: whole seconds, the fraction is cut off | `T` |
//! | `List` | `A` | `A` |
//! | `Map` | `F` | `F`; its names sorted, as the client keeps them |
use std::{
    collections::{BTreeMap, btree_map::Entry},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use lapin::types::{AMQPValue, DecimalValue, FieldTable, ShortString};
use sinew_core::{ErrorKind, Headers, Value};

use crate::error::Cause;

/// How many bytes a table may take, however large a frame may be.
pub(crate) const MAX_BYTES: usize = 124 << 10;
/// How many bytes of headers are kept of what comes in, as they would go out: so it can be delayed, put into an error queue
/// and redriven, each of which adds some of its own. One that cannot be, would come again and again.
const KEPT: usize = MAX_BYTES - (8 << 10);
/// A message's properties travel in one frame: what the others take of it at most, and the headers of a delayed copy.
const BESIDE: usize = 3 << 10;
/// The smallest frame that AMQP lets a broker ask for.
const SMALLEST: u32 = 4096;

/// How many bytes a table of headers may take where a frame has `frame_max`.
pub(crate) fn room(frame_max: u32) -> usize {
    let frame = usize::try_from(frame_max).unwrap_or(usize::MAX);
    frame.saturating_sub(BESIDE).min(MAX_BYTES)
}

/// What goes out, in `room` bytes at most; `None` where there is nothing. The room is asked for only where it matters.
///
/// Names arrive sorted: the client keeps them so.
pub(crate) fn outbound(
    headers: &Headers,
    room: impl FnOnce() -> usize,
) -> Result<Option<FieldTable>, Cause> {
    if headers.is_empty() {
        return Ok(None);
    }
    let mut left = MAX_BYTES;
    let table = fill(headers.iter(), Headers::MAX_DEPTH, &mut left)?;
    let taken = MAX_BYTES - left;
    if taken > self::room(SMALLEST) {
        take(&mut room(), taken)?;
    }
    Ok(Some(table))
}

/// Arguments of a queue.
pub(crate) fn table(arguments: &[(ShortString, Value)]) -> Result<FieldTable, Cause> {
    let mut room = MAX_BYTES;
    let entries = arguments.iter().map(|(name, value)| (name.as_str(), value));
    fill(entries, Headers::MAX_DEPTH, &mut room)
}

/// What came in, and how many headers were left out: those that nest too deep, for which there is no room, or whose names
/// [`Headers::insert`] refuses.
pub(crate) fn inbound(table: &FieldTable) -> (Headers, usize) {
    let (mut left_out, mut room) = (0, KEPT);
    let values = table.inner().iter().filter_map(|(name, value)| {
        let name = name.as_str();
        let value = read(value, Headers::MAX_DEPTH)
            .filter(|value| take(&mut room, 1 + name.len() + size(value)).is_ok());
        left_out += usize::from(value.is_none());
        Some((name, value?))
    });
    let (headers, refused) = Headers::from_wire(values);
    (headers, refused + left_out)
}

/// How many bytes [`write`] takes for it.
fn size(value: &Value) -> usize {
    let behind = match value {
        Value::Bool(_) => 1,
        Value::Integer(_) | Value::Float(_) | Value::Time(_) => 8,
        Value::Text(text) => LENGTH + text.len(),
        Value::Bytes(bytes) => LENGTH + bytes.len(),
        Value::List(list) => LENGTH + list.iter().map(size).sum::<usize>(),
        Value::Map(map) => {
            LENGTH + map.iter().map(|(name, value)| 1 + name.len() + size(value)).sum::<usize>()
        }
        _ => 0,
    };
    TAG + behind
}

/// Writes named values, whose values may nest `levels` deep.
fn fill<'a>(
    entries: impl Iterator<Item = (&'a str, &'a Value)>,
    levels: usize,
    room: &mut usize,
) -> Result<FieldTable, Cause> {
    let mut map = BTreeMap::new();
    take(room, LENGTH)?;
    for (name, value) in entries {
        take(room, 1 + name.len())?;
        let short =
            ShortString::try_new(name).map_err(|_| refuse("a name is 255 bytes at most"))?;
        match map.entry(short) {
            Entry::Vacant(slot) => {
                slot.insert(write(value, levels, room)?);
            }
            Entry::Occupied(_) => return Err(refuse("a map names each value once")),
        }
    }
    Ok(map.into())
}

fn write(value: &Value, levels: usize, room: &mut usize) -> Result<AMQPValue, Cause> {
    let below = levels.checked_sub(1).ok_or(refuse("a value nests 32 deep at most"))?;
    take(room, TAG)?;
    Ok(match value {
        Value::Null => AMQPValue::Void,
        Value::Bool(yes) => {
            take(room, 1)?;
            AMQPValue::Boolean(*yes)
        }
        Value::Integer(number) => {
            take(room, 8)?;
            AMQPValue::LongLongInt(*number)
        }
        // RabbitMQ has no such numbers: one of them costs the connection.
        Value::Float(number) if !number.is_finite() => {
            return Err(refuse("a number is neither infinite nor NaN here"));
        }
        Value::Float(number) => {
            take(room, 8)?;
            AMQPValue::Double(*number)
        }
        // Never a short string: a table that holds one costs the connection.
        Value::Text(text) => {
            take(room, LENGTH + text.len())?;
            AMQPValue::LongString(text.as_str().into())
        }
        Value::Bytes(bytes) => {
            take(room, LENGTH + bytes.len())?;
            AMQPValue::ByteArray(bytes.as_ref().into())
        }
        Value::Time(time) => {
            take(room, 8)?;
            AMQPValue::Timestamp(
                seconds(*time).ok_or(refuse("a time is of the years 1970 to 9999 here"))?,
            )
        }
        Value::List(list) => {
            take(room, LENGTH)?;
            let list: Result<Vec<_>, _> =
                list.iter().map(|value| write(value, below, room)).collect();
            AMQPValue::FieldArray(list?.into())
        }
        Value::Map(map) => {
            let entries = map.iter().map(|(name, value)| (name.as_str(), value));
            AMQPValue::FieldTable(fill(entries, below, room)?)
        }
        _ => return Err(refuse("AMQP has no such type of value")),
    })
}

/// `None` where it nests deeper than `levels`, so that its own recursion is bounded, too.
fn read(value: &AMQPValue, levels: usize) -> Option<Value> {
    let below = levels.checked_sub(1)?;
    Some(match value {
        AMQPValue::Void => Value::Null,
        AMQPValue::Boolean(yes) => Value::Bool(*yes),
        AMQPValue::ShortShortInt(number) => Value::Integer((*number).into()),
        AMQPValue::ShortShortUInt(number) => Value::Integer((*number).into()),
        AMQPValue::ShortInt(number) => Value::Integer((*number).into()),
        AMQPValue::ShortUInt(number) => Value::Integer((*number).into()),
        AMQPValue::LongInt(number) => Value::Integer((*number).into()),
        AMQPValue::LongUInt(number) => Value::Integer((*number).into()),
        AMQPValue::LongLongInt(number) => Value::Integer(*number),
        AMQPValue::Float(number) => Value::Float((*number).into()),
        AMQPValue::Double(number) => Value::Float(*number),
        AMQPValue::DecimalValue(decimal) => Value::Text(digits(*decimal)),
        AMQPValue::ShortString(text) => Value::from(text.as_str()),
        AMQPValue::LongString(bytes) => match std::str::from_utf8(bytes.as_bytes()) {
            Ok(text) => Value::from(text),
            Err(_) => Value::Bytes(Bytes::copy_from_slice(bytes.as_bytes())),
        },
        AMQPValue::ByteArray(bytes) => Value::Bytes(Bytes::copy_from_slice(bytes.as_slice())),
        AMQPValue::Timestamp(seconds) => match time(*seconds) {
            Some(time) => Value::Time(time),
            None => Value::Text(seconds.to_string()),
        },
        AMQPValue::FieldArray(list) => {
            let list: Option<Vec<_>> = list.as_slice().iter().map(|it| read(it, below)).collect();
            Value::List(list?)
        }
        AMQPValue::FieldTable(table) => {
            let entries = table.inner().iter();
            let map: Option<Vec<_>> = entries
                .map(|(name, value)| Some((name.as_str().to_owned(), read(value, below)?)))
                .collect();
            Value::Map(map?)
        }
    })
}

/// Whole seconds since 1970, which is as a time stamp travels; `None` before that, and after the year 9999.
pub(crate) fn seconds(time: SystemTime) -> Option<u64> {
    let since = time.duration_since(UNIX_EPOCH).ok()?.as_secs();
    (since <= LAST_SECOND).then_some(since)
}

/// The reverse; `None` for what is never sent.
pub(crate) fn time(seconds: u64) -> Option<SystemTime> {
    (seconds <= LAST_SECOND).then(|| UNIX_EPOCH.checked_add(Duration::from_secs(seconds)))?
}

/// The last one of the year 9999. A later one no client in Python can read: its connection ends, the message comes again with
/// the next one, and so for ever.
const LAST_SECOND: u64 = 253_402_300_799;

/// The digits of a decimal, all of them. Its number is signed, which the client does not say, but Java and Python do.
fn digits(decimal: DecimalValue) -> String {
    let number = i64::from(decimal.value.cast_signed());
    let scale = usize::from(decimal.scale);
    let sign = if number < 0 { "-" } else { "" };
    let digits = format!("{:0>width$}", number.unsigned_abs(), width = scale + 1);
    match digits.split_at_checked(digits.len() - scale) {
        Some((whole, fraction)) if !fraction.is_empty() => format!("{sign}{whole}.{fraction}"),
        _ => format!("{sign}{digits}"),
    }
}

fn take(room: &mut usize, bytes: usize) -> Result<(), Cause> {
    *room = room.checked_sub(bytes).ok_or(Cause::plain(
        ErrorKind::TooLarge,
        "headers take a frame of the broker at most, and 124 KiB; put them into the payload",
    ))?;
    Ok(())
}

const fn refuse(detail: &'static str) -> Cause {
    Cause::plain(ErrorKind::InvalidHeader, detail)
}

/// Bytes before a value that say its type.
const TAG: usize = 1;
/// Bytes before what has a length of its own.
const LENGTH: usize = 4;

#[cfg(test)]
mod tests;
