//! Events: emitted, handled, kept where they could not be, and brought back.
use sinew_testkit::harness::rabbitmq::RabbitMq;
use tokio::runtime::Runtime;

use crate::{
    SharedBody,
    common::{Ran, Result, Running, Signal, run, run_with, sinew},
    page::consumed,
};

pub(crate) const TRIALS: &[(&str, SharedBody)] = &[
    ("an_emitted_event_is_an_object_with_its_keys", an_emitted_event_is_an_object),
    ("an_event_that_comes_again_is_an_object_that_says_so", an_event_that_comes_again),
    ("what_a_command_refuses_is_kept_and_redriven", what_a_command_refuses_is_kept),
    ("a_look_says_how_many_there_were_and_warns_before_the_last", a_look_says_how_many),
    ("an_error_queue_that_is_not_there_is_1_and_not_made", an_error_queue_that_is_not_there),
    ("an_exchange_that_is_not_there_is_69_and_says_what_to_do", an_exchange_that_is_not_there),
    ("an_event_beyond_the_count_is_left_to_others", an_event_beyond_the_count_is_left),
    ("an_event_that_must_route_and_does_not_is_1", an_event_that_must_route),
    ("a_signal_lets_a_command_end_and_a_second_one_does_not", a_signal_amid_a_command),
];

fn url(broker: &RabbitMq) -> String {
    format!("{}/?declare_exchanges", broker.url())
}

fn listen(url: &str, event: &[&str], more: &[&str]) -> Result<Running> {
    let args = [&["events", "listen"], event, &["--url", url], more].concat();
    let mut listener = Running::start(sinew(&args))?;
    listener.until_remark("listening; queue evt-")?;
    Ok(listener)
}

fn an_emitted_event_is_an_object(_: &Runtime, broker: &RabbitMq) -> Result<()> {
    let url = url(broker);
    let event = ["keys", "made.#", "--as", "shell.hear"];
    let listener = listen(&url, &event, &["--json", "--count", "3"])?;
    let emit = ["events", "emit", "keys", "--url", &url];
    let told = ["made.eu", "{\"id\":7}", "-C", "tenant=acme", "-C", "auth_token=s3cret", "--json"];
    let sent = run(&[&emit[..], &told].concat())?.expect(0)?.objects()?;
    assert_eq!(
        sent,
        [serde_json::json!({"service": "keys", "type": "made.eu", "receipt": "accepted"})]
    );
    let packed = ["made", "[1]", "--serializer", "msgpack", "--gzip", "--parity"];
    run(&[&emit[..], &packed].concat())?.expect(0)?;
    let args = [&emit[..], &["made", "-", "--serializer", "text"]].concat();
    run_with(sinew(&args), "\u{e9}\n".as_bytes())?.expect(0)?;
    let heard = listener.finish()?.expect(0)?.objects()?;
    assert_eq!((&heard[0]["service"], &heard[0]["type"]), (&"keys".into(), &"made.eu".into()));
    assert_eq!(heard[0]["payload"], "{\"id\":7}");
    let context = serde_json::json!({"tenant": "acme", "auth_token": "********"});
    assert_eq!(heard[0]["context"], context);
    // There, and null: RabbitMQ does not number what it delivers first.
    assert_eq!(heard[0].get("attempt"), Some(&serde_json::Value::Null), "{heard:?}");
    assert_eq!(heard[0].get("redelivered"), None, "{heard:?}");
    assert_eq!((&heard[1]["type"], &heard[1]["payload_base64"]), (&"made".into(), &"kQE=".into()));
    assert_eq!(heard[2]["payload"], "\u{e9}\n");
    Ok(())
}

fn an_event_that_comes_again(_: &Runtime, broker: &RabbitMq) -> Result<()> {
    let url = url(broker);
    let event = ["again", "made", "--as", "shell.hear"];
    // Whoever has it first ends before the broker is told anything.
    let killed = listen(&url, &event, &["--exec", "kill -KILL $PPID"])?;
    run(&["events", "emit", "again", "made", "1", "--url", &url])?.expect(0)?;
    assert_eq!(killed.finish()?.status, None);
    let heard = listen(&url, &event, &["--json", "--count", "1"])?.finish()?.expect(0)?;
    let heard = heard.objects()?;
    assert_eq!(heard[0]["redelivered"], true, "{heard:?}");
    // A classic queue does not count.
    assert_eq!(heard[0].get("attempt"), Some(&serde_json::Value::Null), "{heard:?}");
    Ok(())
}

