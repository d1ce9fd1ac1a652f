//! Tests in which the system fails: each of its calls in turn, over real sockets, with the real driver above. What
//! holds in all of them: the failure is reported as what it is, no other connection is affected, and no handle is
//! left.
//!
//! A case orders what is to fail by the call's name in the [`Table`]; the order is the thread's own. A call that is
//! under way fails by its packet: [`Orders::packet`].

mod cases;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ffi::c_void;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use overlapped_testing::{PATIENCE, dial, expect_bytes, expect_end};
use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::Networking::WinSock as ws;
use windows_sys::Win32::System::IO::{OVERLAPPED, OVERLAPPED_ENTRY};

use super::table::{AcceptEx, ConnectEx, Table, twin};
use super::{Iocp, Refusal, Wait};
use crate::buffer::{Pool, PoolConfig};
use crate::driver::{ConnectionKey, Driver, Event, ListenerKey};
use crate::os::{Handles, handles};
use crate::socket::{ListenOptions, Socket, listen};

/// What is to fail, in the order in which it was ordered, and what did.
#[derive(Default)]
struct Orders {
    /// Call, how many of it are let through first, and the error that it fails with.
    calls: Vec<(&'static str, usize, i32)>,
    /// The next packet of an operation says that it failed with this status.
    packet: Option<i32>,
    /// The next send of the connection with this index waits, and then succeeds without having sent anything.
    idle_send: Option<usize>,
    /// The packet of that: its key, and what it is about.
    idle_packet: Option<(usize, *mut OVERLAPPED)>,
    /// The provider of sockets calls itself this, and makes no handles of the kernel's.
    layer: Option<&'static str>,
    /// Every call made so far.
    made: Vec<&'static str>,
    /// Options set so far: which, whether its value was null, and its length.
    options: Vec<(i32, bool, i32)>,
    /// Addresses connected to.
    connected: Vec<SocketAddr>,
}

thread_local! {
    static ORDERS: RefCell<Orders> = RefCell::default();
}

/// Calls that any case had fail.
static MET: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());

fn orders<T>(change: impl FnOnce(&mut Orders) -> T) -> T {
    ORDERS.with_borrow_mut(change)
}

/// The next `call` fails with `code`.
fn fail(call: &'static str, code: i32) {
    fail_after(call, 0, code);
}

/// The same after `through` calls have succeeded.
fn fail_after(call: &'static str, through: usize, code: i32) {
    orders(|orders| orders.calls.push((call, through, code)));
}

/// How often a call was made so far.
fn made(call: &str) -> usize {
    orders(|orders| orders.made.iter().filter(|made| **made == call).count())
}

/// Whether this call is to fail; then the thread's last error is set. Asked by every entry of the twin table.
pub(super) fn meets(call: &'static str) -> bool {
    let code = orders(|orders| {
        orders.made.push(call);
        let at = orders.calls.iter().position(|(failing, ..)| *failing == call)?;
        let (_, through, code) = &mut orders.calls[at];
        if *through > 0 {
            *through -= 1;
            return None;
        }
        let code = *code;
        orders.calls.remove(at);
        Some(code)
    });
    if let Some(code) = code {
        MET.lock().unwrap_or_else(PoisonError::into_inner).insert(call);
        // SAFETY: no memory is passed.
        unsafe { ws::WSASetLastError(code) };
    }
    code.is_some()
}

/// What the one call returns that returns its error.
pub(super) fn code() -> i32 {
    // SAFETY: no memory is passed.
    unsafe { ws::WSAGetLastError() }
}

static FAULTY: Table = Table { take, send, get_option, set_option, ..twin::TABLE };
/// What Winsock gave for the two calls that are behind pointers.
static POINTERS: OnceLock<(AcceptEx, ConnectEx)> = OnceLock::new();

fn create(pool: Pool) -> Result<Iocp, Refusal> {
    let mut iocp = Iocp::over(&FAULTY, pool)?;
    let _ = POINTERS.set((iocp.calls.accept_ex, iocp.calls.connect_ex));
    (iocp.calls.accept_ex, iocp.calls.connect_ex) = (accept_ex, connect_ex);
    Ok(iocp)
}

/// Tells of a socket, or says of its provider what was ordered.
unsafe extern "system" fn get_option(
    socket: ws::SOCKET,
    level: i32,
    option: i32,
    value: *mut u8,
    len: *mut i32,
) -> i32 {
    // SAFETY: what the caller promised.
    let result = unsafe { twin::get_option(socket, level, option, value, len) };
    if result == 0
        && option == ws::SO_PROTOCOL_INFOW
        && let Some(name) = orders(|orders| orders.layer)
    {
        // SAFETY: the call has just written one.
        let info = unsafe { &mut *value.cast::<ws::WSAPROTOCOL_INFOW>() };
        info.dwServiceFlags1 &= !ws::XP1_IFS_HANDLES;
        info.szProtocol.fill(0);
        info.szProtocol.iter_mut().zip(name.encode_utf16()).for_each(|(place, unit)| *place = unit);
    }
    result
}

