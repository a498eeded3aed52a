//! Tells whether files have been replaced.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// What tells one state of a file from another: replaced in place, by renaming, or by turning a link.
pub(super) type FileStamps = Vec<Option<(u64, i64, i64, u64)>>;

/// How these files look now.
pub(super) fn file_stamps(files: &[PathBuf]) -> FileStamps {
    let look =
        |file: &PathBuf| std::fs::metadata(file).ok().map(|file| (file.ino(), file.mtime(), file.mtime_nsec(), file.size()));
    files.iter().map(look).collect()
}
