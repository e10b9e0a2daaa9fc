//! Links in the documentation lead somewhere: to a file of the project, and to a heading in it.

use super::{Finding, tree::Tree};

pub(super) fn resolve(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.files(is_document) {
        for (line, target) in links(text) {
            if let Some(complaint) = complaint(tree, path, target) {
                findings.push(Finding::new(path, line, format!("link to `{target}`: {complaint}")));
            }
        }
    }
    findings
}

fn is_document(path: &str) -> bool {
    let crate_readme = path.starts_with("crates/") && path.ends_with("/README.md");
    let in_docs = path.starts_with("docs/") && path.ends_with(".md");
    crate_readme || in_docs || (!path.contains('/') && path.ends_with(".md"))
}

/// What is wrong with a link from the file `from`; nothing for what lies outside the project.
fn complaint(tree: &Tree, from: &str, target: &str) -> Option<&'static str> {
    let outside = target.contains("://") || target.starts_with("mailto:");
    // A crate's README is its doc, where a path in the code is a link that rustdoc checks.
    let in_code = from.starts_with("crates/") && !target.contains(['/', '.', '#']);
    if outside || in_code || target.contains("::") {
        return None;
    }
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let joined = if file.is_empty() { Some(from.to_owned()) } else { join(from, file) };
    let Some(file) = joined else { return Some("leaves the project") };
    if !file.is_empty() && !tree.holds(&file) {
        return Some("no such file");
    }
    let markdown = tree.text(&file).filter(|_| file.ends_with(".md"));
    match markdown {
        Some(text) if !anchor.is_empty() && !headings(text).iter().any(|slug| slug == anchor) => {
            Some("no such heading")
        }
        _ => None,
    }
}

/// `file` as seen from the folder of `from`; `None` above the top.
fn join(from: &str, file: &str) -> Option<String> {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in file.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// Line and target of each `[text](target)` and `[name]: target`, code left out.
fn links(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for (number, line) in prose(text) {
        let trimmed = line.trim_start();
        if trimmed.starts_with('[')
            && let Some((name, target)) = trimmed.split_once("]: ")
            && !name.starts_with("[^")
        {
            found.extend(target.split_whitespace().next().map(|target| (number, target)));
            continue;
        }
        let mut rest = line;
        while let Some((before, after)) = rest.split_once("](") {
            let (target, behind) = after.split_once(')').unwrap_or((after, ""));
            if before.matches('`').count() % 2 == 0 {
                let target = target.split_whitespace().next().unwrap_or_default();
                found.push((number, target.trim_matches(['<', '>'])));
                rest = behind;
            } else {
                // Inside inline code: go on behind the next backtick.
                rest = after.split_once('`').map_or("", |(_, behind)| behind);
            }
        }
    }
    found
}

/// The anchors of the headings, as GitHub makes them: a repeated one counts up.
fn headings(text: &str) -> Vec<String> {
    let mut slugs: Vec<String> = Vec::new();
    for (_, line) in prose(text) {
        let title = line.trim_start_matches('#');
        let level = line.len() - title.len();
        if (1..=6).contains(&level) && title.starts_with(' ') {
            let base = slug(title);
            let mut unique = base.clone();
            let mut count = 0;
            while slugs.contains(&unique) {
                count += 1;
                unique = format!("{base}-{count}");
            }
            slugs.push(unique);
        }
    }
    slugs
}

fn slug(title: &str) -> String {
    // Of a link in a heading only the text counts.
    let title: String = title.split("](").enumerate().fold(String::new(), |text, (index, part)| {
        let part =
            if index == 0 { part } else { part.split_once(')').map_or("", |(_, rest)| rest) };
        text + part
    });
    title
        .trim()
        .to_lowercase()
        .chars()
        .filter_map(|c| match c {
            ' ' => Some('-'),
            '-' | '_' => Some(c),
            c if c.is_alphanumeric() => Some(c),
            _ => None,
        })
        .collect()
}

/// The lines outside fenced code, counted from 1.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fence: Option<&str> = None;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let mark = ["```", "~~~"].into_iter().find(|mark| line.trim_start().starts_with(mark));
        match (fence, mark) {
            (None, Some(_)) => fence = mark,
            (Some(open), Some(mark)) if open == mark => fence = None,
            (None, None) => return Some((index + 1, line)),
            _ => {}
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(readme: &str) -> Vec<String> {
        let tree = Tree::of(&[
            ("README.md", readme),
            ("docs/guide.md", "# The guide\n\n## Ack & `nack`\n\n## Twice\n\n## Twice\n"),
            ("crates/core/README.md", "# core\n"),
        ]);
        resolve(&tree).into_iter().map(|finding| finding.to_string()).collect()
    }

    #[test]
    fn links_that_lead_somewhere_pass() {
        let readme = "# Top\n[a](docs/guide.md) [b](docs) [c](https://example.com/x) [d](#top)\n\
                      [e](docs/guide.md#ack--nack \"title\") [f](./crates/core/#x)\n\
                      [g](docs/guide.md#twice-1)\n[h]: docs/guide.md\n";
        assert_eq!(complaints(readme), [""; 0]);
    }

    #[test]
    fn links_that_lead_nowhere_are_found() {
        let readme =
            "[a](docs/gone.md)\n[b](docs/guide.md#gone) [c](#gone)\n[d]: gone.md\n[e](../x)\n";
        let found = complaints(readme);
        assert_eq!(found.len(), 5, "{found:?}");
        assert!(found[0].starts_with("README.md:1:") && found[0].contains("no such file"));
        assert!(found[1].contains("no such heading") && found[4].contains("leaves the project"));
    }

    #[test]
    fn code_is_no_link() {
        let readme = "```\n[a](gone.md)\n```\n`[b](gone.md)` and [c](docs)\n";
        assert_eq!(complaints(readme), [""; 0]);
    }

    #[test]
    fn a_crate_readme_may_link_into_its_code() {
        let tree = Tree::of(&[
            ("crates/a/README.md", "[`A`](A) [b](crate::B) [c](gone.md)\n[`D`]: crate::D\n"),
            ("crates/a/src/lib.rs", ""),
        ]);
        assert_eq!(resolve(&tree).len(), 1);
    }
}
