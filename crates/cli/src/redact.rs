//! Keeps secrets out of what is shown: whatever stands between `://` and `@` in any text.
use std::borrow::Cow;

/// The same text with the user's part of every URL masked.
///
/// The typed address of a connection never shows its password. This is for text that we did not write: a usage
/// error that repeats its argument, a log line of a broker's client.
pub(crate) fn redact(text: &str) -> Cow<'_, str> {
    let mut shown = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("://") {
        let end = after.find(|c: char| c.is_whitespace() || "\"'`<>".contains(c));
        let (url, tail) = after.split_at_checked(end.unwrap_or(after.len())).unwrap_or((after, ""));
        shown.push_str(before);
        shown.push_str("://");
        match url.rsplit_once('@') {
            Some((_, host)) => {
                shown.push_str("***@");
                shown.push_str(host);
            }
            None => shown.push_str(url),
        }
        rest = tail;
    }
    if shown.is_empty() {
        return Cow::Borrowed(text);
    }
    shown.push_str(rest);
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_url_in_a_text_is_masked() {
        assert_eq!(
            redact("error: 'nats://a:hush@h:1/x' and nats://hush@h, not nats://h"),
            "error: 'nats://***@h:1/x' and nats://***@h, not nats://h"
        );
        assert_eq!(redact("nats://a:hu://sh@h"), "nats://***@h");
        assert_eq!(redact("nothing to hide: a@b"), "nothing to hide: a@b");
    }

    proptest! {
        #[test]
        fn a_password_is_never_left(password in "[!-~&&[^\"'`<>]]{1,20}") {
            let secret = format!("hush{password}hush");
            let text = format!("cannot reach nats://ann:{secret}@host: no");
            prop_assert_eq!(redact(&text), "cannot reach nats://***@host: no");
        }

        #[test]
        fn text_without_urls_is_kept(text in "[^:]{0,60}") {
            prop_assert_eq!(redact(&text), text.as_str());
        }
    }
}
