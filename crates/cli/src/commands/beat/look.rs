//! How states look: their colours, in tables and lines.
use clap::builder::styling::{AnsiColor, Style};
use sinew_beat::State;

use crate::output::Output;

/// The colour of a state.
pub(crate) fn style(state: State) -> Style {
    match state {
        State::Up => AnsiColor::Green.on_default(),
        State::Starting => AnsiColor::Cyan.on_default(),
        State::Degraded => AnsiColor::Yellow.on_default(),
        State::Late => AnsiColor::Magenta.on_default(),
        State::Down => AnsiColor::Red.on_default().bold(),
        _ => Style::new().dimmed(),
    }
}

/// The state in its colour, padded to `width`.
pub(crate) fn painted(output: Output, state: State, width: usize) -> String {
    output.paint(style(state), format_args!("{state:width$}"))
}

/// How many there are of each state: `9 up, 1 degraded, 2 down`.
pub(crate) fn tally(states: impl Iterator<Item = State> + Clone) -> String {
    let counts = State::ALL.iter().filter_map(|state| {
        let count = states.clone().filter(|it| it == state).count();
        (count > 0).then(|| format!("{count} {state}"))
    });
    let counts: Vec<_> = counts.collect();
    if counts.is_empty() { "nobody yet".to_owned() } else { counts.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_counted_in_their_order() {
        let states = [State::Down, State::Up, State::Up];
        assert_eq!(tally(states.into_iter()), "2 up, 1 down");
        assert_eq!(tally([].into_iter()), "nobody yet");
    }
}
