//! The session of `crates/events/README.md` with the service of nameko's own documentation: its commands, line by line, in
//! two terminals.
use std::{collections::BTreeMap, fs, os::unix::fs::symlink, path::Path, time::Instant};

use sinew_testkit::harness::{find_nameko, rabbitmq::RabbitMq};
use tokio::runtime::Runtime;

use crate::{
    SharedBody,
    common::{DEADLINE, Result},
    page::{Terminal, blocks, consumed, lines, section},
};

pub(crate) const TRIALS: &[(&str, SharedBody)] =
    &[("the_session_with_nameko_in_the_docs_goes_as_they_say", as_the_docs_say)];

const PAGE: &str = include_str!("../../../events/README.md");

fn as_the_docs_say(runtime: &Runtime, broker: &RabbitMq) -> Result<()> {
    let python = find_nameko()?;
    let environment = python.parent().and_then(Path::parent).ok_or("it is in no environment")?;
    let folder = tempfile::tempdir()?;
    let section = section(PAGE, "## With nameko")?;
    let code = blocks(section, "python").concat();
    fs::write(folder.path().join("events.py"), code)?;
    let url = broker.url().replacen("amqp://", "pyamqp://", 1);
    let ours = |script: &String| script.replace("pyamqp://guest:guest@127.0.0.1", &url);
    let scripts: Vec<_> = blocks(section, "sh").iter().map(ours).collect();
    let [install, talk, share] = &*scripts else { return Err("three scripts were there".into()) };

    // What these two make is there, at the pinned version.
    let [(venv, _), (pip, _), (run, _)] = &*lines(install) else {
        return Err(format!("it is made, filled and run: {install}").into());
    };
    assert!(venv.ends_with(" -m venv python") && pip.starts_with("python/bin/pip install nameko"));
    symlink(environment, folder.path().join("python"))?;

    let (mut theirs, mut ours) = (Terminal::open(folder.path())?, Terminal::open(folder.path())?);
    theirs.enter(run)?;
    runtime.block_on(consumed(broker, "evt-service_a-event_type--service_b.handle_event", 1))?;
    for (command, seen) in lines(talk) {
        ours.enter(&command)?;
        if command.ends_with('&') {
            ours.shows("listening")?;
        }
        if let Some(seen) = seen {
            theirs.shows(&seen)?;
        }
    }
    let (_, last) = section.split_once("Both have the last one:").ok_or("the last one is said")?;
    let mut said = last.split('`').skip(1).step_by(2);
    let (there, here) = (said.next().ok_or("there")?, said.next().ok_or("here")?);
    theirs.shows(there)?;
    ours.shows(here)?;

    for (command, _) in lines(share) {
        ours.enter(&command)?;
        if command.ends_with('&') {
            ours.shows("listening")?;
        }
    }
    // Each is of `audit`, which is still there, and of one member of `service_b`.
    let mut handled: BTreeMap<char, usize> = BTreeMap::new();
    let mut of_python = 0;
    let end = Instant::now() + DEADLINE;
    while handled.values().sum::<usize>() < 12 {
        assert!(Instant::now() < end, "no more than {handled:?}");
        for line in theirs.lines_of("service b received: ") {
            of_python += 1;
            *handled.entry(line).or_default() += 1;
        }
        for line in ours.lines_of("service_a/event_type ") {
            *handled.entry(line).or_default() += 1;
        }
    }
    assert_eq!(handled, ('1'..='6').map(|number| (number, 2)).collect());
    assert!((1..6).contains(&of_python), "Python had {of_python} of 6");
    Ok(())
}
