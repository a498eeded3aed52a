//! The compression algorithms.

/// By zstd with a level, else by LZ4; `None` where that fails.
pub(super) fn compress(value: &[u8], level: Option<i32>) -> Option<Vec<u8>> {
    match level {
        Some(level) => zstd::bulk::compress(value, level).ok(),
        None => Some(lz4_flex::block::compress(value)),
    }
}

/// Of at most `length` bytes: room for more is never taken.
pub(super) fn decompress(data: &[u8], length: usize, is_zstd: bool) -> Option<Vec<u8>> {
    if is_zstd { zstd::bulk::decompress(data, length).ok() } else { lz4_flex::block::decompress(data, length).ok() }
}
