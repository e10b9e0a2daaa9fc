//! `${NAME}` and `${NAME:default}`, as nameko puts variables of the environment into its configuration.
use crate::error::Cause;

/// How deep defaults may stand in defaults.
const DEEPEST: usize = 16;
/// How long a text may get, in bytes.
const LONGEST: usize = 1 << 20;

/// Whether there is something that looks like a variable.
pub(super) fn is_due(text: &str) -> bool {
    text.find("${").is_some_and(|at| text.get(at..).is_some_and(|rest| rest.contains('}')))
}

/// The text with its variables in place; one that is not set and has no default is empty.
pub(super) fn expand(
    text: &str,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<String, Cause> {
    within(text, variable, DEEPEST)
}

fn within(
    text: &str,
    variable: &dyn Fn(&str) -> Option<String>,
    levels: usize,
) -> Result<String, Cause> {
    let levels = levels
        .checked_sub(1)
        .ok_or_else(|| Cause::options("variables stand in each other's defaults too deep"))?;
    let mut expanded = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        expanded.push_str(before);
        match reference(after) {
            Some((name, default, behind)) => {
                let value = match (variable(name), default) {
                    (Some(value), _) => value,
                    (None, Some(default)) => within(default, variable, levels)?,
                    (None, None) => String::new(),
                };
                expanded.push_str(&value);
                rest = behind;
            }
            None => {
                expanded.push_str("${");
                rest = after;
            }
        }
        if expanded.len() > LONGEST {
            return Err(Cause::options("a value with its variables is longer than 1 MiB"));
        }
    }
    expanded.push_str(rest);
    Ok(expanded)
}

/// What follows `${`: the name, the default if there is one, and what is behind its end.
fn reference(text: &str) -> Option<(&str, Option<&str>, &str)> {
    let end = text.find(|c: char| matches!(c, '{' | '}' | ':') || c.is_whitespace())?;
    let (name, rest) = text.split_at(end);
    if name.is_empty() {
        return None;
    }
    if let Some(behind) = rest.strip_prefix('}') {
        return Some((name, None, behind));
    }
    let default = rest.strip_prefix(':')?;
    let mut open = 0_usize;
    for (at, c) in default.char_indices() {
        match c {
            '{' => open += 1,
            '}' if open == 0 => {
                return Some((name, Some(default.get(..at)?), default.get(at + 1..)?));
            }
            '}' => open -= 1,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str) -> String {
        let known = |name: &str| (name == "SET").then(|| "value".to_owned());
        expand(text, &known).unwrap()
    }

    #[test]
    fn a_variable_is_its_value_or_its_default_or_nothing() {
        for (text, wanted) in [
            ("${SET}", "value"),
            ("a ${SET} b ${SET}", "a value b value"),
            ("${UNSET}", ""),
            ("${UNSET:default}", "default"),
            ("${SET:default}", "value"),
            ("${UNSET:}", ""),
            ("${UNSET:a:b c}", "a:b c"),
            ("${UNSET:${SET}}", "value"),
            ("${UNSET:x${ALSO:y${SET}}z}", "xyvaluez"),
            ("${UNSET:{\"a\": 1}}", "{\"a\": 1}"),
            ("$SET {SET} ${ SET} ${} ${SET", "$SET {SET} ${ SET} ${} ${SET"),
            ("pyamqp://${UNSET:guest}:${SET}@h", "pyamqp://guest:value@h"),
        ] {
            assert_eq!(expanded(text), wanted, "{text}");
        }
    }

    #[test]
    fn what_nests_too_deep_is_an_error() {
        let text = format!("{}x{}", "${A:".repeat(40), "}".repeat(40));
        assert!(expand(&text, &|_| None).is_err());
    }
}
