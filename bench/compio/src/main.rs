//! compio: a task per connection, as in compio's `compio/examples/net.rs`.
//!
//! `plain` reads into a buffer that the connection owns. `read-multi` reads into a pool's buffers with one multishot
//! receive (<https://docs.rs/compio-io/latest/compio_io/trait.AsyncReadMulti.html>) and sends them as they are.
//! The ring's options are those that `ProactorBuilder` documents for a runtime of one thread.

mod page;

use std::io::{self, ErrorKind};
use std::num::NonZero;
use std::pin::pin;

use compio::BufResult;
use compio::driver::ProactorBuilder;
use compio::io::{AsyncRead, AsyncReadMulti, AsyncWriteExt};
use compio::net::{TcpListener, TcpStream};
use compio::runtime::Runtime;
use futures_lite::StreamExt;
use futures_lite::future::yield_now;
use peer::Options;

const PLAIN: &str = "plain";
const READ_MULTI: &str = "read-multi";

/// Fewer are used up at 1,000 connections, more leave the processor's caches.
const POOL: NonZero<u16> = NonZero::new(1024).unwrap();

fn main() -> io::Result<()> {
    let options = Options::from_arguments(&[PLAIN, READ_MULTI]);
    let mut proactor = ProactorBuilder::new();
    proactor.capacity(4096).cqsize(32_768).single_issuer(true).defer_taskrun(true);
    if options.mode == READ_MULTI {
        proactor.buffer_pool_size(POOL).buffer_pool_buffer_len(peer::READ_BUFFER);
        proactor.buffer_pool_allocator::<page::Allocator>();
    }
    Runtime::builder().with_proactor(proactor).build()?.block_on(accept(options))
}

async fn accept(options: Options) -> io::Result<()> {
    let listener = TcpListener::from_std(peer::listen(options.port)?)?;
    peer::announce(listener.local_addr()?.port());
    loop {
        match listener.accept().await {
            Ok((stream, _)) if options.mode == READ_MULTI => {
                compio::runtime::spawn(echo_from_pool(stream)).detach();
            }
            Ok((stream, _)) => compio::runtime::spawn(echo(stream)).detach(),
            Err(error) if peer::concerns_one_connection(&error) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Until the client closes or the connection fails; either way the stream is closed here.
async fn echo(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(peer::READ_BUFFER);
    loop {
        let BufResult(length, filled) = stream.read(buffer).await;
        if length? == 0 {
            return Ok(());
        }
        let BufResult(sent, written) = stream.write_all(filled).await;
        sent?;
        buffer = written;
        buffer.clear();
    }
}

/// As [`echo`].
async fn echo_from_pool(stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut reader, mut writer) = stream.into_split();
    // Length 0: whole buffers. The stream ends where the client's bytes end.
    let mut received = pin!(reader.read_multi(0));
    while let Some(buffer) = received.next().await {
        match buffer {
            Ok(buffer) => writer.write_all(buffer).await.0?,
            // All buffers are in use: they come back when other tasks have sent them. The stream then receives again.
            Err(error) if error.kind() == ErrorKind::ResourceBusy => yield_now().await,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
