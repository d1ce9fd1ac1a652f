//! Entries of the in-flight table on pages of their own, for tests (feature `guard-pages`): when an operation is
//! over, its pages are made inaccessible and their addresses are never reused. Any later access, ours or the
//! kernel's, ends the process at once, instead of writing into the next operation (INV-1).

use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// One value on pages of its own.
pub(super) struct Chunk<T> {
    at: NonNull<T>,
    /// True exactly when its pages were made inaccessible.
    retired: bool,
}

impl<T> Chunk<T> {
    fn new(value: T) -> Chunk<T> {
        let at = pages::take(size_of::<T>()).cast::<T>();
        // SAFETY: fresh pages of that size; a page is aligned for every type that an entry is made of.
        unsafe { at.write(value) };
        Chunk { at, retired: false }
    }

    /// Drops the value and makes its pages inaccessible.
    pub(super) fn retire(&mut self) {
        assert!(!self.retired, "INV-3: an entry is freed once");
        self.retired = true;
        // SAFETY: written when the chunk was made, and dropped here alone; it is not borrowed any more.
        unsafe {
            self.at.drop_in_place();
            pages::protect(self.at.cast(), size_of::<T>());
        }
    }
}

impl<T> Deref for Chunk<T> {
    type Target = [T];

    /// The value, or nothing.
    fn deref(&self) -> &[T] {
        // SAFETY: as long as it was not retired the value is there.
        unsafe { std::slice::from_raw_parts(self.at.as_ptr(), usize::from(!self.retired)) }
    }
}

impl<T> DerefMut for Chunk<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as for `deref`; the chunk is borrowed alone.
        unsafe { std::slice::from_raw_parts_mut(self.at.as_ptr(), usize::from(!self.retired)) }
    }
}

impl<T> FromIterator<T> for Chunk<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Chunk<T> {
        let mut values = values.into_iter();
        let chunk = Chunk::new(values.next().expect("a chunk holds one entry"));
        assert!(values.next().is_none(), "a chunk holds one entry");
        chunk
    }
}

impl<T> Drop for Chunk<T> {
    fn drop(&mut self) {
        if !self.retired {
            self.retire();
        }
    }
}

#[cfg(unix)]
mod pages {
    use std::ptr::{NonNull, null_mut};

    /// Pages that can be read and written.
    pub(super) fn take(len: usize) -> NonNull<u8> {
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a fresh mapping, wherever there is room.
        let at = unsafe { libc::mmap(null_mut(), len, access, kind, -1, 0) };
        assert_ne!(at, libc::MAP_FAILED, "mmap: {}", std::io::Error::last_os_error());
        NonNull::new(at.cast()).expect("a mapping is not at 0")
    }

    /// Frees their memory and makes them inaccessible. Their addresses stay reserved.
    ///
    /// # Safety
    /// They came from [`take`] with this length, and are not used any more.
    pub(super) unsafe fn protect(at: NonNull<u8>, len: usize) {
        // SAFETY: what the caller promised.
        let done = unsafe {
            libc::madvise(at.as_ptr().cast(), len, libc::MADV_DONTNEED);
            libc::mprotect(at.as_ptr().cast(), len, libc::PROT_NONE)
        };
        assert_eq!(done, 0, "mprotect: {}", std::io::Error::last_os_error());
    }
}

#[cfg(windows)]
mod pages {
    use std::ptr::{NonNull, null};

    use windows_sys::Win32::System::Memory::{
        MEM_COMMIT, MEM_DECOMMIT, MEM_RESERVE, PAGE_READWRITE, VirtualAlloc, VirtualFree,
    };

    /// Pages that can be read and written.
    pub(super) fn take(len: usize) -> NonNull<u8> {
        // SAFETY: fresh pages, wherever there is room.
        let at = unsafe { VirtualAlloc(null(), len, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE) };
        NonNull::new(at.cast()).unwrap_or_else(|| panic!("VirtualAlloc: {}", std::io::Error::last_os_error()))
    }

    /// Frees their memory and makes them inaccessible. Their addresses stay reserved.
    ///
    /// # Safety
    /// They came from [`take`] with this length, and are not used any more.
    pub(super) unsafe fn protect(at: NonNull<u8>, len: usize) {
        // SAFETY: what the caller promised.
        let done = unsafe { VirtualFree(at.as_ptr().cast(), len, MEM_DECOMMIT) };
        assert_ne!(done, 0, "VirtualFree: {}", std::io::Error::last_os_error());
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    const CHILD: &str = "OVERLAPPED_TEST_TOUCHES_A_FREED_ENTRY";

    /// Checks the checker: an access to a freed entry ends the process.
    #[test]
    fn a_touch_of_a_freed_entry_is_the_end() {
        if std::env::var_os(CHILD).is_some() {
            let mut chunk: Chunk<u64> = [7].into_iter().collect();
            let at = chunk.at;
            assert_eq!(chunk.first(), Some(&7));
            chunk.retire();
            // SAFETY: none; this access must end the process.
            let value = unsafe { at.read_volatile() };
            println!("it says {value}, and nothing happened");
            return;
        }
        let mut child = Command::new(std::env::current_exe().expect("a test has a path"));
        child.args(["--exact", "inflight::guard_pages::tests::a_touch_of_a_freed_entry_is_the_end"]);
        let ended = overlapped_testing::started(|| child.env(CHILD, "1").output()).expect("it starts");
        #[cfg(unix)]
        {
            use std::os::unix::process::ExitStatusExt;
            let signal = ended.status.signal();
            assert!(matches!(signal, Some(libc::SIGSEGV | libc::SIGBUS)), "{ended:?}");
        }
        // An exception: 0xC0000005, or the code of a debugger that is called for it, such as Wine's.
        #[cfg(windows)]
        assert!(ended.status.code().is_some_and(|code| code < 0), "{ended:?}");
        assert!(!String::from_utf8_lossy(&ended.stdout).contains("nothing happened"), "{ended:?}");
    }
}
