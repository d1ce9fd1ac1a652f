//! The crash that the lesson warns of, in a process of its own: the program's code touches a session whose memory has
//! been given back to the system. And what a *kernel* does that is given such memory: it does not crash.

use std::fmt;
use std::io::{self, Write};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::arena::keep;
use crate::kernel::{Block, KernelName, Purpose, Started, make};
use crate::stage::{PATIENCE, connection, raw};

/// The hidden argument with which a program calls [`child`].
pub const CHILD: &str = "--touch-a-deleted-session";
/// Set for the child. [`watch`] refuses to run where it is set: a program that does not know [`CHILD`] would start
/// itself again and again.
const IN_CHILD: &str = "OVERLAPPED_PITFALLS_IN_CHILD";

/// How the child ended, and what the kernel answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crash {
    /// The child's end, in the system's words: `SIGSEGV (signal 11)`, `access violation (0xC0000005)`.
    pub child_ended: String,
    /// Whether that was the crash.
    pub crashed: bool,
    /// What a receive into protected memory came to.
    pub kernel_answered: String,
    /// Whether that was a failure, and not bytes.
    pub kernel_refused: bool,
}

impl fmt::Display for Crash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "own code: {}; kernel: {}", self.child_ended, self.kernel_answered)
    }
}

/// What the child does. Does not return where memory protection works.
pub fn child() {
    quiet::leave_nothing_behind();
    let page = Page::new().expect("a page");
    let session = page.address();
    // SAFETY: the page is there, and readable and writable.
    unsafe { session.write_volatile(1) };
    page.protect().expect("its own page");
    println!("the session is deleted; its memory is the system's again");
    let _ = io::stdout().flush();
    // SAFETY: none: this is the mistake. The process ends here; nothing else lives in it.
    let value = unsafe { session.read_volatile() };
    println!("the read returned {value}");
}

/// Starts `program` with [`CHILD`] behind its own arguments, and sees how it ends. The program has to recognise the
/// argument before anything else, and to call [`child`].
///
/// # Errors
/// The child cannot be started or does not end, or there is no memory or socket for the second half.
pub fn watch(program: &mut Command, kernel: KernelName) -> io::Result<Crash> {
    if std::env::var_os(IN_CHILD).is_some() {
        return Err(io::Error::other(format!("this is the child: the program does not know {CHILD}")));
    }
    program.arg(CHILD).env(IN_CHILD, "1");
    let (child_ended, crashed) = ending(run_to_its_end(program)?);
    let (kernel_answered, kernel_refused) = match receive_into_protected_memory(kernel)? {
        Ok(bytes) => (format!("{bytes} bytes written"), false),
        Err(answer) => (answer, true),
    };
    Ok(Crash { child_ended, crashed, kernel_answered, kernel_refused })
}

fn run_to_its_end(program: &mut Command) -> io::Result<ExitStatus> {
    let mut child = program.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        thread::sleep(Duration::from_millis(1));
    }
    child.kill()?;
    child.wait()?;
    Err(io::Error::new(io::ErrorKind::TimedOut, "the child does not end"))
}

#[cfg(unix)]
fn ending(status: ExitStatus) -> (String, bool) {
    use std::os::unix::process::ExitStatusExt;
    match status.signal() {
        Some(libc::SIGSEGV) => (format!("SIGSEGV (signal {})", libc::SIGSEGV), true),
        Some(libc::SIGBUS) => (format!("SIGBUS (signal {})", libc::SIGBUS), true),
        Some(other) => (format!("signal {other}"), false),
        None => (status.to_string(), false),
    }
}

#[cfg(windows)]
fn ending(status: ExitStatus) -> (String, bool) {
    const ACCESS_VIOLATION: u32 = 0xC000_0005;
    match status.code().map(|code| code as u32) {
        Some(ACCESS_VIOLATION) => (format!("access violation ({ACCESS_VIOLATION:#X})"), true),
        _ => (status.to_string(), false),
    }
}

