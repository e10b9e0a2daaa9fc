//! Patterns against a matcher of another kind.
use sinew_core::{Address, Pattern, Subject};

use crate::lines;

/// Line 1 is a pattern, line 2 a subject: matching agrees with a table filled token by token.
pub(crate) fn pattern(data: &[u8]) {
    let Some([pattern, subject]) = lines(data) else { return };
    let (Ok(parsed), Ok(subject)) = (Pattern::parse(pattern), Subject::parse(subject)) else {
        return;
    };
    assert_eq!(parsed.to_string(), pattern);
    let wanted = table(pattern, &subject);
    assert_eq!(parsed.matches(&subject), wanted, "{pattern} wants {subject}");
    if let Some(only) = parsed.as_subject() {
        assert_eq!(only == subject, wanted);
    }
}

/// Lines 1 and 2 are patterns, line 3 a name: what the narrow one wants, a wide one that covers it wants, too.
pub(crate) fn cover(data: &[u8]) {
    let Some([wide, narrow, name]) = lines(data) else { return };
    let (Some(wide), Some(narrow)) = (any_pattern(wide), any_pattern(narrow)) else { return };
    assert!(wide.covers(&wide), "{wide} covers itself");
    let name = Address::from_wire(None, name.to_owned());
    if wide.covers(&narrow) && narrow.matches_address(&name) {
        assert!(wide.matches_address(&name), "{wide} covers {narrow}, and wants {name}");
    }
}

/// `=name` and `^prefix` are names of any bytes.
fn any_pattern(text: &str) -> Option<Pattern> {
    match text.split_at_checked(1) {
        Some(("=", name)) => Some(Pattern::exact(name.to_owned())),
        Some(("^", prefix)) => Some(Pattern::prefix(prefix.to_owned())),
        _ => Pattern::parse(text).ok(),
    }
}

/// Column `n` of the row of a pattern's first tokens says whether they want the subject's first `n` tokens.
fn table(pattern: &str, subject: &str) -> bool {
    let given: Vec<&str> = subject.split('.').collect();
    let mut row = vec![false; given.len() + 1];
    if let Some(nothing) = row.first_mut() {
        *nothing = true;
    }
    for token in pattern.split('.') {
        let mut next = Vec::with_capacity(row.len());
        // Whether some shorter start is wanted, and whether the next shorter one is.
        let (mut reached, mut before) = (false, false);
        for (column, &above) in row.iter().enumerate() {
            let last = column.checked_sub(1).and_then(|index| given.get(index));
            next.push(match token {
                "#" => reached || above,
                ">" => reached,
                "*" => before && last.is_some(),
                literal => before && last == Some(&literal),
            });
            reached |= above;
            before = above;
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}
