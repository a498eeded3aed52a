//! Up to which length a request is buffered whole.

/// A longer request is passed on over the client's own connection while it arrives, instead of being buffered whole.
pub const STREAM_BYTES: usize = 64 * 1024;
/// A request that may belong to a group is held whole up to this size.
pub const MEMBER_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Variable of the environment, of a build for tests only: both lengths, so that requests of a few KiB are large ones.
#[cfg(debug_assertions)]
const TEST_ENV: &str = "RESPGUARD_TEST_WHOLE_BYTES";

/// The lengths in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WholeLimits {
    /// Of any request.
    pub stream_bytes: usize,
    /// Of one that may belong to a group, or does something to its connection.
    pub member_bytes_max: usize,
}

impl Default for WholeLimits {
    fn default() -> WholeLimits {
        WholeLimits { stream_bytes: STREAM_BYTES, member_bytes_max: MEMBER_BYTES_MAX }
    }
}

impl WholeLimits {
    /// Those of a build without assertions are fixed.
    #[cfg(not(debug_assertions))]
    pub fn in_force() -> WholeLimits {
        WholeLimits::default()
    }

    /// Tests lower them.
    #[cfg(debug_assertions)]
    pub fn in_force() -> WholeLimits {
        std::env::var(TEST_ENV).ok().and_then(|text| WholeLimits::read(&text)).unwrap_or_default()
    }

    #[cfg(debug_assertions)]
    fn read(text: &str) -> Option<WholeLimits> {
        let (stream, member) = text.split_once(' ')?;
        Some(WholeLimits { stream_bytes: stream.parse().ok()?, member_bytes_max: member.parse().ok()? })
    }
}
