//! Requests to the admin server: any bytes, in any pieces.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| overlapped_admin::fuzzing::request(bytes));
