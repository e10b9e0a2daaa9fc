//! The session of `docs/from-nameko.md`: a service of nameko's gives its place to the program of that page, by the page's own
//! commands, beside a broker that nobody else uses.
use std::{
    env, fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
};

use sinew_testkit::harness::{
    find_nameko,
    rabbitmq::{RabbitMq, RabbitMqOptions},
};
use tokio::runtime::Runtime;

use crate::{
    Body,
    common::Result,
    page::{Terminal, blocks, consumed, lines, section},
};

pub(crate) const TRIALS: &[(&str, Body)] =
    &[("a_service_of_nameko_is_replaced_as_the_page_says", as_the_page_says)];

const PAGE: &str = include_str!("../../../../docs/from-nameko.md");
const QUEUE: &str = "evt-orders-created--billing.on_created";
/// What a terminal shows once its command has ended well.
const DONE: &str = "it has ended with status 0";

fn as_the_page_says(runtime: &Runtime) -> Result<()> {
    let python = find_nameko()?;
    let environment = python.parent().and_then(Path::parent).ok_or("it is in no environment")?;
    let broker = runtime.block_on(RabbitMqOptions::new().start())?;
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    symlink(environment, folder.join("python"))?;
    rabbitmqctl(&broker, folder)?;
    let url = broker.url().replacen("amqp://", "pyamqp://", 1);
    let config = |url: &str| fs::write(folder.join("config.yaml"), format!("AMQP_URI: {url}\n"));
    config(&url)?;
    let service = section(PAGE, "## 2. Write the same handlers")?;
    fs::write(folder.join("billing.py"), blocks(service, "python").concat())?;
    let program = blocks(service, "rust,no_run").concat();
    assert!(include_str!("program.rs").contains(&program), "it is the page's, word for word");
    are_there(&blocks(service, "toml").concat())?;
    let program = env::current_exe()?;
    let program =
        |profile: &str| format!("PROFILE={profile} {}=1 '{}'", crate::PROGRAM, program.display());
    let scripts = |heading| -> Result<Vec<_>> {
        let ours = |script: &String| {
            let mut lines = lines(&script.replace("pyamqp://guest:guest@127.0.0.1", &url));
            lines.retain(|(command, _)| !command.trim().is_empty());
            lines
        };
        Ok(blocks(section(PAGE, heading)?, "sh").iter().map(ours).collect())
    };
    let [before, after, watch, emit] = &*scripts("## 3. Run both")? else {
        return Err("four scripts were there".into());
    };
    let [permit] = &*scripts("## 4. Be safe")? else { return Err("one was there".into()) };
    let [errors] = &*scripts("## 5. Look after what failed")? else {
        return Err("one was there".into());
    };

    let mut theirs = Terminal::open(folder)?;
    theirs.starts("python/bin/nameko run --config config.yaml billing")?;
    runtime.block_on(consumed(&broker, QUEUE, 1))?;
    let mut desk = Terminal::open(folder)?;
    for (command, _) in before {
        desk.runs(command)?;
    }
    let mut rust = Terminal::open(folder)?;
    rust.starts(&program("nameko"))?;
    runtime.block_on(consumed(&broker, QUEUE, 2))?;
    let [(compare, _), (count, _)] = &**after else { return Err("two commands were there".into()) };
    for listed in ["queues", "exchanges", "bindings"] {
        let kept = format!(" > {listed}.before");
        let mut listings = before.iter().filter_map(|(command, _)| command.strip_suffix(&kept));
        let listing = listings.next().ok_or("each is listed")?;
        let same = format!("{listing} | diff {listed}.before -");
        assert!(listed != "queues" || same == *compare, "{same} is as the page has it: {compare}");
        desk.runs(&same)?;
    }
    desk.enter(count)?;
    desk.shows(&format!("{QUEUE}\t2\t0\t0"))?;

    let mut watching = Terminal::open(folder)?;
    let mut seen = None;
    for (command, shown) in watch {
        watching.enter(command)?;
        seen = shown.clone().or(seen);
    }
    watching.shows("listening")?;
    let seen = seen.ok_or("it says what is seen")?;
    for (command, shown) in emit {
        desk.enter(command)?;
        if let Some(shown) = shown {
            desk.shows(shown)?;
        }
    }
    watching.shows(&seen)?;
    let again = emit.last().map(|(command, _)| &**command).ok_or("one is emitted")?;

    // The Python member goes, and ours has what comes.
    theirs.enter("kill $program")?;
    runtime.block_on(consumed(&broker, QUEUE, 1))?;
    desk.runs(again)?;
    watching.shows(&seen)?;

    // Safe, as a user who may do no more than the page says.
    rust.ends()?;
    runtime.block_on(broker.ctl(&["add_user", "billing", "secret"]))?;
    for (command, _) in permit {
        desk.runs(command)?;
    }
    // Without its own events, for now: what is handled fails, and waits.
    desk.runs("narrow=$(echo \"$permitted\" | sed 's/billing[^|]*|//')")?;
    desk.runs("rabbitmqctl set_permissions billing \"$permitted\" \"$narrow\" \"$permitted\"")?;
    config(&url.replacen("guest:guest", "billing:secret", 1))?;
    rust.starts(&program("safe"))?;
    runtime.block_on(consumed(&broker, QUEUE, 1))?;
    desk.runs(again)?;
    desk.runs("until rabbitmqctl -q list_queues name | grep sinew.delay; do sleep 0.1; done")?;
    let (whole, _) = permit.last().ok_or("they are given")?;
    desk.runs(whole)?;
    // Where that was slow, it waits for 45 s the third time: longer than anything else here takes.
    watching.shows(&seen).or_else(|_| watching.shows(&seen))?;
    desk.runs(&again.replace("{\"id\": 7}", "{\"id\": \"seven\"}"))?;
    runtime.block_on(consumed(&broker, &format!("{QUEUE}.errors"), 0))?;
    for (command, _) in errors {
        desk.enter(command)?;
        desk.shows("orders/created undecodable")?;
    }
    rust.ends()
}

