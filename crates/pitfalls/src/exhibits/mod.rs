//! The exhibits. In each, the broken program and the repaired one are the same code up to the line that makes the
//! difference, so that both run on the same schedule.

mod close_without_cancel;
mod handle_reuse;
mod interleaved_sends;
mod length_bomb;
mod lock_while_sending;
mod overlapped_reuse;
mod parse_loop;
mod send_buffer;
mod short_send;
mod skip_on_success;
mod unchecked_result;
mod use_after_release;
mod zero_is_close;

use crate::{Exhibit, Medium};

/// The one whose crash a child process shows.
pub(crate) const CRASHES: &str = use_after_release::EXHIBIT.name;

/// Those whose mistake needs sockets and no completion kernel.
const ON_SOCKETS: [&str; 2] = [lock_while_sending::EXHIBIT.name, length_bomb::EXHIBIT.name];
/// The one whose mistake needs no I/O.
const IN_MEMORY: &str = parse_loop::EXHIBIT.name;

pub(crate) fn medium(exhibit: &Exhibit) -> Medium {
    match exhibit.name {
        IN_MEMORY => Medium::Memory,
        name if ON_SOCKETS.contains(&name) => Medium::Sockets,
        _ => Medium::Kernel,
    }
}

/// All of them, in the order in which they are told.
pub const ALL: &[&Exhibit] = &[
    &use_after_release::EXHIBIT,
    &send_buffer::EXHIBIT,
    &overlapped_reuse::EXHIBIT,
    &unchecked_result::EXHIBIT,
    &zero_is_close::EXHIBIT,
    &short_send::EXHIBIT,
    &interleaved_sends::EXHIBIT,
    &handle_reuse::EXHIBIT,
    &skip_on_success::EXHIBIT,
    &close_without_cancel::EXHIBIT,
    &lock_while_sending::EXHIBIT,
    &parse_loop::EXHIBIT,
    &length_bomb::EXHIBIT,
];
