//! Says where a server listens.
