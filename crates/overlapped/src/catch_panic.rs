//! Panics of the user's code: caught, and kept as text.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs the user's code. A panic in it is caught.
///
/// # Errors
/// The panic's message.
pub(crate) fn contain<R>(code: impl FnOnce() -> R) -> Result<R, String> {
    // The engine's own state is consistent whenever it calls the user's code.
    catch_unwind(AssertUnwindSafe(code)).map_err(into_message)
}

/// The message of a caught panic. Drops its payload, whose destructor may panic, too: the payload of that second panic is
/// leaked, because dropping it could panic again, without end.
pub(crate) fn into_message(payload: Box<dyn Any + Send>) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let message = text.or(payload.downcast_ref::<&str>().copied()).unwrap_or("(no message)").to_owned();
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(second);
    }
    message
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::panic::panic_any;

    use super::contain;

    struct Bomb;

    impl Drop for Bomb {
        fn drop(&mut self) {
            panic_any(Bomb);
        }
    }

    #[test]
    fn messages_of_every_kind_are_kept() {
        assert_eq!(contain(|| 5), Ok(5));
        assert_eq!(contain(|| panic!("plain")), Err::<(), _>("plain".to_owned()));
        assert_eq!(contain(|| panic!("number {}", 7)), Err::<(), _>("number 7".to_owned()));
        assert_eq!(contain(|| panic_any(7)), Err::<(), _>("(no message)".to_owned()));
    }

    /// Its destructor panics with another one of its kind, and so on.
    #[test]
    fn a_payload_that_panics_when_dropped_goes_no_further() {
        assert_eq!(contain(|| panic_any(Bomb)), Err::<(), _>("(no message)".to_owned()));
    }
}
