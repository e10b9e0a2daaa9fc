//! What comes next, written against the contract before it is built: each module is a backend in miniature, with the
//! real types, that records what it would put on the wire. If something cannot be said here, the contract is wrong.

mod drain;
mod logs;
mod nameko;
mod requests;
mod support;
mod third_party;
mod zeromq;
