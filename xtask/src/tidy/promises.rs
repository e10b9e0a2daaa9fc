//! What waiting promises: each public function that gives a future says how it can fail, and what happens
//! when the future is dropped half way. Clippy sees only the `async fn`s among them, and only failing.

use syn::{
    Attribute, Expr, GenericArgument, ImplItem, Item, Lit, Meta, PathArguments, ReturnType,
    Signature, TraitItem, Type, TypeParamBound, Visibility,
};

use super::{Finding, tree::Tree};

const ERRORS: &str = "# Errors";
const CANCEL_SAFETY: &str = "# Cancel safety";

pub(super) fn are_documented(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let source = |path: &str| path.starts_with("crates/") && path.contains("/src/");
    for (path, parsed) in tree.syntax(source) {
        // A file that does not parse is told by the check for globs.
        if let Ok(file) = parsed {
            in_items(path, &file.items, &mut findings);
        }
    }
    findings
}

fn in_items(path: &str, items: &[Item], findings: &mut Vec<Finding>) {
    for item in items {
        match item {
            Item::Fn(function) if is_public(&function.vis) => {
                check(path, &function.sig, &function.attrs, findings);
            }
            Item::Impl(block) if block.trait_.is_none() => {
                for item in &block.items {
                    if let ImplItem::Fn(method) = item
                        && is_public(&method.vis)
                    {
                        check(path, &method.sig, &method.attrs, findings);
                    }
                }
            }
            Item::Trait(contract) if is_public(&contract.vis) && !is_hidden(&contract.attrs) => {
                for item in &contract.items {
                    if let TraitItem::Fn(method) = item {
                        check(path, &method.sig, &method.attrs, findings);
                    }
                }
            }
            Item::Mod(module) if !is_test(&module.attrs) => {
                if let Some((_, items)) = &module.content {
                    in_items(path, items, findings);
                }
            }
            _ => {}
        }
    }
}

fn check(path: &str, signature: &Signature, attrs: &[Attribute], findings: &mut Vec<Finding>) {
    let Some(fails) = outcome(signature) else { return };
    if is_hidden(attrs) {
        return;
    }
    let doc = doc(attrs);
    let has = |heading: &str| doc.lines().any(|line| line.trim() == heading);
    for heading in [ERRORS, CANCEL_SAFETY] {
        if !has(heading) && (fails || heading != ERRORS) {
            let line = signature.ident.span().start().line;
            let message =
                format!("`{}` gives a future; its doc lacks `{heading}`", signature.ident);
            findings.push(Finding::new(path, line, message));
        }
    }
}

/// `None` when no future is given; else whether it can fail.
fn outcome(signature: &Signature) -> Option<bool> {
    let output = match &signature.output {
        ReturnType::Default => return signature.asyncness.is_some().then_some(false),
        ReturnType::Type(_, output) => output,
    };
    if signature.asyncness.is_some() {
        return Some(is_result(output));
    }
    future_outcome(output)
}

fn future_outcome(output: &Type) -> Option<bool> {
    match output {
        Type::ImplTrait(given) => bounds_outcome(given.bounds.iter()),
        Type::TraitObject(given) => bounds_outcome(given.bounds.iter()),
        Type::Path(path) => {
            let last = path.path.segments.last()?;
            match last.ident.to_string().as_str() {
                // Its output is a Result by definition.
                "Pending" => Some(true),
                "BoxFuture" | "LocalBoxFuture" => Some(types_in(&last.arguments).any(is_result)),
                "Pin" | "Box" => types_in(&last.arguments).find_map(future_outcome),
                _ => None,
            }
        }
        _ => None,
    }
}

fn bounds_outcome<'s>(bounds: impl Iterator<Item = &'s TypeParamBound>) -> Option<bool> {
    for bound in bounds {
        let TypeParamBound::Trait(bound) = bound else { continue };
        let Some(last) = bound.path.segments.last() else { continue };
        if last.ident != "Future" && last.ident != "IntoFuture" {
            continue;
        }
        let PathArguments::AngleBracketed(arguments) = &last.arguments else { return Some(false) };
        return Some(arguments.args.iter().any(|argument| {
            matches!(argument, GenericArgument::AssocType(output) if is_result(&output.ty))
        }));
    }
    None
}

