//! Metrics and health over HTTP, for machines that look after the node.
//!
//! `/metrics` is Prometheus text; `/livez` says that the process answers; `/readyz` that it serves clients, or why not;
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
use prometheus::proto::MetricFamily;
use tokio::net::TcpListener;

use crate::node::profile;

/// What the admin listener asks the node.
pub trait AdminFacts: Send + Sync {
    /// Why clients are not served now; empty means ready.
    fn not_ready(&self) -> Vec<String>;
    /// Every metric as of now.
    fn metrics(&self) -> Vec<MetricFamily>;
}

/// Serves until the runtime ends.
///
/// # Errors
/// The listener broke.
pub async fn serve(listener: TcpListener, facts: Arc<dyn AdminFacts>, profiling: bool) -> io::Result<()> {
    axum::serve(listener, router(facts).merge(profile::router(profiling))).await
}

fn router(facts: Arc<dyn AdminFacts>) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/health", get(ready))
        .route("/metrics", get(metrics))
        .with_state(facts)
}

async fn ready(State(facts): State<Arc<dyn AdminFacts>>) -> impl IntoResponse {
    let reasons = facts.not_ready();
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = serde_json::json!({ "ready": reasons.is_empty(), "reasons": reasons });
    (status, [(header::CONTENT_TYPE, "application/json")], format!("{body}\n"))
}

async fn metrics(State(facts): State<Arc<dyn AdminFacts>>) -> impl IntoResponse {
    let mut text = Vec::new();
    match TextEncoder::new().encode(&facts.metrics(), &mut text) {
        Ok(()) => (StatusCode::OK, [(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text),
        Err(error) => {
            tracing::warn!(%error, "metrics could not be encoded");
            (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONTENT_TYPE, "text/plain")], Vec::new())
        }
    }
}
