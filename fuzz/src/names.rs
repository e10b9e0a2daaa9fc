//! Names off the wire, and their codes.
use bytes::Bytes;
use sinew_core::{Address, MAX_NAME_LEN, Pattern, Queue, Scope, Subject, decode_name, encode_name};

/// Any bytes are an address, kept as they are, and shown on one line.
pub(crate) fn address(data: &[u8]) {
    let address = Address::from_wire(None, data.to_vec());
    let kept = match &address {
        Address::Subject(_, subject) => subject.as_bytes(),
        Address::Foreign(_, name) => name,
        _ => &[],
    };
    assert_eq!(kept, data, "the name changed");
    let shown = address.to_string();
    assert!(!shown.contains(char::is_control), "{shown:?} is more than a line");
    assert!(Pattern::exact(Bytes::copy_from_slice(data)).matches_address(&address));

    let Ok(text) = std::str::from_utf8(data) else { return };
    match Subject::parse(text) {
        Ok(subject) => {
            assert_eq!(address.subject(), Some(&subject));
            assert!(text.len() <= MAX_NAME_LEN && subject.tokens().all(|it| !it.is_empty()));
            assert_eq!(Subject::from_tokens(subject.tokens()).ok().as_ref(), Some(&subject));
            assert_eq!(Pattern::parse(text).ok(), Some(Pattern::from(subject)));
        }
        Err(err) => {
            assert_eq!(address.subject(), None);
            let line = err.to_string();
            assert!(line.len() < 4096 && !line.contains(char::is_control), "{line:?}");
        }
    }
}

/// A code has one text and a text one code; what is no code is refused.
pub(crate) fn name_code(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let code = encode_name(text);
    assert!(code.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-%".contains(&byte)));
    assert_eq!(decode_name(&code).as_deref(), Some(text));
    if let Some(decoded) = decode_name(text) {
        assert_eq!(encode_name(&decoded), text);
    }
    let is_name =
        !text.is_empty() && text.len() <= MAX_NAME_LEN && !text.contains(char::is_control);
    assert_eq!(Queue::parse(text).is_ok(), is_name);
    assert_eq!(Scope::parse(text).is_ok(), is_name);
}