/// Sets an option, and notes it.
unsafe extern "system" fn set_option(
    socket: ws::SOCKET,
    level: i32,
    option: i32,
    value: *const u8,
    len: i32,
) -> i32 {
    orders(|orders| orders.options.push((option, value.is_null(), len)));
    // SAFETY: what the caller promised.
    unsafe { twin::set_option(socket, level, option, value, len) }
}

unsafe extern "system" fn accept_ex(
    listener: ws::SOCKET,
    into: ws::SOCKET,
    scratch: *mut c_void,
    data: u32,
    local: u32,
    peer: u32,
    bytes: *mut u32,
    overlapped: *mut OVERLAPPED,
) -> i32 {
    if meets("accept_ex") {
        return 0;
    }
    let (real, _) = POINTERS.get().expect("loaded before it is called");
    // SAFETY: what the caller promised.
    unsafe { real(listener, into, scratch, data, local, peer, bytes, overlapped) }
}

unsafe extern "system" fn connect_ex(
    socket: ws::SOCKET,
    address: *const ws::SOCKADDR,
    len: i32,
    data: *const c_void,
    data_len: u32,
    bytes: *mut u32,
    overlapped: *mut OVERLAPPED,
) -> i32 {
    if meets("connect_ex") {
        return 0;
    }
    // SAFETY: an address of that length, says the caller.
    let to = unsafe {
        socket2::SockAddr::try_init(|into, into_len| {
            std::ptr::copy_nonoverlapping(address.cast::<u8>(), into.cast::<u8>(), len as usize);
            *into_len = len;
            Ok(())
        })
    };
    let to = to.ok().and_then(|((), to)| to.as_socket()).expect("an IP address");
    orders(|orders| orders.connected.push(to));
    let (_, real) = POINTERS.get().expect("loaded before it is called");
    // SAFETY: what the caller promised.
    unsafe { real(socket, address, len, data, data_len, bytes, overlapped) }
}

/// Sends, or puts off what was ordered to succeed without sending.
unsafe extern "system" fn send(
    socket: ws::SOCKET,
    buffers: *const ws::WSABUF,
    count: u32,
    bytes: *mut u32,
    flags: u32,
    overlapped: *mut OVERLAPPED,
    routine: ws::LPWSAOVERLAPPED_COMPLETION_ROUTINE,
) -> i32 {
    if let Some(index) = orders(|orders| orders.idle_send.take()) {
        orders(|orders| orders.idle_packet = Some((index + 1, overlapped)));
        // SAFETY: no memory is passed.
        unsafe { ws::WSASetLastError(ws::WSA_IO_PENDING) };
        return ws::SOCKET_ERROR;
    }
    // SAFETY: what the caller promised.
    unsafe { twin::send(socket, buffers, count, bytes, flags, overlapped, routine) }
}

/// Takes packets, and has one of them say that its operation failed if that was ordered.
unsafe extern "system" fn take(
    port: HANDLE,
    entries: *mut OVERLAPPED_ENTRY,
    room: u32,
    count: *mut u32,
    millis: u32,
    alertable: i32,
) -> i32 {
    if let Some((key, overlapped)) = orders(|orders| orders.idle_packet.take()) {
        // Its header says no bytes and no failure: so it was made ready.
        let packet =
            OVERLAPPED_ENTRY { lpCompletionKey: key, lpOverlapped: overlapped, ..Default::default() };
        // SAFETY: the caller has room for one packet at least.
        unsafe { (*entries, *count) = (packet, 1) };
        return 1;
    }
    // SAFETY: what the caller promised.
    let done = unsafe { twin::take(port, entries, room, count, millis, alertable) };
    if done != 0 {
        // SAFETY: the call wrote `count` entries.
        let entries = unsafe { std::slice::from_raw_parts(entries, *count as usize) };
        let of_operations = |entry: &&OVERLAPPED_ENTRY| !entry.lpOverlapped.is_null();
        if let Some(entry) = entries.iter().find(of_operations)
            && let Some(status) = orders(|orders| orders.packet.take())
        {
            // SAFETY: its packet was taken, so the kernel is done with this `OVERLAPPED`, and its entry stays (INV-1).
            unsafe { (*entry.lpOverlapped).Internal = status as u32 as usize };
        }
    }
    done
}

