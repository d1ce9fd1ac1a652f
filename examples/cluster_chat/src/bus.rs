//! The thread that speaks with NATS. Workers give it lines; it puts each into the stream, and tells every worker what the
//! stream says.

use std::sync::{Arc, OnceLock, mpsc};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{rc::Rc, thread};

use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use async_nats::jetstream::{self, message::PublishMessage, stream};
use async_nats::{ConnectOptions, Event};
use futures_util::StreamExt;
use overlapped::{Bytes, Owed, WorkerHandle, handles::PostError};
use tokio::sync::{Notify, mpsc as queue, oneshot};
use tokio::task::LocalSet;
use tokio::time::{sleep, timeout};

use crate::News;

const STREAM: &str = "chat";
const SUBJECT: &str = "chat.said";
/// For a line to be in the stream; then it is tried again.
const ATTEMPT: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(200);
/// How soon a NATS that does not answer is noticed.
const PING: Duration = Duration::from_secs(1);
/// How long the stream keeps a line: longer than a process may be unable to reach it.
const KEPT: Duration = Duration::from_secs(600);

/// A line that is to be said.
pub(crate) struct Line {
    pub(crate) text: Bytes,
    /// Given back when the line is in the stream.
    pub(crate) owed: Owed,
    pub(crate) worker: WorkerHandle<News>,
}

/// Where workers give their lines. Each session has one on its way at most, so this needs no other bound.
#[derive(Clone)]
pub(crate) struct Bus(queue::UnboundedSender<Line>);

impl Bus {
    pub(crate) fn say(&self, line: Line) {
        // It ends after the last worker.
        let _ = self.0.send(line);
    }
}

/// What waits until there are workers to tell.
pub(crate) struct Hears(oneshot::Sender<Workers>);

impl Hears {
    pub(crate) fn begin(self, workers: Workers) {
        let _ = self.0.send(workers);
    }
}

type Workers = Vec<WorkerHandle<News>>;

/// Reaches NATS, and begins to keep what is said from now on.
///
/// # Errors
/// If NATS cannot be reached, or has no JetStream.
pub(crate) fn start(nats: &str) -> Result<(Bus, Hears), String> {
    let (bus, lines) = queue::unbounded_channel();
    let (begin, workers) = oneshot::channel();
    let (tell, told) = mpsc::channel();
    let address = nats.to_owned();
    let body = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        match runtime {
            Ok(runtime) => LocalSet::new().block_on(&runtime, run(&address, lines, workers, &tell)),
            Err(error) => drop(tell.send(Err(error.to_string()))),
        }
    };
    thread::Builder::new().name("nats".into()).spawn(body).map_err(|error| format!("no thread: {error}"))?;
    let started = told.recv().unwrap_or_else(|_| Err("its thread has ended".into()));
    let next = "start it with `nats-server -js`, or name another address";
    started.map_err(|error| format!("NATS at {nats} cannot be used: {error}; {next}"))?;
    Ok((Bus(bus), Hears(begin)))
}

/// Until no worker is left.
async fn run(
    address: &str,
    mut lines: queue::UnboundedReceiver<Line>,
    workers: oneshot::Receiver<Workers>,
    tell: &mpsc::Sender<Result<(), String>>,
) {
    let (known, back) = (Arc::new(OnceLock::new()), Arc::new(Notify::new()));
    let (context, ears) = match open(address, Arc::clone(&known), Arc::clone(&back)).await {
        Ok(opened) => opened,
        Err(error) => return drop(tell.send(Err(error))),
    };
    let _ = tell.send(Ok(()));
    let Ok(workers) = workers.await else { return };
    let _ = known.set(workers.clone());
    tokio::task::spawn_local(ears.hear(back, workers));
    // Of this process: a line that is tried again is in the stream once.
    let process = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let context = Rc::new(context);
    let mut number = 0_u64;
    while let Some(line) = lines.recv().await {
        number += 1;
        let id = format!("{}-{process}-{number}", std::process::id());
        tokio::task::spawn_local(put(Rc::clone(&context), id, line));
    }
}

