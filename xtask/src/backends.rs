//! The README's table of backends: written by the `sinew` command from what each backend says it can do.

use std::{fs, time::Duration};

use crate::{
    failure::{Context, Failure, Result},
    program::Program,
    workspace,
};

const BEGIN: &str = "<!-- backends:begin -->";
const END: &str = "<!-- backends:end -->";

/// Fails when the README says something else than the code does.
pub(crate) fn check() -> Result {
    let (readme, current) = (read()?, table()?);
    if block(&readme)? == current {
        return Ok(());
    }
    Err(Failure::new("README.md: the table of backends is out of date: cargo xtask tidy --bless"))
}

/// Writes the table into the README.
pub(crate) fn bless() -> Result {
    let readme = read()?;
    let blessed = replaced(&readme, &table()?)?;
    if blessed != readme {
        fs::write(workspace::root().join("README.md"), blessed).context("README.md")?;
        println!("README.md: the table of backends is written anew");
    }
    Ok(())
}

fn read() -> Result<String> {
    fs::read_to_string(workspace::root().join("README.md")).context("README.md")
}

fn table() -> Result<String> {
    let said = Program::cargo()
        .args(["run", "--quiet", "--package", "sinew-cli", "--bin", "sinew"])
        .args(["--", "backends", "--markdown"])
        .current_dir(workspace::root())
        .capture(Duration::from_secs(1800))?;
    Ok(said.trim().to_owned())
}

/// What stands between the two marks, blank lines around it left out.
fn block(readme: &str) -> Result<&str> {
    let (_, rest) = readme.split_once(BEGIN).context(format_args!("README.md has no {BEGIN}"))?;
    let (block, _) = rest.split_once(END).context(format_args!("README.md has no {END}"))?;
    Ok(block.trim())
}

fn replaced(readme: &str, table: &str) -> Result<String> {
    block(readme)?;
    let (before, rest) = readme.split_once(BEGIN).unwrap_or_default();
    let (_, after) = rest.split_once(END).unwrap_or_default();
    Ok(format!("{before}{BEGIN}\n\n{table}\n\n{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_between_the_marks_is_replaced() {
        let readme = format!("# Top\n\n{BEGIN}\nold\n{END}\n\nrest\n");
        assert_eq!(block(&readme).unwrap(), "old");
        let blessed = replaced(&readme, "| new |").unwrap();
        assert_eq!(block(&blessed).unwrap(), "| new |");
        assert!(blessed.starts_with("# Top\n\n<!--") && blessed.ends_with("-->\n\nrest\n"));
        assert_eq!(replaced(&blessed, "| new |").unwrap(), blessed);
    }

    #[test]
    fn a_readme_without_marks_is_refused() {
        assert!(block("# Top").is_err());
        assert!(replaced(&format!("{BEGIN} open"), "| new |").is_err());
    }
}
