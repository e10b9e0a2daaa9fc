//! What a page hears: first all that it shows, then what has changed of it since.
//!
//! A client is not sent a log of events: it is compared with the truth whenever it can take more. So nothing waits for
//! a slow one but what it was sent last, and what it gets is as new as can be.
use std::{
    collections::{BTreeMap, HashMap},
    convert::Infallible,
    sync::Arc,
    time::Duration,
};

use axum::body::{Body, Bytes};
use futures_util::stream;
use serde::Serialize;
use sinew_beat::Process;
use tokio::{
    sync::{OwnedSemaphorePermit, watch},
    time::{Instant, sleep_until, timeout_at},
};

use super::{
    board::{Board, Picture},
    desk::{Desk, silences::Silence},
    html::NEWS,
    routes::Shown,
    view::{ChangeLine, Row, View},
};
use crate::{json::Time, output::escaped};

/// The least time between two comparisons for one client; more where a comparison takes long, so that all clients
/// together take a tenth of a core as long as none of them is told later than after [`BREATH`].
const PACE: Duration = Duration::from_millis(250);

/// After so long somebody may have been seen again, which is no transition.
const BREATH: Duration = Duration::from_secs(2);

/// After so long without an event a line is sent, so that a connection which is gone is noticed.
const QUIET: Duration = Duration::from_secs(15);

/// What stands above any list of processes.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    pub(super) time: Time,
    /// Since when uptimes are kept.
    uptime_since: Time,
    ready: bool,
    blind: bool,
    states: BTreeMap<&'static str, usize>,
    total: usize,
    matched: usize,
    offset: usize,
    limit: usize,
}

impl Summary {
    pub(super) fn new(board: &Board, picture: &Picture, view: &View, matched: usize) -> Self {
        let clock = board.clock();
        Self {
            time: Time(clock.wall(clock.now())),
            uptime_since: Time(board.uptime_since()),
            ready: board.is_ready(),
            blind: board.is_blind(),
            states: picture.tally.iter().map(|(state, count)| (state.as_str(), count)).collect(),
            total: picture.tally.total(),
            matched,
            offset: view.offset,
            limit: view.limit,
        }
    }
}

#[derive(Serialize)]
struct Told<'a> {
    #[serde(flatten)]
    summary: Summary,
    processes: Vec<Row<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    order: Option<Vec<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    news: Option<Vec<ChangeLine>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    silences: Option<&'a [Silence]>,
}

/// One client: what it looks at, and what it was told last.
struct Client {
    board: Arc<Board>,
    desk: Arc<Desk>,
    view: View,
    changes: watch::Receiver<u64>,
    stop: watch::Receiver<bool>,
    /// What was sent of each process, by name, in the order in which they are shown.
    rows: HashMap<Process, String>,
    order: Vec<Process>,
    summary: String,
    /// The newest of the news that were sent.
    news: Option<u64>,
    silences: Vec<Silence>,
    /// When the last event was sent; none before the first.
    told: Option<Instant>,
    pace: Duration,
    /// How many clients there can be.
    places: usize,
    /// Its place among the clients.
    place: OwnedSemaphorePermit,
}

/// The stream for a client, until `stop`.
pub(super) fn body(
    Shown { board, desk, .. }: Shown,
    view: View,
    stop: watch::Receiver<bool>,
    places: usize,
    place: OwnedSemaphorePermit,
) -> Body {
    let client = Client {
        changes: board.changes(),
        board,
        desk,
        view,
        stop,
        rows: HashMap::new(),
        order: Vec::new(),
        summary: String::new(),
        news: None,
        silences: Vec::new(),
        told: None,
        pace: PACE,
        places,
        place,
    };
    Body::from_stream(stream::unfold(client, async |mut client| {
        let event = client.next().await?;
        Some((Ok::<_, Infallible>(event), client))
    }))
}

impl Client {
    /// The next event, or a line that says nothing; none in the end.
    async fn next(&mut self) -> Option<Bytes> {
        let mut stop = self.stop.clone();
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => None,
            event = self.event() => Some(event),
        }
    }

    async fn event(&mut self) -> Bytes {
        let Some(told) = self.told else {
            let picture = self.board.picture().await;
            let event = self.compare(&picture, "snapshot").unwrap_or_default();
            self.told = Some(Instant::now());
            return format!("retry: 2000\n{event}").into();
        };
        let quiet = told + QUIET;
        sleep_until(told + self.pace).await;
        loop {
            let breath = (Instant::now() + BREATH).min(quiet);
            // It is never closed: the board is ours, too.
            let _ = timeout_at(breath, self.changes.changed()).await;
            let seen = *self.changes.borrow_and_update();
            let picture = self.board.picture().await;
            if picture.revision < seen {
                // An old picture: there will be a new one soon.
                self.changes.mark_changed();
            }
            let begun = Instant::now();
            let event = self.compare(&picture, "delta");
            let clients = self.places.saturating_sub(self.place.semaphore().available_permits());
            let share = u32::try_from(clients).unwrap_or(u32::MAX).saturating_mul(10);
            self.pace = begun.elapsed().saturating_mul(share).clamp(PACE, BREATH);
            if event.is_some() || Instant::now() >= quiet {
                self.told = Some(Instant::now());
                return event.map_or(Bytes::from_static(b": quiet\n\n"), Bytes::from);
            }
            sleep_until(Instant::now() + self.pace).await;
        }
    }

    /// What the client has not been told yet, if anything.
    fn compare(&mut self, picture: &Picture, name: &str) -> Option<String> {
        let board = Arc::clone(&self.board);
        let (matched, shown) = self.view.of(picture);
        let mut rows = HashMap::with_capacity(shown.len());
        let mut changed = Vec::new();
        for (status, row) in shown.iter().zip(Row::all(&board, &shown, picture.taken)) {
            let text = serde_json::to_string(&row).unwrap_or_default();
            if self.rows.get(&status.process) != Some(&text) {
                changed.push(row);
            }
            rows.insert(status.process.clone(), text);
        }
        self.rows = rows;

        let is_first = self.told.is_none();
        let reordered = is_first || !self.order.iter().eq(shown.iter().map(|it| &it.process));
        if reordered {
            self.order = shown.iter().map(|it| it.process.clone()).collect();
        }
        let news = board.news(NEWS, |process| self.view.wants(process));
        let newest = news.first().map(|it| it.revision);
        let has_news = is_first || newest != self.news;
        self.news = newest;

        let silences = self.desk.silences();
        let resilenced = is_first || silences != self.silences;
        self.silences = silences;

        let summary = Summary::new(&board, picture, &self.view, matched);
        // The time alone is no news.
        let said = format!("{:?} {:?} {} {matched}", summary.states, summary.ready, summary.total);
        let is_same = changed.is_empty() && !reordered && !has_news && !resilenced;
        if is_same && said == self.summary {
            return None;
        }
        self.summary = said;
        let told = Told {
            summary,
            processes: changed,
            order: reordered.then(|| shown.iter().map(|it| it.process.as_str()).collect()),
            news: has_news.then(|| news.iter().map(|it| ChangeLine::news(&board, it)).collect()),
            silences: resilenced.then_some(self.silences.as_slice()),
        };
        let data = serde_json::to_string(&told).ok()?;
        Some(format!("id: {}\nevent: {name}\ndata: {}\n\n", picture.revision, escaped(&data)))
    }
}
