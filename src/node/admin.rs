//! Metrics and health over HTTP, for monitoring.
//!
//! `/metrics` is Prometheus text; `/livez` answers as long as the process runs; `/readyz` tells whether it serves clients, or why not
//! and, during a start, how far that is;
//! `/debug/pprof/profile` is a CPU profile, `/debug/heap` what the allocator counts, where the operator allowed it.

use std::io;
use std::sync::Arc;
use std::sync::OnceLock;

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

use crate::node::admin_listener::AdminListener;
use crate::node::numbers::NodeNumbers;
use crate::node::profile;
use crate::node::progress::StartProgress;

/// What the listener answers from: the start until there is a node, then the node.
#[derive(Clone, Default)]
pub(crate) struct AdminFacts {
    /// How far the start is.
    pub(crate) progress: Arc<StartProgress>,
    /// Set once, when the node's threads run.
    pub(crate) numbers: Arc<OnceLock<Arc<NodeNumbers>>>,
}

impl AdminFacts {
    fn not_ready(&self) -> Vec<String> {
        self.numbers.get().map_or_else(|| vec![self.progress.words()], |numbers| numbers.not_ready())
    }

    fn metrics(&self) -> Vec<MetricFamily> {
        self.numbers.get().map_or_else(prometheus::gather, |numbers| numbers.metrics())
    }
}

/// Serves until the runtime ends.
///
/// # Errors
/// The listener broke.
pub async fn serve(listener: TcpListener, facts: AdminFacts, profiling: bool) -> io::Result<()> {
    axum::serve(AdminListener::new(listener), router(facts).merge(profile::router(profiling))).await
}

fn router(facts: AdminFacts) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/health", get(ready))
        .route("/metrics", get(metrics))
        .fallback(|| async { (StatusCode::NOT_FOUND, PATHS) })
        .with_state(facts)
}

async fn ready(State(facts): State<AdminFacts>) -> impl IntoResponse {
    let reasons = facts.not_ready();
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = serde_json::json!({ "ready": reasons.is_empty(), "reasons": reasons });
    (status, [(header::CONTENT_TYPE, "application/json")], format!("{body}\n"))
}

/// What a wrong path is answered with.
const PATHS: &str = "not here; there are /livez, /readyz, /health, /metrics, /debug/pprof/profile and /debug/heap\n";

async fn metrics(State(facts): State<AdminFacts>) -> impl IntoResponse {
    let mut text = Vec::new();
    match TextEncoder::new().encode(&facts.metrics(), &mut text) {
        Ok(()) => (StatusCode::OK, [(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text),
        Err(error) => {
            tracing::warn!(%error, "metrics could not be encoded");
            (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONTENT_TYPE, "text/plain")], Vec::new())
        }
    }
}
