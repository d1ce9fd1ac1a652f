//! tokio: a task per connection, which reads and writes in turn, as in the example on the first page of
//! <https://docs.rs/tokio>.

use std::io;

use peer::Options;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;

const CURRENT_THREAD: &str = "current-thread";
/// A worker per processor that the process may use.
const MULTI_THREAD: &str = "multi-thread";

fn main() -> io::Result<()> {
    let options = Options::from_arguments(&[CURRENT_THREAD, MULTI_THREAD]);
    let mut builder = match options.mode {
        MULTI_THREAD => Builder::new_multi_thread(),
        _ => Builder::new_current_thread(),
    };
    let runtime = builder.enable_io().build()?;
    // In a task of its own: the future that `block_on` drives runs on no worker, so each accept would wake two threads.
    runtime.block_on(async { tokio::spawn(accept(options.port)).await? })
}

async fn accept(port: u16) -> io::Result<()> {
    let listener = peer::listen(port)?;
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    peer::announce(listener.local_addr()?.port());
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(echo(stream))),
            Err(error) if peer::concerns_one_connection(&error) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Until the client closes or the connection fails; either way the stream is closed here.
async fn echo(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; peer::READ_BUFFER];
    loop {
        let length = stream.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..length]).await?;
    }
}