fn what_a_command_refuses_is_kept(_: &Runtime, broker: &RabbitMq) -> Result<()> {
    const QUEUE: &str = "evt-kept-made--shell.hear";
    let url = url(broker);
    let event = ["kept", "made", "--as", "shell.hear"];
    let errors = |what: &str, more: &[&str]| {
        run(&[&["events", "errors", what, QUEUE, "--url", &url, "--json"], more].concat())
    };
    let mut listener = listen(&url, &event, &["--exec", "exit 65"])?;
    run(&["events", "emit", "kept", "made", "{\"id\": 7}", "--url", &url])?.expect(0)?;
    run(&["events", "emit", "kept", "made", "{\"id\": 8}", "--url", &url])?.expect(0)?;
    let kept = format!(
        "ended with status 65: in the error queue; see: sinew events errors list '{QUEUE}'"
    );
    listener.until_remark(&kept)?;
    // Both, before it is ended.
    let mut listed = Vec::new();
    for _ in 0..50 {
        listed = errors("list", &[])?.objects()?;
        if listed.len() == 2 {
            break;
        }
    }
    listener.signal(Signal::TERM)?;
    listener.finish()?.expect(0)?;
    assert_eq!((&listed[0]["number"], &listed[0]["kind"]), (&1.into(), &"permanent".into()));
    assert_eq!(listed[0]["error"], "the command ended with status 65");
    assert_eq!(
        (&listed[1]["service"], &listed[1]["type"], &listed[1]["handler"]),
        (&"kept".into(), &"made".into(), &"shell.hear".into())
    );
    let id = listed[0]["id"].as_str().ok_or("no id")?;
    let shown = errors("show", &[id])?.expect(0)?.objects()?;
    assert_eq!((shown.len(), &shown[0]["payload"]), (1, &"{\"id\": 7}".into()));
    let one = errors("list", &["--limit", "1"])?.expect(0)?;
    assert!(one.stderr.contains("looked at the 1 oldest, and no further"), "{one:?}");
    let none = errors("drop", &["3", "no-such"])?.expect(1)?;
    assert!(none.stderr.contains("not found: 3") && none.stderr.contains("not found: no-such"));
    let redriven = errors("redrive", &[id, "no-such"])?.expect(1)?;
    assert!(redriven.stderr.contains("not found: no-such"), "{redriven:?}");
    assert_eq!(redriven.objects()?[0]["done"], "redriven");
    let handled = listen(&url, &event, &["--exec", "cat", "--count", "1"])?;
    assert_eq!(handled.finish()?.expect(0)?.text(), "{\"id\": 7}");
    let dropped = errors("drop", &["--all"])?.expect(0)?.objects()?;
    assert_eq!((dropped.len(), &dropped[0]["done"]), (1, &"dropped".into()));
    errors("list", &[])?.expect(1)?;
    Ok(())
}

fn a_look_says_how_many(runtime: &Runtime, broker: &RabbitMq) -> Result<()> {
    let ctl = |args: &[&str]| runtime.block_on(broker.ctl(args));
    ctl(&["add_vhost", "counting", "--default-queue-type", "quorum"])?;
    ctl(&["set_permissions", "-p", "counting", "guest", ".*", ".*", ".*"])?;
    let url = format!("{}?declare_exchanges", broker.url_of("counting"));
    let event = ["counted", "made", "--as", "shell.hear"];
    let mut listener = listen(&url, &event, &["--exec", "exit 65"])?;
    run(&["events", "emit", "counted", "made", "1", "--url", &url])?.expect(0)?;
    listener.until_remark("in the error queue")?;
    drop(listener);
    let errors = |what: &[&str]| -> Result<Ran> {
        let queue = ["evt-counted-made--shell.hear", "--url", &url];
        for _ in 0..50 {
            // Until it is back from the look before.
            let ran = run(&[&["events", "errors", what[0]], &queue[..], &what[1..]].concat())?;
            if ran.status == Some(0) {
                return Ok(ran);
            }
        }
        Err("it is gone".into())
    };
    for look in 1..=10_u64 {
        let ran = errors(&["list", "--json"])?;
        // The first one is not counted.
        let wanted = (look > 1).then_some(look);
        assert_eq!(ran.objects()?[0]["attempt"].as_u64(), wanted, "{ran:?}");
        assert_eq!(ran.stderr.contains("delivered 10 times"), look == 10, "{ran:?}");
    }
    let ran = errors(&["list"])?;
    assert!(ran.text().ends_with(", delivery 11)\n"), "{ran:?}");
    // What is taken out does not go back.
    assert_eq!(errors(&["drop", "--all"])?.stderr, "");
    Ok(())
}

