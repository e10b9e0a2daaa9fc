//! An error is one bounded line that never repeats its source, whatever a peer put into it.
use std::error::Error as _;

use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};
use sinew_core::{Error, ErrorKind};

proptest! {
    #[test]
    fn an_error_is_one_line_and_keeps_its_source_apart(
        subject in any::<String>(),
        detail in any::<String>(),
        source in "[A-Z]{20}",
    ) {
        let err = Error::new(ErrorKind::Denied, "nats publish")
            .with_subject(&subject)
            .with_detail(detail)
            .with_source(source.clone());
        let line = err.to_string();
        prop_assert!(!line.contains(char::is_control), "{:?}", line);
        prop_assert!(line.starts_with("nats publish `"));
        prop_assert!(line.contains(": denied"));
        prop_assert!(!line.contains(&source));
        prop_assert_eq!(err.source().map(ToString::to_string), Some(source));
        prop_assert_eq!(err.subject(), Some(&*subject));
    }

    #[test]
    fn a_subject_of_any_length_is_kept_to_a_bound(len in 0_usize..3000, c in any::<char>()) {
        let text = c.to_string().repeat(len);
        let err = Error::new(ErrorKind::InvalidSubject, "parse").with_subject(&text);
        let shown = err.subject().unwrap_or_default();
        prop_assert!(shown.len() <= 512 + '…'.len_utf8());
        prop_assert!(text.starts_with(shown.trim_end_matches('…')) || c == '…');
    }
}
