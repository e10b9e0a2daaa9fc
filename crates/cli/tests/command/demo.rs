//! What `sinew demo` shows.
use serde_json::json;

use crate::common::{Result, run};

#[test]
fn what_a_broker_publishes_in_one_process_arrives_there() -> Result<()> {
    // The memory broker lives as long as the process: `demo` is what can be seen of it from outside.
    let ran = run(&["demo", "--for", "7s", "--json"])?.expect(0)?;
    let objects = ran.objects()?;
    assert!(ran.stderr.is_empty(), "{ran:?}");
    let of = |process: &str| -> Vec<&str> {
        let its = objects.iter().filter(|it| it["process"] == process);
        its.filter_map(|it| it["to"].as_str()).collect()
    };
    assert_eq!(of("auth"), ["starting", "up"]);
    assert_eq!(of("billing"), ["starting", "up", "degraded"]);
    // Late, and on a loaded machine it is down before the end.
    assert!(of("inventory").starts_with(&["starting", "up", "late"]), "{ran:?}");
    let killed = objects.iter().find(|it| it["happened"] == "kill").ok_or("nobody was killed")?;
    assert_eq!(killed["service"], "inventory");
    let summary = &objects.last().ok_or("no summary")?["summary"];
    let last = of("inventory").last().copied();
    assert_eq!(summary["states"]["inventory"].as_str(), last, "{ran:?}");
    assert!(matches!(last, Some("late" | "down")), "{ran:?}");
    assert_eq!(summary["states"].as_object().map(serde_json::Map::len), Some(12));
    for object in objects.iter().filter(|it| it.get("to").is_some()) {
        for key in ["time", "process", "from", "to", "at", "reason"] {
            assert!(object.get(key).is_some(), "{object}");
        }
        let time = object["time"].as_str().ok_or("no time")?;
        assert!(time.len() == 27 && time.ends_with('Z'), "{time}");
    }
    Ok(())
}

#[test]
fn the_demo_in_a_pipe_is_plain_lines_with_a_summary() -> Result<()> {
    let ran = run(&["demo", "--for", "3500ms"])?.expect(0)?;
    assert!(!ran.stdout.contains(&0x1b), "{}", ran.text());
    assert!(ran.text().contains("is killed") && ran.text().contains("beats heard"), "{ran:?}");
    assert!(ran.text().lines().all(|line| line.chars().count() <= 80), "{}", ran.text());
    Ok(())
}

#[test]
fn the_demo_of_asks_shows_each_way_to_end_and_who_did_not_answer() -> Result<()> {
    let ran = run(&["demo", "--act", "dispatch", "--for", "5s", "--json"])?.expect(0)?;
    let objects = ran.objects()?;
    let ends: Vec<_> = objects.iter().filter(|it| it.get("end").is_some()).collect();
    assert!(ends.len() >= 3, "{ran:?}");
    for (end, wanted) in ends.iter().zip(["deadline", "first", "quorum", "quiet"]) {
        assert_eq!(end["end"], wanted);
    }
    // And whoever a loaded machine held up.
    let missing = ends[0]["missing"].as_array().ok_or("nobody is missing")?;
    assert!(missing.contains(&json!("thermal")), "{ran:?}");
    assert_eq!((&ends[1]["ok"], &ends[1]["cancelled"]), (&1.into(), &5.into()));
    let bent = objects.iter().find(|it| it["agent"] == "probe").ok_or("no probe")?;
    assert_eq!(bent["error"]["code"], "bent");
    assert!(objects.last().ok_or("no summary")?["summary"]["asks"].as_u64() >= Some(3));
    run(&["demo", "--act", "dispatch", "--serve"])?.expect(64)?;
    Ok(())
}

#[test]
fn the_demo_of_events_shows_one_handled_retried_kept_and_redriven() -> Result<()> {
    let ran = run(&["demo", "--act", "events", "--for", "6s", "--json"])?.expect(0)?;
    let objects = ran.objects()?;
    let of = |order: u64, error: serde_json::Value| {
        let its = objects.iter().filter(|it| it["order"] == order && it["error"] == error);
        its.filter(|it| it["handler"].is_string()).count()
    };
    assert_eq!((of(1, json!(null)), of(2, json!(null))), (4, 4), "{ran:?}");
    assert_eq!(of(2, json!("the card reader is stuck")), 2);
    // Handled by all but billing; then by billing, once it was redriven.
    assert_eq!((of(3, json!("the card is unknown")), of(3, json!(null))), (1, 4));
    let kept = objects.iter().find(|it| it.get("kept").is_some()).ok_or("nothing was kept")?;
    assert_eq!(kept["error"], "the card is unknown");
    let summary = &objects.last().ok_or("no summary")?["summary"];
    for what in ["kept", "redriven"] {
        assert!(summary[what].as_u64() >= Some(1), "{summary}");
    }
    Ok(())
}
