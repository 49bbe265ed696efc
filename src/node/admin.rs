//! Metrics and health over HTTP, for monitoring.
//!
//! `/metrics` is Prometheus text; `/livez` answers as long as the process runs; `/readyz` tells whether it serves clients, or why not;
//! `/debug/pprof/profile` is a CPU profile, where the operator allowed it.

use std::io;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus::Encoder;
use prometheus::TextEncoder;
use tokio::net::TcpListener;

use crate::node::numbers::NodeNumbers;
use crate::node::profile;

/// Serves until the runtime ends.
///
/// # Errors
/// The listener broke.
pub async fn serve(listener: TcpListener, numbers: Arc<NodeNumbers>, profiling: bool) -> io::Result<()> {
    axum::serve(listener, router(numbers).merge(profile::router(profiling))).await
}

fn router(numbers: Arc<NodeNumbers>) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/health", get(ready))
        .route("/metrics", get(metrics))
        .with_state(numbers)
}

async fn ready(State(numbers): State<Arc<NodeNumbers>>) -> impl IntoResponse {
    let reasons = numbers.not_ready();
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = serde_json::json!({ "ready": reasons.is_empty(), "reasons": reasons });
    (status, [(header::CONTENT_TYPE, "application/json")], format!("{body}\n"))
}

async fn metrics(State(numbers): State<Arc<NodeNumbers>>) -> impl IntoResponse {
    let mut text = Vec::new();
    match TextEncoder::new().encode(&numbers.metrics(), &mut text) {
        Ok(()) => (StatusCode::OK, [(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text),
        Err(error) => {
            tracing::warn!(%error, "metrics could not be encoded");
            (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONTENT_TYPE, "text/plain")], Vec::new())
        }
    }
}
