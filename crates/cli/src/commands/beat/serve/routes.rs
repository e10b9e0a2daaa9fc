//! The addresses that are served, and what each answers.
use std::sync::Arc;

use axum::{
    Router,
    extract::{Path, Query as Asked, Request, State, rejection::QueryRejection},
    http::{
        HeaderMap, HeaderName, HeaderValue, StatusCode,
        header::{
            CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE,
            REFERRER_POLICY, RETRY_AFTER, VARY, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
        },
    },
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{delete, get},
};
use serde::Serialize;
use tokio::sync::{Semaphore, watch};

use super::{
    access::{Gate, Refusal},
    badge,
    board::Board,
    desk::{self, Desk},
    events::{self, Summary},
    html, metrics, operate,
    snapshots::Keeper,
    upkeep::Upkeep,
    view::{ChangeLine, Query, Row, View},
};
use crate::output::escaped;

/// How many pages may listen at once. Each is compared with the fleet up to four times a second.
const LISTENERS: usize = 100;

/// Only what we serve ourselves is loaded, run or asked, and nobody frames us.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
    img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// What is shown, and may be changed.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    pub(super) board: Arc<Board>,
    pub(super) desk: Arc<Desk>,
    pub(super) upkeep: Arc<Upkeep>,
    /// None where nothing outlives a restart.
    pub(super) keeper: Option<Keeper>,
}

/// What the handlers share.
#[derive(Clone, Debug)]
pub(super) struct App {
    pub(super) shown: Shown,
    gate: Gate,
    listeners: Arc<Semaphore>,
    stop: watch::Receiver<bool>,
}

/// Everything that is served, behind `gate`. Streams end with `stop`.
pub(super) fn router(shown: Shown, gate: Gate, stop: watch::Receiver<bool>) -> Router {
    let app = App { shown, gate, listeners: Arc::new(Semaphore::new(LISTENERS)), stop };
    Router::new()
        .route("/", get(page))
        .route("/page.css", get(async || typed("text/css; charset=utf-8", html::STYLE)))
        .route("/page.js", get(async || typed("text/javascript; charset=utf-8", html::SCRIPT)))
        .route("/icon.svg", get(async || typed(SVG, ICON)))
        .route("/api/processes", get(processes))
        .route("/api/processes/{*name}", get(process).post(operate::process))
        .route("/api/silences", get(operate::silences).post(operate::silence))
        .route("/api/silences/{id}", delete(operate::unsilence))
        .route("/api/events", get(listen))
        .route("/badge/{*file}", get(picture))
        .route("/metrics", get(scrape))
        .route(HEALTHZ, get(async || typed(TEXT, "ok\n")))
        .route(READYZ, get(ready))
        .fallback(async || told(StatusCode::NOT_FOUND, "no such address; the page is at /\n"))
        .layer(middleware::from_fn_with_state(app.clone(), guard))
        .with_state(app)
}

/// The same for who comes when every place is taken: whether we live and see is told, nothing else, and once.
pub(super) fn only_probes(router: Router) -> Router {
    router.layer(middleware::from_fn(async |request: Request, next: Next| {
        let mut response = match is_probe(&request) {
            true => next.run(request).await,
            false => {
                let busy = "too many are connected; try again\n";
                ([(RETRY_AFTER, "1")], told(StatusCode::SERVICE_UNAVAILABLE, busy)).into_response()
            }
        };
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        response
    }))
}

fn is_probe(request: &Request) -> bool {
    matches!(request.uri().path(), HEALTHZ | READYZ)
}

const HEALTHZ: &str = "/healthz";
const READYZ: &str = "/readyz";

const ICON: &str = concat!(
    r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="7" fill="#16191d"/>"##,
    r##"<path d="M3 17h7l3-9 5 17 4-12 2 4h5" fill="none" stroke="#4ac26b" stroke-width="3" stroke-linejoin="round"/></svg>"##,
    "\n"
);

