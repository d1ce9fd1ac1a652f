//! ntex on its own io_uring runtime (feature `neon-uring`): a server of one worker and a service per connection, which
//! receives and sends in turn, as in ntex's `ntex/tests/server.rs` and <https://docs.rs/ntex-io/latest/ntex_io/struct.Io.html>.

use std::io;

use ntex::codec::BytesCodec;
use ntex::io::Io;
use ntex::service::fn_service;
use ntex::util::Either;
use peer::Options;

#[ntex::main]
async fn main() -> io::Result<()> {
    let options = Options::from_arguments(&["uring"]);
    let listener = peer::listen(options.port)?;
    let port = listener.local_addr()?.port();
    // A thread of its own accepts; it is idle while bytes are echoed. Without ntex's handlers, signals end the process.
    let server = ntex::server::build().workers(1).disable_signals();
    let server = server.listen("echo", listener, async |_| fn_service(echo))?.run();
    peer::announce(port);
    server.await
}

/// Until the client closes or the connection fails; either way the stream is closed here. ntex sets `TCP_NODELAY` and
/// reads into buffers of 16 KiB by itself.
async fn echo(io: Io) -> Result<(), io::Error> {
    while let Some(bytes) = io.recv(&BytesCodec).await.map_err(Either::into_inner)? {
        io.encode(bytes, &BytesCodec)?;
    }
    Ok(())
}