/// A receive whose buffer is memory that nobody may touch: the bytes that were written, or the kernel's refusal.
fn receive_into_protected_memory(kernel: KernelName) -> io::Result<Result<usize, String>> {
    let mut kernel = make(kernel)?;
    let (client, server) = connection()?;
    kernel.adopt(raw(&server))?;
    let page = Page::new()?;
    page.protect()?;
    (&client).write_all(b"for nobody")?;
    let block = Box::into_raw(Box::new(Block::new(Purpose::Receive)));
    keep(block);
    // SAFETY: the block is never freed; the page is protected, which is what is tried: a kernel checks each address.
    let started = unsafe { kernel.receive(raw(&server), page.address(), 10, block) };
    Ok(match started {
        Started::Failed(error) => Err(format!("the call fails at once: {error}")),
        Started::Done(bytes) | Started::DoneAndPosted(bytes) => Ok(bytes),
        Started::Pending => match kernel.next(PATIENCE)? {
            Some(completion) => {
                completion.result.map_err(|error| format!("the operation completes, failed: {error}"))
            }
            None => return Err(io::Error::new(io::ErrorKind::TimedOut, "a completion did not come")),
        },
    })
}

/// A page of memory that can be taken away.
struct Page(*mut u8);

const PAGE: usize = 64 * 1024;

#[cfg(unix)]
impl Page {
    fn new() -> io::Result<Page> {
        let (access, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANON);
        // SAFETY: a new mapping; nothing is replaced. It is never unmapped, so no other memory gets its address.
        let address = unsafe { libc::mmap(std::ptr::null_mut(), PAGE, access, flags, -1, 0) };
        if address == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(Page(address.cast())) }
    }

    fn protect(&self) -> io::Result<()> {
        // SAFETY: a mapping of ours, to which no reference exists.
        match unsafe { libc::mprotect(self.0.cast(), PAGE, libc::PROT_NONE) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

#[cfg(windows)]
impl Page {
    fn new() -> io::Result<Page> {
        use windows_sys::Win32::System::Memory::{MEM_COMMIT, MEM_RESERVE, PAGE_READWRITE, VirtualAlloc};
        // SAFETY: new memory; nothing is replaced. Its address is never released, so no other memory gets it.
        let address =
            unsafe { VirtualAlloc(std::ptr::null(), PAGE, MEM_COMMIT | MEM_RESERVE, PAGE_READWRITE) };
        if address.is_null() { Err(io::Error::last_os_error()) } else { Ok(Page(address.cast())) }
    }

    fn protect(&self) -> io::Result<()> {
        use windows_sys::Win32::System::Memory::{MEM_DECOMMIT, VirtualFree};
        // SAFETY: memory of ours, to which no reference exists.
        match unsafe { VirtualFree(self.0.cast(), PAGE, MEM_DECOMMIT) } {
            0 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    }
}

impl Page {
    fn address(&self) -> *mut u8 {
        self.0
    }
}

#[cfg(unix)]
mod quiet {
    /// The crash is wanted: it leaves no file behind.
    pub(super) fn leave_nothing_behind() {
        let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: a readable limit; only this process is concerned.
        unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const none) };
        // The limit does not hold for dumps that go to a program's pipe: core(5).
        #[cfg(target_os = "linux")]
        // SAFETY: numbers only; only this process is concerned.
        unsafe {
            libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0)
        };
    }
}

#[cfg(windows)]
mod quiet {
    use windows_sys::Win32::System::Diagnostics::Debug::{
        EXCEPTION_EXECUTE_HANDLER, EXCEPTION_POINTERS, SEM_FAILCRITICALERRORS, SEM_NOGPFAULTERRORBOX,
        SetErrorMode, SetUnhandledExceptionFilter,
    };

    /// The crash is wanted: no window asks about it, and no debugger starts.
    pub(super) fn leave_nothing_behind() {
        // SAFETY: only this process is concerned. The filter touches nothing.
        unsafe {
            SetErrorMode(SEM_FAILCRITICALERRORS | SEM_NOGPFAULTERRORBOX);
            SetUnhandledExceptionFilter(Some(end));
        }
    }

    /// The process ends with the exception's code, as it would if nobody had a debugger or a report.
    unsafe extern "system" fn end(_: *const EXCEPTION_POINTERS) -> i32 {
        EXCEPTION_EXECUTE_HANDLER
    }
}
