//! What a reader of the lesson does with its server: connects several clients at once.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::thread;

use overlapped_testing::{Example, assert_same, exchange, read_to_end};

/// Connects 50 clients at once. Every fifth disconnects early; all others get every byte, and then the end of the stream.
pub(crate) fn serves_everybody(lesson: &Example) {
    thread::scope(|scope| {
        for number in 0..50_usize {
            let client = lesson.dial();
            scope.spawn(move || {
                let bytes: Vec<u8> = (0..number * 9_000).map(|at| (at * 31 + number) as u8).collect();
                let (mut reader, mut writer) = (client.try_clone().unwrap(), client);
                let writing = thread::spawn(move || {
                    for piece in bytes.chunks(1 + number * 300) {
                        // Every fifth disconnects with its echo unread.
                        if number % 5 == 4 && piece.len() < 1 + number * 300 {
                            return None;
                        }
                        writer.write_all(piece).expect("it receives");
                    }
                    writer.shutdown(Shutdown::Write).expect("it is there");
                    Some(bytes)
                });
                if number % 5 == 4 {
                    let _ = reader.read(&mut [0; 100]);
                    drop(reader);
                    return;
                }
                let got = read_to_end(&mut reader);
                let wanted = writing.join().unwrap().expect("it wrote to the end");
                assert_same(&got, &wanted, &format!("client {number}"));
            });
        }
    });
    exchange(&mut lesson.dial(), b"still there\n");
}
