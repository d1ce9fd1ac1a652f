//! glommio: an executor on one thread and a task per connection, which reads and writes in turn, as in glommio's
//! `examples/echo.rs` and <https://docs.rs/glommio/latest/glommio/net/struct.TcpListener.html>.

use std::io;
use std::net::Ipv4Addr;

use futures_lite::{AsyncReadExt, AsyncWriteExt};
use glommio::net::{TcpListener, TcpStream};
use glommio::{GlommioError, LocalExecutorBuilder};
use peer::Options;

/// Of each of the executor's rings.
const RING_DEPTH: usize = 4096;

fn main() -> io::Result<()> {
    let options = Options::from_arguments(&["uring"]);
    peer::raise_descriptor_limit()?;
    let executor = LocalExecutorBuilder::default().ring_depth(RING_DEPTH).make()?;
    Ok(executor.run(accept(options.port))?)
}

async fn accept(port: u16) -> Result<(), GlommioError<()>> {
    // It takes no listener that exists already; its own has a backlog of 1024.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    peer::announce(listener.local_addr()?.port());
    loop {
        match listener.accept().await {
            Ok(stream) => glommio::spawn_local(echo(stream)).detach(),
            Err(GlommioError::IoError(error)) if peer::concerns_one_connection(&error) => continue,
            Err(error) => return Err(error),
        };
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
