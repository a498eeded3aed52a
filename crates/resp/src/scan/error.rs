//! Why an upstream's byte stream cannot be read any further.

/// Why a stream is no longer worth reading: after any of these nobody knows where a frame begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScanError {
    /// No frame starts so.
    #[error("unknown frame type {}", .0.escape_ascii())]
    UnknownType(u8),
    /// The length or count of a frame of this type is no number, or negative without meaning null.
    #[error("invalid length of a frame of type {}", .0.escape_ascii())]
    InvalidLength(u8),
    /// A length or count exceeds the limit, or a line goes on beyond it.
    #[error("frame of type {} exceeds its limit", .0.escape_ascii())]
    TooLong(u8),
    /// Aggregates are nested deeper than the limit.
    #[error("frames are nested too deeply")]
    TooDeep,
    /// An integer, boolean or null does not read as one.
    #[error("invalid value of a frame of type {}", .0.escape_ascii())]
    InvalidValue(u8),
    /// A carriage return or line feed stands alone.
    #[error("stray line break in a frame of type {}", .0.escape_ascii())]
    StrayLineBreak(u8),
    /// The bytes behind a payload are no line end.
    #[error("payload is not followed by a line end")]
    UnterminatedPayload,
}

impl From<ScanError> for std::io::Error {
    fn from(error: ScanError) -> std::io::Error {
        std::io::Error::other(error)
    }
}