/// A driver whose system fails as ordered. One at a time in the process, which counts its handles.
struct Scene {
    driver: Driver<Iocp>,
    pool: Pool,
    before: Handles,
    _alone: MutexGuard<'static, ()>,
}

impl Scene {
    fn new() -> Scene {
        let alone = alone();
        let before = handles();
        let pool = Pool::new(PoolConfig { blocks: 8, block_len: 1024 });
        let iocp = create(pool.clone()).unwrap_or_else(|refusal| panic!("{refusal}"));
        Scene { driver: Driver::new(iocp), pool, before, _alone: alone }
    }

    fn listen(&mut self) -> (ListenerKey, SocketAddr) {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let socket = listen(any, ListenOptions::default()).expect("loopback can be listened on");
        let listener = self.driver.listen(socket).expect("a listener can be registered");
        (listener, self.driver.listener_addr(listener).expect("it has an address"))
    }

    /// A connection that is received on, and its other end.
    fn connection(&mut self) -> (ConnectionKey, TcpStream) {
        let (listener, address) = self.listen();
        let client = dial(address);
        let socket = self.accepted();
        self.driver.close_listener(listener);
        self.until("the listener's end", |event| {
            matches!(event, Event::ListenerReleased { .. }).then_some(())
        });
        (self.driver.adopt(socket).expect("it can be registered"), client)
    }

    fn accepted(&mut self) -> Socket {
        self.find("a connection", |event| match event {
            Event::Accepted { socket, .. } => Ok(socket),
            other => Err(other),
        })
    }

    /// Turns until an event is the one looked for. Any other is of no interest, unless it is a failure.
    fn until<T>(&mut self, what: &str, mut is_it: impl FnMut(&Event<Socket>) -> Option<T>) -> T {
        self.find(what, |event| is_it(&event).ok_or(event))
    }

    /// Turns until `done`, without any event.
    fn quietly(&mut self, what: &str, done: impl Fn(&Driver<Iocp>) -> bool) {
        let start = Instant::now();
        while !done(&self.driver) {
            assert!(start.elapsed() < PATIENCE, "waited in vain until {what}");
            let soon = self.driver.now() + Duration::from_millis(20);
            self.driver.turn(Wait::Until(soon)).expect("the port works");
            while let Some(event) = self.driver.next_event() {
                let delayed = matches!(event, Event::Delayed { .. });
                assert!(delayed, "{event:?} before {what}");
            }
        }
    }

    fn find<T>(&mut self, what: &str, mut take: impl FnMut(Event<Socket>) -> Result<T, Event<Socket>>) -> T {
        let start = Instant::now();
        loop {
            let report = self.driver.in_flight_report();
            assert!(start.elapsed() < PATIENCE, "waited for {what} in vain; in flight: {report}");
            let soon = self.driver.now() + Duration::from_millis(20);
            self.driver.turn(Wait::Until(soon)).expect("the port works");
            while let Some(event) = self.driver.next_event() {
                match take(event) {
                    Ok(found) => return found,
                    Err(Event::Failed { verb, error, .. }) => panic!("{what}: {verb:?} failed: {error}"),
                    Err(_) => {}
                }
            }
        }
    }

    fn failure(&mut self, what: &str) -> (crate::driver::Verb, std::io::ErrorKind) {
        self.until(what, |event| match event {
            Event::Failed { verb, error, .. } => Some((*verb, error.kind())),
            _ => None,
        })
    }

    fn bytes(&mut self, wanted: &[u8]) {
        let mut got = Vec::new();
        self.until("bytes", |event| {
            if let Event::Received { data, .. } = event {
                got.extend_from_slice(data);
            }
            (got.len() >= wanted.len()).then_some(())
        });
        assert_eq!(got, wanted);
    }

    /// Ends it as it is, and checks that nothing is left, and that all that was ordered has come.
    fn end(self) {
        let Scene { driver, pool, before, _alone } = self;
        drop(driver);
        assert_eq!(pool.in_use(), 0, "every block is back");
        assert_eq!(handles(), before, "every handle is closed");
        orders(|orders| {
            assert!(orders.calls.is_empty(), "ordered and not met: {:?}", orders.calls);
            assert_eq!((orders.packet, orders.idle_send), (None, None), "ordered and not met");
        });
    }
}

/// One case at a time, with no orders left over.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    orders(|orders| *orders = Orders::default());
    alone
}

fn say(mut client: &TcpStream, bytes: &[u8]) {
    client.write_all(bytes).expect("it is connected");
}
