//! CPU profiles of the running node over HTTP, in the format of pprof (gzipped protobuf): which functions are on a CPU. And
//! what the allocator counts, as JSON: `/debug/heap`.
//!
//! `/debug/pprof/profile?seconds=N`, N from 1 to 60, one at a time; only with `--profiling`. A profile holds names of
//! functions and threads, never data. Stacks are walked by frame pointers, from the caller of the innermost function on:
//! code that was compiled without them shows as short or broken stacks (README says how to build with them).

use std::io;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::Uri;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Response;
use axum::routing::get;
use flate2::Compression;
use flate2::write::GzEncoder;
use mimalloc::MiMalloc;
use pprof::ProfilerGuard;
use pprof::ProfilerGuardBuilder;
use pprof::protos::Message;
use tokio::sync::Semaphore;

/// The routes, or ones that say how to turn them on.
pub fn router(profiling: bool) -> Router {
    if !profiling {
        let off = || get(|| async { (StatusCode::NOT_FOUND, "profiles are off: start with --profiling\n") });
        return Router::new().route(PATH, off()).route(HEAP_PATH, off());
    }
    Router::new().route(PATH, get(profile)).route(HEAP_PATH, get(heap)).with_state(Arc::new(Semaphore::new(1)))
}

/// Sizes and counts of what the allocator holds: some kilobytes, whatever the node holds.
async fn heap() -> Response {
    match MiMalloc::stats_json() {
        Ok(json) => {
            let kind = (header::CONTENT_TYPE, "application/json");
            ([kind], json.to_bytes().to_vec()).into_response()
        }
        Err(problem) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{problem}\n")).into_response(),
    }
}

async fn profile(State(turn): State<Arc<Semaphore>>, uri: Uri) -> Response {
    let Some(seconds) = seconds(uri.query()) else {
        let words = format!("seconds: expected {} to {}\n", SECONDS.start(), SECONDS.end());
        return (StatusCode::BAD_REQUEST, words).into_response();
    };
    let Ok(_turn) = turn.try_acquire() else {
        return (StatusCode::CONFLICT, "another profile is being taken\n").into_response();
    };
    match take(seconds).await {
        Ok(bytes) => {
            let kind = (header::CONTENT_TYPE, "application/octet-stream");
            let name = (header::CONTENT_DISPOSITION, "attachment; filename=\"profile.pb.gz\"");
            ([kind, name], bytes).into_response()
        }
        Err(error) => {
            tracing::warn!(%error, "no profile was taken");
            (StatusCode::INTERNAL_SERVER_ERROR, format!("no profile was taken: {error}\n")).into_response()
        }
    }
}

/// `seconds=N` of the query, 10 without one; nothing if it is not a number in the range.
fn seconds(query: Option<&str>) -> Option<u64> {
    let given = query.unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("seconds="));
    given.map_or(Some(SECONDS_DEFAULT), |text| text.parse().ok()).filter(|seconds| SECONDS.contains(seconds))
}

async fn take(seconds: u64) -> io::Result<Vec<u8>> {
    tracing::info!(seconds, "taking a CPU profile");
    let guard = ProfilerGuardBuilder::default().frequency(FREQUENCY).build().map_err(io::Error::other)?;
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    // Looking up the names takes long enough to be in the way of a network thread.
    tokio::task::spawn_blocking(move || encode(&guard)).await.map_err(io::Error::other)?
}

fn encode(guard: &ProfilerGuard<'_>) -> io::Result<Vec<u8>> {
    let report = guard.report().build().map_err(io::Error::other)?;
    let profile = report.pprof().map_err(io::Error::other)?;
    let mut out = GzEncoder::new(Vec::new(), Compression::fast());
    out.write_all(&profile.encode_to_vec())?;
    out.finish()
}

const PATH: &str = "/debug/pprof/profile";
const HEAP_PATH: &str = "/debug/heap";
const SECONDS: std::ops::RangeInclusive<u64> = 1..=60;
const SECONDS_DEFAULT: u64 = 10;
/// Samples a second; not a divisor of anything that beats in the node.
const FREQUENCY: i32 = 99;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_bounded_and_have_a_default() {
        assert_eq!(seconds(None), Some(10));
        assert_eq!(seconds(Some("seconds=1")), Some(1));
        assert_eq!(seconds(Some("a=b&seconds=60")), Some(60));
        for wrong in ["seconds=0", "seconds=61", "seconds=", "seconds=x", "seconds=-1", "seconds=99999999999999999999"]
        {
            assert_eq!(seconds(Some(wrong)), None, "{wrong}");
        }
    }
}
