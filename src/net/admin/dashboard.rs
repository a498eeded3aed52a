//! GET /: the dashboard, a page that asks the other endpoints.

use axum::http::header;
use axum::response::{IntoResponse, Response};

/// The page loads nothing but its own two files and the endpoints beside it, whatever text it shows.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(super) async fn page() -> Response {
    asset("text/html; charset=utf-8", include_str!("dashboard/page.html"))
}

pub(super) async fn script() -> Response {
    asset("text/javascript; charset=utf-8", concat!(include_str!("dashboard/kinds.js"), "\n", include_str!("dashboard/page.js")))
}

pub(super) async fn style() -> Response {
    asset("text/css; charset=utf-8", include_str!("dashboard/style.css"))
}

/// A browser that has kept the files of another version would mix them.
fn asset(kind: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, "no-cache"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ];
    (headers, text).into_response()
}
