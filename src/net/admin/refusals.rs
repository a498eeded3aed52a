//! What is answered where there is no such path, or the path does not take the method.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::net::http::problem;

const PATHS: [&str; 27] = [
    "/",
    "/dashboard/{file}",
    "/runbook",
    "/metrics",
    "/healthz",
    "/readyz",
    "/status",
    "/groups",
    "/rules",
    "/history",
    "/violations",
    "/violations/stream",
    "/clients",
    "/clients/kill",
    "/slow",
    "/config",
    "/reload",
    "/mode",
    "/drain",
    "/record",
    "/learn",
    "/log",
    "/audit",
    "/audit/cancel",
    "/repair",
    "/repair/undo",
    "/openapi.json",
];

pub(super) async fn no_such_path() -> Response {
    problem(StatusCode::NOT_FOUND, "no such path", &PATHS)
}

pub(super) async fn only_read() -> Response {
    no_such_method("GET, HEAD", &["GET", "HEAD"])
}

pub(super) async fn read_or_post() -> Response {
    no_such_method("GET, HEAD, POST", &["GET", "HEAD", "POST"])
}

pub(super) async fn only_post() -> Response {
    no_such_method("POST", &["POST"])
}

fn no_such_method(allow: &'static str, methods: &'static [&'static str]) -> Response {
    let refused = problem(StatusCode::METHOD_NOT_ALLOWED, "this path does not take that method", methods);
    ([(header::ALLOW, allow)], refused).into_response()
}
