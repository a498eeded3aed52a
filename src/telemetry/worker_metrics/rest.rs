//! Counts of REST requests.

use std::array::from_fn;
use std::time::Duration;

use metrics::{Histogram, counter, histogram};

use super::meter::Meter;
use crate::telemetry::label::{RestCode, RestEndpoint, key};
use crate::telemetry::names;

/// Every endpoint with every status, at zero from the start.
#[derive(Debug)]
pub(super) struct RestRequests {
    counts: [[Meter; RestCode::ALL.len()]; RestEndpoint::ALL.len()],
    seconds: [Histogram; RestEndpoint::ALL.len()],
    resent: Meter,
}

impl RestRequests {
    pub(super) fn at_zero() -> RestRequests {
        let count = |endpoint: RestEndpoint, code: RestCode| {
            Meter::at_zero(counter!(names::REST_REQUESTS_TOTAL,
                key::ENDPOINT => endpoint.as_str(), key::CODE => code.as_str()))
        };
        RestRequests {
            counts: RestEndpoint::ALL.map(|endpoint| from_fn(|code| count(endpoint, RestCode::ALL[code]))),
            seconds: RestEndpoint::ALL
                .map(|endpoint| histogram!(names::REST_REQUEST_SECONDS, key::ENDPOINT => endpoint.as_str())),
            resent: Meter::at_zero(counter!(names::REST_RESENT_TOTAL)),
        }
    }

    pub(super) fn add(&self, endpoint: RestEndpoint, status: u16, elapsed: Duration) {
        let code = RestCode::ALL.into_iter().find(|code| code.as_str().parse() == Ok(status)).unwrap_or(RestCode::Other);
        self.counts[endpoint.index()][code.index()].add(1);
        self.seconds[endpoint.index()].record(elapsed);
    }

    pub(super) fn add_resent(&self) {
        self.resent.add(1);
    }

    pub(super) fn flush(&self) {
        self.counts.iter().flatten().for_each(Meter::flush);
        self.resent.flush();
    }
}
