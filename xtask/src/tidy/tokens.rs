//! Rust as a flat list of tokens: for rules that must also hold inside macro calls, which no parser opens.

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// One token; a group is its opening, its content, and its closing.
#[derive(Debug)]
pub(super) struct Token {
    pub(super) text: String,
    pub(super) line: usize,
    /// True under a `#[cfg(test)]` module, function or import.
    pub(super) test: bool,
}

/// The tokens of `text`; nothing when it is no Rust, which another check tells.
pub(super) fn tokens(text: &str) -> Vec<Token> {
    let mut found = Vec::new();
    if let Ok(stream) = text.parse::<TokenStream>() {
        flatten(stream, false, &mut found);
    }
    found
}

fn flatten(stream: TokenStream, test: bool, found: &mut Vec<Token>) {
    // Set by `#[cfg(test)]`, and cleared by the `;` or the braces that end the item below it.
    let mut marked = false;
    for tree in stream {
        let line = tree.span().start().line;
        let token = |text: &str| Token { text: text.to_owned(), line, test: test || marked };
        match tree {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::None => ("", ""),
                };
                let marks = group.delimiter() == Delimiter::Bracket
                    && found.last().is_some_and(|last| last.text == "#")
                    && is_cfg_test(group.stream());
                found.push(token(open));
                flatten(group.stream(), test || marked, found);
                found.push(token(close));
                marked = marks || marked && group.delimiter() != Delimiter::Brace;
            }
            TokenTree::Punct(punct) => {
                found.push(token(&punct.as_char().to_string()));
                marked &= punct.as_char() != ';';
            }
            TokenTree::Ident(ident) => found.push(token(&ident.to_string())),
            TokenTree::Literal(literal) => found.push(token(&literal.to_string())),
        }
    }
}

fn is_cfg_test(stream: TokenStream) -> bool {
    let text: String = stream.to_string().split_whitespace().collect();
    text == "cfg(test)"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_under_cfg_test_is_test_code() {
        let text = "fn a() { one() }\n#[cfg(test)]\nuse two;\nuse three;\n\
                    #[cfg(test)]\nmod tests { fn b() { four() } }\nfn c() { five() }\n";
        let tests: Vec<String> = tokens(text)
            .into_iter()
            .filter(|token| token.test && token.text.len() > 2)
            .map(|token| token.text)
            .collect();
        assert_eq!(tests, ["use", "two", "mod", "tests", "four"]);
    }

    #[test]
    fn tokens_inside_a_macro_call_are_seen_with_their_line() {
        let found = tokens("fn a() {\n select! {\n _ = sleep(x) => {}\n }\n}");
        let sleep = found.iter().find(|token| token.text == "sleep").unwrap();
        assert_eq!(sleep.line, 3);
    }

    #[test]
    fn text_that_is_no_rust_has_no_tokens() {
        assert!(tokens("fn a( {").is_empty());
    }
}
