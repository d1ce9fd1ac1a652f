//! The museum: programs that work below the wall on purpose. Nothing of `proactor` or `overlapped` depends on it.
//!
//! So far it has the echo server of the course lesson that this project grew out of, and that one is not broken:
//! literally, on Win32 calls (`examples/lesson_iocp_echo.rs`), and on `proactor`, for every system
//! (`examples/lesson_echo.rs` of the workspace). The broken ones, each beside its repair, come with
//! `overlapped pitfalls`, which is not built yet.