fn types_in(arguments: &PathArguments) -> impl Iterator<Item = &Type> {
    let arguments = match arguments {
        PathArguments::AngleBracketed(arguments) => Some(&arguments.args),
        _ => None,
    };
    arguments.into_iter().flatten().filter_map(|argument| match argument {
        GenericArgument::Type(argument) => Some(argument),
        _ => None,
    })
}

fn is_result(output: &Type) -> bool {
    let Type::Path(path) = output else { return false };
    path.path.segments.last().is_some_and(|last| last.ident == "Result")
}

fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

fn is_hidden(attrs: &[Attribute]) -> bool {
    attrs.iter().any(|attr| {
        attr.path().is_ident("doc")
            && attr.parse_args::<syn::Ident>().is_ok_and(|word| word == "hidden")
    })
}

fn is_test(attrs: &[Attribute]) -> bool {
    attrs.iter().any(|attr| {
        attr.path().is_ident("cfg")
            && attr.parse_args::<syn::Ident>().is_ok_and(|word| word == "test")
    })
}

/// The text of the doc comment.
fn doc(attrs: &[Attribute]) -> String {
    let mut text = String::new();
    for attr in attrs.iter().filter(|attr| attr.path().is_ident("doc")) {
        if let Meta::NameValue(named) = &attr.meta
            && let Expr::Lit(literal) = &named.value
            && let Lit::Str(line) = &literal.lit
        {
            text.push_str(&line.value());
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        let text = format!("//! A.\n{text}");
        are_documented(&Tree::of(&[("crates/a/src/a.rs", &text)]))
            .into_iter()
            .map(|finding| finding.message)
            .collect()
    }

    #[test]
    fn each_way_to_give_a_failing_future_needs_both_headings() {
        for signature in [
            "pub async fn f() -> Result<()> {}",
            "pub fn f() -> impl Future<Output = Result<()>> + Send {}",
            "pub fn f() -> impl Send + core::future::Future<Output = io::Result<()>> {}",
            "pub fn f() -> Pending<Receipt> {}",
            "pub fn f() -> BoxFuture<'static, Result<()>> {}",
            "pub fn f() -> Pin<Box<dyn Future<Output = Result<()>> + Send>> {}",
            "impl A { pub async fn f(&self) -> Result<()> {} }",
            "pub trait A { fn f(&self) -> impl Future<Output = Result<()>> + Send; }",
            "pub mod inner { pub async fn f() -> Result<()> {} }",
        ] {
            let found = found(signature);
            assert_eq!(found.len(), 2, "{signature}: {found:?}");
            assert!(found[0].contains(ERRORS) && found[1].contains(CANCEL_SAFETY), "{found:?}");
        }
    }

    #[test]
    fn a_future_that_cannot_fail_needs_its_cancel_safety_only() {
        for signature in [
            "pub async fn f() {}",
            "pub async fn f() -> Option<Message> {}",
            "pub fn f() -> impl Future<Output = ()> {}",
            "pub fn f() -> BoxFuture<'a, ()> {}",
        ] {
            assert_eq!(found(signature).len(), 1, "{signature}");
        }
    }

    #[test]
    fn what_is_documented_private_a_test_or_no_future_passes() {
        for text in [
            "/// F.\n///\n/// # Errors\n///\n/// None.\n///\n/// # Cancel safety\n///\n/// Safe.\n\
             pub async fn f() -> Result<()> {}",
            "pub(crate) async fn f() -> Result<()> {}",
            "impl Publish for A { async fn f(&self) -> Result<()> {} }",
            "trait A { async fn f(&self) -> Result<()>; }",
            "#[cfg(test)] mod tests { pub async fn f() {} }",
            "#[doc(hidden)] pub async fn f() {}",
            "pub fn f() -> Result<()> {}",
            "pub fn f() -> impl Stream<Item = Result<()>> {}",
            "impl<T> Pending<T> { pub fn ready(outcome: Result<T>) -> Self {} }",
        ] {
            assert!(found(text).is_empty(), "{text}: {:?}", found(text));
        }
    }

    #[test]
    fn tests_and_other_packages_are_free() {
        let text = "//! A.\npub async fn f() -> Result<()> {}\n";
        let tree = Tree::of(&[("crates/a/tests/a.rs", text), ("examples/src/lib.rs", text)]);
        assert!(are_documented(&tree).is_empty());
    }
}