async fn open(
    address: &str,
    workers: Arc<OnceLock<Workers>>,
    back: Arc<Notify>,
) -> Result<(jetstream::Context, Ears), String> {
    let options = ConnectOptions::new().ping_interval(PING).reconnect_delay_callback(|_| PAUSE);
    let options = options.event_callback(move |event| {
        let (workers, back) = (Arc::clone(&workers), Arc::clone(&back));
        async move {
            match (event, workers.get()) {
                (Event::Disconnected, Some(workers)) => post_to_all(workers, || News::Interrupted).await,
                // The first connection is before there are workers.
                (Event::Connected, Some(_)) => back.notify_one(),
                _ => {}
            }
        }
    });
    let client = timeout(ATTEMPT, options.connect(address)).await.map_err(|_| "no answer".to_owned())?;
    let context = jetstream::new(client.map_err(|error| error.to_string())?);
    let heard = stream_of(&context).await?.cached_info().state.last_sequence;
    let messages = messages_after(&context, heard).await?;
    Ok((context.clone(), Ears { context, messages, heard }))
}

async fn stream_of(context: &jetstream::Context) -> Result<stream::Stream, String> {
    let config = stream::Config {
        name: STREAM.into(),
        subjects: vec![SUBJECT.into()],
        max_age: KEPT,
        ..Default::default()
    };
    context.get_or_create_stream(config).await.map_err(|error| error.to_string())
}

async fn messages_after(context: &jetstream::Context, heard: u64) -> Result<pull::Ordered, String> {
    let stream = stream_of(context).await?;
    // A stream that ends before that is another one: NATS has lost its disk.
    let is_new = stream.cached_info().state.last_sequence < heard;
    let start_sequence = if is_new { 1 } else { heard + 1 };
    let deliver_policy = DeliverPolicy::ByStartSequence { start_sequence };
    let consumer = pull::OrderedConfig { deliver_policy, ..Default::default() };
    let consumer = stream.create_consumer(consumer).await.map_err(|error| error.to_string())?;
    consumer.messages().await.map_err(|error| error.to_string())
}

/// What hears the stream, from a message on that is known: NATS forgets consumers when it is started again.
struct Ears {
    context: jetstream::Context,
    messages: pull::Ordered,
    /// The number of the last message in the stream that was heard.
    heard: u64,
}

impl Ears {
    /// Tells every worker what the stream says, in its order.
    async fn hear(mut self, back: Arc<Notify>, workers: Workers) {
        loop {
            tokio::select! {
                message = self.messages.next() => match message {
                    Some(Ok(message)) => self.tell(&message, &workers).await,
                    _ => self.begin_again().await,
                },
                () = back.notified() => {
                    self.begin_again().await;
                    post_to_all(&workers, || News::GoesOn).await;
                }
            }
        }
    }

    async fn tell(&mut self, message: &jetstream::Message, workers: &Workers) {
        // Only what is not a message of a stream has no number.
        let Ok(info) = message.info() else { return };
        self.heard = info.stream_sequence;
        post_to_all(workers, || News::Heard(message.payload.clone())).await;
    }

    /// Behind the last message that was heard, however long that takes.
    async fn begin_again(&mut self) {
        loop {
            match timeout(ATTEMPT, messages_after(&self.context, self.heard)).await {
                Ok(Ok(messages)) => return self.messages = messages,
                _ => sleep(PAUSE).await,
            }
        }
    }
}

/// Puts a line into the stream, however long that takes.
async fn put(context: Rc<jetstream::Context>, id: String, line: Line) {
    let attempt = || async {
        let message = PublishMessage::build().message_id(&id).payload(line.text.clone());
        let sent = context.send_publish(SUBJECT, message).await.map_err(|_| ())?;
        sent.await.map_err(|_| ())
    };
    while !matches!(timeout(ATTEMPT, attempt()).await, Ok(Ok(_))) {
        sleep(PAUSE).await;
    }
    post(&line.worker, News::Said(line.owed)).await;
}

async fn post_to_all<'a>(workers: impl IntoIterator<Item = &'a WorkerHandle<News>>, news: impl Fn() -> News) {
    for worker in workers {
        post(worker, news()).await;
    }
}

/// Waits for a worker that is behind. One that has ended has no sessions.
async fn post(worker: &WorkerHandle<News>, mut news: News) {
    while let Err(PostError::Full(refused)) = worker.post(news) {
        news = refused;
        sleep(Duration::from_millis(1)).await;
    }
}