/// Nobody passes without what the gate asks for, and no answer leaves without what keeps it harmless.
async fn guard(State(app): State<App>, request: Request, next: Next) -> Response {
    let is_probe = is_probe(&request);
    let mut response = match app.gate.check(request.uri(), request.headers(), is_probe) {
        Ok(()) if request.method().is_safe() => next.run(request).await,
        Ok(()) => match app.gate.check_change(request.headers()) {
            Ok(()) => next.run(request).await,
            Err(refusal) => refused(refusal),
        },
        Err(refusal) => refused(refusal),
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (RESOURCE_POLICY, "same-origin"),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

fn refused(refusal: Refusal) -> Response {
    let response = told(refusal.status(), refusal.as_str());
    match refusal {
        Refusal::WrongHost | Refusal::Elsewhere | Refusal::ReadOnly => response,
        // Browsers know the second one, and ask for a name and a password.
        Refusal::NoToken => {
            ([(WWW_AUTHENTICATE, "Bearer, Basic realm=\"sinew\", charset=\"UTF-8\"")], response)
                .into_response()
        }
    }
}

fn typed(media: &'static str, body: impl IntoResponse) -> Response {
    ([(CONTENT_TYPE, media)], body).into_response()
}

pub(super) fn told(status: StatusCode, text: impl Into<String>) -> Response {
    (status, typed(TEXT, text.into())).into_response()
}

pub(super) fn json(object: &impl Serialize) -> Response {
    match serde_json::to_string(object) {
        Ok(text) => typed(JSON, escaped(&text) + "\n"),
        Err(_) => told(StatusCode::INTERNAL_SERVER_ERROR, "cannot write JSON\n"),
    }
}

type Parsed = Result<Asked<Query>, QueryRejection>;

/// What is asked for, or the answer that says what is wrong with it.
#[expect(clippy::result_large_err, reason = "it is the answer, and made once per request")]
fn wanted(asked: Parsed) -> Result<(Query, View), Response> {
    let bad = |why: String| told(StatusCode::BAD_REQUEST, format!("{why}\n"));
    let Asked(query) = asked.map_err(|err| bad(err.body_text()))?;
    let view = query.view().map_err(bad)?;
    Ok((query, view))
}

async fn page(State(app): State<App>, asked: Parsed) -> Response {
    match wanted(asked) {
        Ok((query, view)) => {
            let picture = app.shown.board.picture().await;
            typed(HTML, html::page(&app.shown, &picture, &query, &view))
        }
        Err(answer) => answer,
    }
}

#[derive(Serialize)]
struct Processes<'a> {
    #[serde(flatten)]
    summary: Summary,
    beats: u64,
    malformed: u64,
    refused: u64,
    lost: u64,
    transitions: u64,
    processes: Vec<Row<'a>>,
}

async fn processes(State(app): State<App>, asked: Parsed) -> Response {
    let view = match wanted(asked) {
        Ok((_, view)) => view,
        Err(answer) => return answer,
    };
    let picture = app.shown.board.picture().await;
    let (matched, shown) = view.of(&picture);
    let counts = app.shown.board.counts();
    json(&Processes {
        summary: Summary::new(&app.shown.board, &picture, &view, matched),
        beats: counts.beats,
        malformed: counts.malformed,
        refused: counts.refused,
        lost: counts.lost,
        transitions: counts.transitions,
        processes: Row::all(&app.shown.board, &shown, app.shown.board.clock().now()),
    })
}

#[derive(Serialize)]
struct Known<'a> {
    #[serde(flatten)]
    row: Row<'a>,
    transitions: Vec<ChangeLine>,
}

async fn process(State(app): State<App>, Path(name): Path<String>) -> Response {
    let board = &app.shown.board;
    let Some(status) = board.process(&name) else {
        return told(StatusCode::NOT_FOUND, "nothing is known of such a process\n");
    };
    let shares = board.shares(std::iter::once(&status), board.clock().now());
    let log = board.log(&status.process);
    json(&Known {
        row: Row::new(board, &status, shares.first().copied().unwrap_or_default()),
        transitions: log.iter().map(|it| ChangeLine::new(board, it)).collect(),
    })
}

async fn listen(State(app): State<App>, asked: Parsed) -> Response {
    let view = match wanted(asked) {
        Ok((_, view)) => view,
        Err(answer) => return answer,
    };
    let Ok(place) = app.listeners.try_acquire_owned() else {
        let answer = told(StatusCode::SERVICE_UNAVAILABLE, "too many pages listen; reload later\n");
        return ([(RETRY_AFTER, "10")], answer).into_response();
    };
    typed("text/event-stream", events::body(app.shown, view, app.stop, LISTENERS, place))
}

async fn picture(State(app): State<App>, Path(file): Path<String>) -> Response {
    let Some(name) = file.strip_suffix(".svg") else {
        return told(StatusCode::NOT_FOUND, "badges are called /badge/PROCESS.svg\n");
    };
    let state = app.shown.board.process(name).map(|it| it.state);
    let status = if state.is_some() { StatusCode::OK } else { StatusCode::NOT_FOUND };
    // Where everybody may look, it may stand in other people's pages. Elsewhere they must not learn who is there.
    let policy = if app.gate.is_open() { "cross-origin" } else { "same-origin" };
    let headers = [(CACHE_CONTROL, "no-cache"), (RESOURCE_POLICY, policy)];
    (status, headers, typed(SVG, badge::svg(name, state))).into_response()
}

async fn scrape(State(app): State<App>, headers: HeaderMap) -> Response {
    let picture = app.shown.board.picture().await;
    let alerts = desk::metrics::text(&app.shown.desk, &app.shown.upkeep);
    let listeners = LISTENERS.saturating_sub(app.listeners.available_permits());
    let gzip = metrics::takes_gzip(&headers);
    let body = metrics::body(app.shown.board, picture, listeners, &alerts, gzip);
    let mut response = typed(metrics::TYPE, body);
    response.headers_mut().insert(VARY, HeaderValue::from_static("accept-encoding"));
    if gzip {
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

async fn ready(State(app): State<App>) -> Response {
    let board = &app.shown.board;
    if !board.is_ready() {
        return told(StatusCode::SERVICE_UNAVAILABLE, "blind: what is shown may be old\n");
    }
    let text = match board.hears_itself() {
        true => "ready\n",
        false => "ready\nwithout a heart of its own: a broker that hangs is noticed late\n",
    };
    told(StatusCode::OK, text)
}
