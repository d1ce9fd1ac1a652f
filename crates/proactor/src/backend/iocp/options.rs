//! Options of sockets.

use std::io;
use std::ptr;

use windows_sys::Win32::Networking::WinSock as ws;

use super::calls::{Calls, checked};
use super::table::raw;
use crate::socket::Socket;

impl Calls {
    /// Completes an accepted socket: addresses, half-close, and its listener's options work from now on.
    pub(super) fn update_accepted(&self, socket: &Socket, listener: ws::SOCKET) -> io::Result<()> {
        self.set_option(raw(socket), ws::SOL_SOCKET, ws::SO_UPDATE_ACCEPT_CONTEXT, &listener.to_ne_bytes())?;
        self.set_nodelay(socket)?;
        // Only for few options is it documented that they are inherited.
        self.set_inline_urgent(socket)
    }

    /// The same for a connected one. The option has no value:
    /// <https://learn.microsoft.com/windows/win32/api/mswsock/nc-mswsock-lpfn_connectex>.
    pub(super) fn update_connected(&self, socket: ws::SOCKET) -> io::Result<()> {
        self.set_option(socket, ws::SOL_SOCKET, ws::SO_UPDATE_CONNECT_CONTEXT, &[])
    }

    /// Lets a socket that is about to be bound for `ConnectEx` share its local port with others that have another
    /// peer. Without it, each outbound connection takes one of the 16,384 dynamic ports, wherever it goes: an
    /// explicit bind, which `ConnectEx` requires, reserves a port before the peer is known. `connect` binds by
    /// itself, with this option set: <https://learn.microsoft.com/windows/win32/winsock/sol-socket-socket-options>,
    /// `SO_REUSE_UNICASTPORT`.
    ///
    /// Windows 10 and newer. Before, `SO_PORT_SCALABILITY` would help sockets that are bound to a certain local address
    /// alone, which these are not.
    pub(super) fn share_port(&self, socket: &Socket) {
        // A system without it gives each socket its own port.
        let _ = self.set_option(raw(socket), ws::SOL_SOCKET, ws::SO_REUSE_UNICASTPORT, &1_i32.to_ne_bytes());
    }

    pub(super) fn set_nodelay(&self, socket: &Socket) -> io::Result<()> {
        self.set_option(raw(socket), ws::IPPROTO_TCP, ws::TCP_NODELAY, &1_i32.to_ne_bytes())
    }

    /// Has urgent data delivered in line.
    pub(super) fn set_inline_urgent(&self, socket: &Socket) -> io::Result<()> {
        self.set_option(raw(socket), ws::SOL_SOCKET, ws::SO_OOBINLINE, &1_i32.to_ne_bytes())
    }

    /// Makes the close discard unsent bytes and reset the connection.
    pub(super) fn linger_not(&self, socket: &Socket) -> io::Result<()> {
        // A `LINGER`: on, for no time.
        let value = [1_u16.to_ne_bytes(), 0_u16.to_ne_bytes()].concat();
        self.set_option(raw(socket), ws::SOL_SOCKET, ws::SO_LINGER, &value)
    }

    fn set_option(&self, socket: ws::SOCKET, level: i32, option: i32, value: &[u8]) -> io::Result<()> {
        // The address of an empty slice points nowhere, and is not null.
        let at = if value.is_empty() { ptr::null() } else { value.as_ptr() };
        // SAFETY: an open socket, and readable bytes of the stated length.
        checked(unsafe { (self.table.set_option)(socket, level, option, at, value.len() as i32) } == 0)
    }
}
