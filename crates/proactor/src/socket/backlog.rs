//! The length of a listener's queue, as each system's `listen` expects it.

/// The value to give to Winsock's `listen` for a queue of `backlog` connections.
///
/// Winsock caps a plain number at 200, without an error. Its macro `SOMAXCONN_HINT(n)`, which is `-n`, asks for `n`,
/// "adjusted to be within the range (200, 65535)", and needs the Microsoft TCP provider:
/// <https://learn.microsoft.com/windows/win32/api/winsock2/nf-winsock2-listen>. A number up to 200 stays plain, so that
/// a short queue stays short.
#[cfg_attr(not(any(windows, test)), expect(dead_code, reason = "for Windows, tested everywhere"))]
pub(super) const fn winsock(backlog: i32) -> i32 {
    const PLAIN: i32 = 200;
    const MOST: i32 = 65_535;
    if backlog <= PLAIN {
        backlog
    } else if backlog <= MOST {
        -backlog
    } else {
        -MOST
    }
}

/// The value to give to this system's `listen`.
pub(super) const fn of_this_system(backlog: i32) -> i32 {
    #[cfg(windows)]
    return winsock(backlog);
    #[cfg(not(windows))]
    return backlog;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_200_is_a_hint_to_winsock() {
        for plain in [0, 1, 5, 128, 200] {
            assert_eq!(winsock(plain), plain);
        }
        for (backlog, hint) in
            [(201, -201), (4096, -4096), (65_535, -65_535), (65_536, -65_535), (i32::MAX, -65_535)]
        {
            assert_eq!(winsock(backlog), hint);
        }
        let default = super::super::ListenOptions::default().backlog;
        assert_eq!(of_this_system(default), if cfg!(windows) { -default } else { default });
    }
}
