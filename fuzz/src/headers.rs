//! Headers, built as the bytes say.
use sinew_core::{Headers, Value};

/// Whatever is put in, what is held stays within its bounds, and nothing of it is shown.
pub(crate) fn headers(data: &[u8]) {
    let mut headers = Headers::default();
    for line in data.split(|&byte| byte == b'\n') {
        let at = line.iter().position(|&byte| byte == b':').unwrap_or(line.len());
        let (name, rest) = line.split_at_checked(at).unwrap_or((line, &[]));
        let Ok(name) = std::str::from_utf8(name) else { continue };
        let before = headers.len();
        match rest.strip_prefix(b":!") {
            Some(_) => {
                let was_there = headers.value(name).is_some();
                assert_eq!(headers.remove(name).is_some(), was_there);
                assert_eq!(headers.len() + usize::from(was_there), before);
            }
            None => {
                let (value, depth) = value(rest);
                let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic());
                let is_taken = headers.insert(name, value).is_ok();
                let fits = before < Headers::MAX_LEN || headers.value(name).is_some();
                assert_eq!(is_taken, is_name && depth <= Headers::MAX_DEPTH && fits);
            }
        }
    }
    assert!(headers.len() <= Headers::MAX_LEN);
    let clone = headers.clone();
    assert_eq!(clone.iter().count(), headers.len());
    let shown = format!("{headers:?}");
    assert!(!shown.contains("s3cret-of-headers"), "{shown}");
}

/// Each `[` and `{` nests the text that the rest is; how deep that is.
fn value(bytes: &[u8]) -> (Value, usize) {
    let text = String::from_utf8_lossy(bytes).replace(['[', '{'], "");
    let mut value = Value::from(format!("s3cret-of-headers {text}"));
    let mut depth = 1;
    for byte in bytes {
        value = match byte {
            b'[' => Value::List(vec![value, Value::Null]),
            b'{' => Value::Map(vec![(String::new(), value)]),
            _ => continue,
        };
        depth += 1;
    }
    (value, depth)
}
