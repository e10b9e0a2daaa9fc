//! What passes, beside the frames that should.
use std::{collections::HashSet, iter};

use proptest::prelude::*;

use super::*;

const OPEN: [u8; 4] = [0, 20, 0, 10];
const CLOSE: [u8; 4] = [0, 20, 0, 40];
const CLOSE_OK: [u8; 4] = [0, 20, 0, 41];
const PUBLISH: [u8; 4] = [0, 60, 0, 40];
const HELLO: &[u8] = b"AMQP\0\0\x09\x01";

fn frame(kind: u8, channel: u8, payload: &[u8]) -> Vec<u8> {
    let size = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&[kind, 0, channel][..], &size, payload, b"\xce"].concat()
}

fn method(channel: u8, which: [u8; 4]) -> Vec<u8> {
    frame(1, channel, &[&which[..], b"arguments"].concat())
}

/// Takes a few bytes at a time, and now and then none.
struct Narrow<'a> {
    taken: Vec<u8>,
    widths: iter::Cycle<iter::Copied<std::slice::Iter<'a, usize>>>,
}

impl AsyncWrite for Narrow<'_> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let width = self.widths.next().unwrap().min(bytes.len());
        if width == 0 && !bytes.is_empty() {
            return Poll::Pending;
        }
        self.taken.extend(&bytes[..width]);
        Poll::Ready(Ok(width))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// What of `bytes` comes out where they come in pieces of these sizes, and leave in others.
fn passed(bytes: &[u8], pieces: &[usize], widths: &[usize]) -> Vec<u8> {
    let mut to = Narrow { taken: Vec::new(), widths: widths.iter().copied().cycle() };
    let (mut gate, cx) = (Gate::default(), &mut Context::from_waker(std::task::Waker::noop()));
    let (mut rest, mut pieces) = (bytes, pieces.iter().copied().cycle());
    while !rest.is_empty() {
        let piece = &rest[..pieces.next().unwrap().min(rest.len())];
        if let Poll::Ready(count) = gate.poll_write(cx, &mut to, piece) {
            rest = &rest[count.unwrap()..];
        }
    }
    while gate.poll_held(cx, &mut to).is_pending() {}
    to.taken
}

#[test]
fn behind_the_end_of_a_channel_nothing_of_it_passes_until_it_begins_again() {
    let publish = |channel| {
        [method(channel, PUBLISH), frame(2, channel, b"header"), frame(3, channel, b"body")]
            .concat()
    };
    for end in [CLOSE, CLOSE_OK] {
        let sent = [publish(1), publish(2), method(1, end)];
        let late = [publish(1), method(1, [0, 60, 0, 80])];
        let more = [publish(2), frame(8, 0, b""), method(1, OPEN), publish(1)];
        let all = [&sent[..], &late, &more].concat().concat();
        let due = [HELLO, &[&sent[..], &more].concat().concat()].concat();
        for cut in 1..all.len() {
            assert_eq!(passed(&[HELLO, &all].concat(), &[cut], &[7, 1000]), due, "{cut}");
        }
    }
}

#[test]
fn both_sides_may_end_a_channel() {
    let all = [HELLO, &method(1, CLOSE), &method(1, CLOSE_OK), &method(0, [0, 10, 0, 50])].concat();
    assert_eq!(passed(&all, &[1000], &[1000]), all);
}

#[test]
fn what_passes_behind_the_end_of_a_channel_leaves_in_one_piece() {
    let mut to = Narrow { taken: Vec::new(), widths: [usize::MAX].iter().copied().cycle() };
    let (mut gate, cx) = (Gate::default(), &mut Context::from_waker(std::task::Waker::noop()));
    let mut write = |bytes: &[u8]| gate.poll_write(cx, &mut to, bytes).map(Result::unwrap);
    let close = [HELLO, &method(1, CLOSE)].concat();
    let mut rest = &close[..];
    while !rest.is_empty() {
        let Poll::Ready(count) = write(rest) else { panic!("it takes all") };
        rest = &rest[count..];
    }
    let message = [method(2, PUBLISH), frame(2, 2, b"header"), frame(3, 2, b"body")].concat();
    let many = message.repeat(100);
    assert_eq!(write(&many), Poll::Ready(many.len()));
}

fn any_frame() -> impl Strategy<Value = (u8, u8, Vec<u8>)> {
    let known =
        prop_oneof![Just(OPEN), Just(CLOSE), Just(CLOSE_OK), Just(PUBLISH), any::<[u8; 4]>()];
    let method = (known, prop::collection::vec(any::<u8>(), 0..20))
        .prop_map(|(which, rest)| (1, [&which[..], &rest].concat()));
    let other = (
        prop_oneof![Just(1), Just(2), Just(3), Just(8)],
        prop::collection::vec(any::<u8>(), 0..40),
    );
    (0..4_u8, prop_oneof![method, other])
        .prop_map(|(channel, (kind, payload))| (kind, channel, payload))
}

proptest! {
    #[test]
    fn it_is_the_same_however_it_is_cut(
        frames in prop::collection::vec(any_frame(), 0..40),
        pieces in prop::collection::vec(1..200_usize, 1..20),
        widths in prop::collection::vec(0..50_usize, 1..20),
    ) {
        let (mut all, mut due, mut ended) = (HELLO.to_vec(), HELLO.to_vec(), HashSet::new());
        for (kind, channel, payload) in frames {
            let bytes = frame(kind, channel, &payload);
            let which = payload.get(..4).filter(|_| kind == 1);
            let passes = match which {
                Some(it) if it == OPEN => { ended.remove(&channel); true }
                Some(it) if it == CLOSE || it == CLOSE_OK => { ended.insert(channel); true }
                _ => !ended.contains(&channel),
            };
            due.extend(if passes { &bytes[..] } else { &[] });
            all.extend(bytes);
        }
        // Something must leave at times.
        let widths: Vec<_> = widths.into_iter().chain(iter::once(9)).collect();
        prop_assert_eq!(passed(&all, &pieces, &widths), due);
    }
}
