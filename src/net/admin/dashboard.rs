//! GET /: the dashboard, a page that uses the other endpoints.

use axum::extract::Path;
use axum::http::{HeaderName, header};
use axum::response::{IntoResponse, Response};

use super::no_such_path;

/// The page loads nothing but its own files and the endpoints beside it, whatever text it shows.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

macro_rules! files {
    ($($kind:ident $name:literal),+ $(,)?) => {
        &[$(($name, $kind, include_str!(concat!("dashboard/", $name)))),+]
    };
}

/// What the page loads: `page.js` imports the other modules.
const FILES: &[(&str, &str, &str)] = files![
    STYLE "style.css",
    STYLE "groups.css",
    SCRIPT "page.js",
    SCRIPT "ask.js",
    SCRIPT "dom.js",
    SCRIPT "chart.js",
    SCRIPT "metrics.js",
    SCRIPT "now.js",
    SCRIPT "server.js",
    SCRIPT "nodes.js",
    SCRIPT "hour.js",
    SCRIPT "groups.js",
    SCRIPT "group.js",
    SCRIPT "rules.js",
    SCRIPT "compressed.js",
    SCRIPT "violations.js",
    SCRIPT "stream.js",
    SCRIPT "kinds.js",
    SCRIPT "advice.js",
];

pub(super) async fn page() -> Response {
    (headers("text/html; charset=utf-8"), include_str!("dashboard/page.html")).into_response()
}

pub(super) async fn file(Path(file): Path<String>) -> Response {
    match FILES.iter().find(|(name, ..)| *name == file) {
        Some((_, kind, text)) => (headers(kind), *text).into_response(),
        None => no_such_path().await,
    }
}

/// A browser that has kept the files of another version would mix them.
pub(super) fn headers(kind: &'static str) -> [(HeaderName, &'static str); 6] {
    [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, "no-cache"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ]
}
