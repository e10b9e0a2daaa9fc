//! The same broker from code that has no async runtime: calls block, and each says for how long at most.
#![expect(clippy::print_stdout, reason = "a program to look at")]

use std::{thread, time::Duration};

use sinew_connect::blocking::Blocking;
use sinew_core::{ErrorKind, Message, Pattern, Result, Subject, Subscription};

const SOON: Duration = Duration::from_secs(2);

fn main() -> Result<()> {
    let connection = Blocking::connect("memory:", SOON)?;
    let mut readings =
        connection.subscribe(Subscription::new(Pattern::parse("sensors.*")?), SOON)?;

    let sensor = connection.clone();
    let sensor = thread::spawn(move || -> Result<()> {
        for degrees in ["21.5", "21.7", "21.6"] {
            let message = Message::new(Subject::parse("sensors.attic")?, degrees);
            sensor.publish(message, SOON)?;
        }
        Ok(())
    });

    for _ in 0..3 {
        if let Some(reading) = readings.next_item(SOON)? {
            println!("{}: {:?} degrees", reading.address, reading.payload);
        }
    }
    // Nothing more is to come, and waiting for it ends.
    if let Err(err) = readings.next(Duration::from_millis(50))
        && err.kind() == ErrorKind::Timeout
    {
        println!("silence: {err}");
    }
    sensor.join().unwrap_or(Ok(()))?;
    connection.drain(SOON)
}
