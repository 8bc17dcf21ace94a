//! In-process tests: rooms put together through their public functions, on the real kernel, without the binary.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where it fails")]

mod engine;
mod library;