/// Whether what the program depends on of this project is where the page has it, with the feature that it names.
fn are_there(manifest: &str) -> Result<()> {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut found = 0;
    for line in manifest.lines() {
        let Some((name, wanted)) = line.split_once(" = { path = \"../sinew/") else { continue };
        let (path, wanted) = wanted.split_once('"').ok_or("a path ends")?;
        let own = fs::read_to_string(project.join(path).join("Cargo.toml"))?;
        assert!(own.contains(&format!("name = \"{name}\"\n")), "{path} is {name}");
        if let Some((_, features)) = wanted.split_once("features = [\"") {
            let (feature, _) = features.split_once('"').ok_or("a feature ends")?;
            assert!(own.contains(&format!("\n{feature} = [")), "{name} has {feature}");
        }
        found += 1;
    }
    assert_eq!(found, 2, "{manifest}");
    Ok(())
}

/// The broker's own, as its administrator has it in a shell.
fn rabbitmqctl(broker: &RabbitMq, folder: &Path) -> Result<()> {
    let control = broker.control();
    let quoted = |text: &std::ffi::OsStr| text.to_string_lossy().replace('\'', r"'\''");
    let mut script = "#!/bin/sh\n".to_owned();
    for (name, value) in control.get_envs() {
        let name = quoted(name);
        script += &match value {
            Some(value) => format!("export {name}='{}'\n", quoted(value)),
            None => format!("unset {name}\n"),
        };
    }
    // Erlang reads what is there to read, and that is the shell's next command.
    script += &format!("exec '{}' \"$@\" < /dev/null\n", quoted(control.get_program()));
    let path = folder.join("rabbitmqctl");
    fs::write(&path, script)?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o755))?)
}

impl Terminal {
    /// Enters a command, and waits for its good end.
    fn runs(&mut self, command: &str) -> Result<()> {
        self.enter(&format!("{command} && echo {DONE}"))?;
        self.shows(DONE)
    }

    /// Starts a program beside it.
    fn starts(&mut self, command: &str) -> Result<()> {
        self.enter(&format!("{command} & program=$!"))
    }

    /// Ends that as a supervisor does, which ends well.
    fn ends(&mut self) -> Result<()> {
        self.runs("kill $program; wait $program")
    }
}
