//! What operators change: silences, and who is not judged. Only who may is asked here; see `access`.
use std::time::Duration;

use axum::{
    body::to_bytes,
    extract::{Path, Request, State},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use tokio::time::timeout;

use super::{
    desk::silences::{Refused, Silence, Wanted},
    routes::{App, json, told},
};

/// How long what is sent may be, in bytes, and how long it may take.
const LARGEST: usize = 16 * 1024;
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Serialize)]
struct All {
    silences: Vec<Silence>,
}

/// Every silence in force.
pub(super) async fn silences(State(app): State<App>) -> Response {
    json(&All { silences: app.shown.desk.silences() })
}

#[derive(Serialize)]
struct Done {
    /// Whether a restart keeps it.
    kept: bool,
}

#[derive(Serialize)]
struct Made {
    #[serde(flatten)]
    silence: Silence,
    /// Whether a restart keeps it.
    kept: bool,
}

/// Makes a silence of the object that is sent.
pub(super) async fn silence(State(app): State<App>, request: Request) -> Response {
    let wanted = match body(request).await {
        Ok(body) => serde_json::from_slice::<Wanted>(&body),
        Err(answer) => return answer,
    };
    let made = match wanted {
        Ok(wanted) => app.shown.desk.silence(wanted),
        Err(err) => Err(Refused::Invalid(err.to_string())),
    };
    match made {
        Ok(silence) => {
            let kept = keep(&app).await;
            (StatusCode::CREATED, json(&Made { silence, kept })).into_response()
        }
        Err(Refused::Invalid(why)) => told(StatusCode::BAD_REQUEST, format!("{why}\n")),
        Err(Refused::TooMany) => {
            told(StatusCode::CONFLICT, "there are too many silences; end one first\n")
        }
    }
}

/// Ends a silence before its time.
pub(super) async fn unsilence(State(app): State<App>, Path(id): Path<String>) -> Response {
    let ended = id.parse().is_ok_and(|id| app.shown.desk.unsilence(id));
    if !ended {
        return told(StatusCode::NOT_FOUND, "there is no such silence\n");
    }
    keep(&app).await;
    StatusCode::NO_CONTENT.into_response()
}

/// Pauses or resumes a process.
pub(super) async fn process(
    State(app): State<App>,
    Path(path): Path<String>,
    request: Request,
) -> Response {
    if let Err(answer) = body(request).await {
        return answer;
    }
    let done = match path.rsplit_once('/') {
        Some((name, "pause")) => app.shown.board.pause(name),
        Some((name, "resume")) => app.shown.board.resume(name),
        _ => return told(StatusCode::NOT_FOUND, "a process is asked to pause or to resume\n"),
    };
    if !done {
        return told(StatusCode::NOT_FOUND, "nothing is known of such a process\n");
    }
    let kept = match &app.shown.keeper {
        Some(keeper) => keeper.save().await,
        None => false,
    };
    json(&Done { kept })
}

/// Whether a restart keeps the silences as they are now.
async fn keep(app: &App) -> bool {
    match &app.shown.keeper {
        Some(keeper) => keeper.save_alerts().await.is_ok(),
        None => false,
    }
}

/// What is sent. It says that it is JSON, which no page from elsewhere can have a browser say unasked.
async fn body(request: Request) -> Result<axum::body::Bytes, Response> {
    let media = request.headers().get(CONTENT_TYPE).and_then(|it| it.to_str().ok());
    let media = media.map(|it| it.split(';').next().unwrap_or(it).trim());
    if !media.is_some_and(|it| it.eq_ignore_ascii_case("application/json")) {
        let why = "send JSON, and say so: content-type: application/json\n";
        return Err(told(StatusCode::UNSUPPORTED_MEDIA_TYPE, why));
    }
    match timeout(PATIENCE, to_bytes(request.into_body(), LARGEST)).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(_)) => Err(told(StatusCode::PAYLOAD_TOO_LARGE, "more than 16 KiB, or cut short\n")),
        Err(_) => Err(told(StatusCode::REQUEST_TIMEOUT, "it took too long\n")),
    }
}
