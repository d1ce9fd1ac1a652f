//! What addresses this machine has: interfaces by name, and the errors that say it has not.

use std::io;

/// The index of the network interface called `name`: the scope of a link-local address, such as `fe80::1%eth0` (RFC 4007
/// §11). On Unix a name such as
/// `eth0` (`if_nametoindex`, POSIX); on Windows the alias that `ipconfig` prints, such as `Ethernet 2`
/// (`ConvertInterfaceAliasToLuid`).
///
/// # Errors
/// What the system says if it has no such interface; [`InvalidInput`](io::ErrorKind::InvalidInput) for a name with a NUL
/// in it.
pub fn interface_index(name: &str) -> io::Result<u32> {
    if name.contains('\0') {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    imp::index(name)
}

#[cfg(unix)]
mod imp {
    use std::{ffi::CString, io};

    pub(super) fn index(name: &str) -> io::Result<u32> {
        let name = CString::new(name)?;
        // SAFETY: a string that ends with a NUL and outlives the call, which only reads it.
        match unsafe { libc::if_nametoindex(name.as_ptr()) } {
            0 => Err(io::Error::last_os_error()),
            index => Ok(index),
        }
    }
}

#[cfg(windows)]
mod imp {
    use std::io;
    use windows_sys::Win32::NetworkManagement::IpHelper as ip;
    use windows_sys::Win32::NetworkManagement::Ndis::NET_LUID_LH;

    pub(super) fn index(name: &str) -> io::Result<u32> {
        let alias: Vec<u16> = name.encode_utf16().chain([0]).collect();
        let (mut luid, mut index) = (NET_LUID_LH { Value: 0 }, 0);
        // SAFETY: a string that ends with a NUL and outlives the call, and a value that the call writes.
        check(unsafe { ip::ConvertInterfaceAliasToLuid(alias.as_ptr(), &raw mut luid) })?;
        // SAFETY: a value that the call reads, and one that it writes.
        check(unsafe { ip::ConvertInterfaceLuidToIndex(&raw const luid, &raw mut index) })?;
        Ok(index)
    }

    /// These calls return their error; they do not set the last one.
    fn check(error: u32) -> io::Result<()> {
        if error == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(error.cast_signed())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::address_unavailable;

    #[test]
    fn an_interface_that_is_not_there_has_no_index() {
        for none in ["", "no-such-if0", "lo\0", "a name that is longer than any interface may have"] {
            assert!(interface_index(none).is_err(), "{none:?}");
        }
    }

    #[test]
    fn an_address_of_another_machine_is_unavailable() {
        let listen = |address: &str| crate::listen(address.parse().unwrap(), crate::ListenOptions::default());
        // RFC 5737: for documentation.
        assert!(address_unavailable(&listen("192.0.2.1:0").expect_err("nobody has it")));
        let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let in_use = listen(&held.local_addr().unwrap().to_string()).expect_err("it is taken");
        assert!(!address_unavailable(&in_use), "{in_use}");
        #[cfg(unix)]
        assert!(address_unavailable(&io::Error::from_raw_os_error(libc::EAFNOSUPPORT)));
        #[cfg(windows)]
        assert!(address_unavailable(&io::Error::from_raw_os_error(10047)));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn interfaces_have_the_index_that_the_kernel_shows() {
        let mut seen = 0;
        for interface in std::fs::read_dir("/sys/class/net").into_iter().flatten() {
            let path = interface.unwrap().path().join("ifindex");
            let Ok(index) = std::fs::read_to_string(&path) else { continue };
            let name = path.parent().and_then(|path| path.file_name()?.to_str()).unwrap();
            assert_eq!(interface_index(name).ok(), index.trim().parse().ok(), "{name}");
            seen += 1;
        }
        if seen == 0 {
            eprintln!("left out: /sys shows no interface");
        }
    }
}
