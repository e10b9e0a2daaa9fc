//! Reply addresses: which broker's, and which of its inboxes.
use bytes::{Buf, BufMut, BytesMut};
use sinew_core::ReplyTo;

/// The address of an inbox. Ids are never used twice, so a late reply finds nobody, or who asked.
pub(crate) fn address(inbox: u64, broker: u64) -> ReplyTo {
    let mut native = BytesMut::with_capacity(MARK.len() + 16);
    native.put_slice(MARK);
    native.put_u64(broker);
    native.put_u64(inbox);
    ReplyTo::new(native.freeze())
}

/// The inbox behind an address; `None` where another broker made it.
pub(crate) fn inbox(reply_to: &ReplyTo, broker: u64) -> Option<u64> {
    let mut ids = reply_to.native().strip_prefix(MARK)?;
    let is_ours = ids.try_get_u64().ok()? == broker;
    ids.try_get_u64().ok().filter(|_| is_ours)
}

const MARK: &[u8] = b"sinew-memory:";