fn an_error_queue_that_is_not_there(_: &Runtime, broker: &RabbitMq) -> Result<()> {
    let url = broker.url().to_string();
    for what in [&["list"][..], &["redrive", "--all"], &["list"]] {
        let look = [&["events", "errors"], &what[..1], &["evt-none-made"], &what[1..]].concat();
        let ran = run(&[&look[..], &["--url", &url]].concat())?.expect(1)?;
        assert!(ran.stderr.contains("`evt-none-made.errors`: not found"), "{ran:?}");
    }
    let own = run(&["events", "errors", "list", "evt-none-made.errors", "--url", &url])?;
    assert!(own.stderr.contains("own queue: `evt-none-made`?"), "{own:?}");
    own.expect(1)?;
    Ok(())
}

fn an_exchange_that_is_not_there(_: &Runtime, broker: &RabbitMq) -> Result<()> {
    let url = broker.url().to_string();
    let emit = run(&["events", "emit", "nobody", "made", "1", "--url", &url])?.expect(69)?;
    let listen = ["events", "listen", "nobody", "made", "--as", "shell.hear", "--url", &url];
    for ran in [emit, run(&listen)?.expect(69)?] {
        assert!(ran.stderr.contains("no exchange 'nobody.events'"), "{ran:?}");
        assert!(ran.stderr.contains("?declare_exchanges"), "{ran:?}");
    }
    Ok(())
}

fn an_event_beyond_the_count_is_left(_: &Runtime, broker: &RabbitMq) -> Result<()> {
    let url = url(broker);
    let event = ["counted", "made", "--as", "shell.hear"];
    // The queue outlives its first listener.
    let first = listen(&url, &event, &[])?;
    first.signal(Signal::TERM)?;
    first.finish()?.expect(0)?;
    for number in ["1", "2", "3"] {
        run(&["events", "emit", "counted", "made", number, "--url", &url])?.expect(0)?;
    }
    for numbers in [&["1", "2"][..], &["3"]] {
        let count = numbers.len().to_string();
        let heard = listen(&url, &event, &["--json", "--count", &count])?.finish()?.expect(0)?;
        let heard = heard.objects()?;
        assert!(heard.iter().map(|it| &it["payload"]).eq(numbers), "{heard:?}");
    }
    Ok(())
}

fn an_event_that_must_route(_: &Runtime, broker: &RabbitMq) -> Result<()> {
    let url = url(broker);
    let emit = ["events", "emit", "routed", "made", "1", "--must-route", "--url", &url];
    let ran = run(&emit)?.expect(1)?;
    assert!(ran.stderr.contains("no queue takes this message"), "{ran:?}");
    Ok(())
}

fn a_signal_amid_a_command(runtime: &Runtime, broker: &RabbitMq) -> Result<()> {
    let url = url(broker);
    let event = ["asked", "made", "--as", "shell.hear"];
    let folder = tempfile::tempdir()?;
    let gate = folder.path().join("open");
    let waits = format!("echo begun; until [ -e '{}' ]; do sleep 0.1; done; cat", gate.display());
    let mut listener = listen(&url, &event, &["--exec", &waits])?;
    for number in ["1", "2"] {
        run(&["events", "emit", "asked", "made", number, "--url", &url])?.expect(0)?;
    }
    let told = |listener: &mut Running| -> Result<()> {
        listener.until_line(&["begun"])?;
        listener.signal(Signal::TERM)?;
        // No more comes to it from now on.
        runtime.block_on(consumed(broker, "evt-asked-made--shell.hear", 0))
    };
    told(&mut listener)?;
    std::fs::write(&gate, "")?;
    assert_eq!(listener.finish()?.expect(0)?.text(), "begun\n1");
    let mut listener = listen(&url, &event, &["--exec", "echo begun; exec sleep 600"])?;
    told(&mut listener)?;
    listener.signal(Signal::TERM)?;
    // With the command: its standard output would be open still.
    assert_eq!(listener.finish()?.expect(130)?.text(), "begun\n");
    let again = listen(&url, &event, &["--exec", "cat", "--count", "1"])?;
    assert_eq!(again.finish()?.expect(0)?.text(), "2");
    Ok(())
}
