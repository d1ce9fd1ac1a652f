//! monoio: a task per connection and a buffer that the task lends to each operation, as in the echo example of
//! monoio's README. The number of entries is the example of its `docs/en/configuration.md`.

use std::io;

use monoio::io::{AsyncReadRent, AsyncWriteRentExt};
use monoio::net::{TcpListener, TcpStream};
use monoio::{IoUringDriver, RuntimeBuilder};
use peer::Options;

const ENTRIES: u32 = 32_768;

fn main() -> io::Result<()> {
    let options = Options::from_arguments(&["uring"]);
    let mut runtime = RuntimeBuilder::<IoUringDriver>::new().with_entries(ENTRIES).build()?;
    runtime.block_on(accept(options.port))
}

async fn accept(port: u16) -> io::Result<()> {
    let listener = TcpListener::from_std(peer::listen(port)?)?;
    peer::announce(listener.local_addr()?.port());
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(monoio::spawn(echo(stream))),
            Err(error) if peer::concerns_one_connection(&error) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Until the client closes or the connection fails; either way the stream is closed here.
async fn echo(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer: Vec<u8> = Vec::with_capacity(peer::READ_BUFFER);
    let mut result;
    loop {
        (result, buffer) = stream.read(buffer).await;
        if result? == 0 {
            return Ok(());
        }
        (result, buffer) = stream.write_all(buffer).await;
        result?;
        buffer.clear();
    }
}
