//! A backend of which one worker's cannot be made: what was done for the others by then leaves no trace.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};

use overlapped_testing::PATIENCE;
use proactor::Pool;
use proactor::backend::Create;
use proactor::backend::choice::Refusal;

use super::start::Make;
use super::worker_threads::StartError;
use super::{Server, ServerHandle, SkippedAddress};
use crate::context::Session;
use crate::context::WorkerContext;
use crate::handler::Handler;
use crate::observe::Event;
use crate::session::PostError;
use crate::worker::WorkerHandle;
use crate::{Error, Lease};

const WORKERS: usize = 3;

#[cfg(unix)]
type Real = proactor::backend::readiness::Readiness;
#[cfg(windows)]
type Real = proactor::backend::iocp::Iocp;

/// Logs which worker got which message.
struct Ear(Sender<(usize, u32)>);

impl Handler for Ear {
    type State = ();
    type Message = u32;

    fn on_open(&mut self, _session: &mut Session<'_, Self::State>) {}

    fn on_data(&mut self, _session: &mut Session<'_, Self::State>, _state: &mut (), _data: Lease) {}

    fn on_message(&mut self, worker: &mut WorkerContext<'_, Self::State>, message: u32) {
        let _ = self.0.send((worker.index(), message));
    }
}

fn refused_for<const REFUSED: usize>(index: usize, pool: Pool) -> Result<Real, Refusal> {
    if index == REFUSED {
        let (reason, remedy) = ("there is no second one".to_owned(), "be content with one".to_owned());
        return Err(Refusal { backend: <Real as proactor::backend::Backend>::KIND, reason, remedy });
    }
    Real::create(pool)
}

fn configured() -> Server {
    let mut server = Server::bind("127.0.0.1:0").expect("a free port").workers(WORKERS);
    server.config.max_sessions = 10;
    server
}

fn start<F>(server: &Server, make: Make<Real>, factory: &Arc<F>) -> Result<ServerHandle<u32>, StartError>
where
    F: Fn(WorkerHandle<u32>) -> Ear + Send + Sync + 'static,
{
    server.start_made::<Real, Ear, F>(WORKERS, make, factory)
}

/// An attempt that is thrown away calls no factory, whichever worker it is that cannot be had; the next one calls it
/// once for each worker, and posts to the handles it gives out are delivered.
#[test]
fn a_factory_is_called_once_for_each_worker_that_lives() {
    let makes: [Make<Real>; WORKERS] = [refused_for::<0>, refused_for::<1>, refused_for::<2>];
    for refused in makes {
        let server = configured();
        let calls: Arc<Mutex<Vec<WorkerHandle<u32>>>> = Arc::default();
        let (tell, told) = channel();
        let factory = {
            let calls = Arc::clone(&calls);
            Arc::new(move |here: WorkerHandle<u32>| {
                // At once, and to all: some of them have no handler yet.
                let index = here.index() as u32;
                here.workers().for_each(|worker| assert_eq!(worker.post(index), Ok(())));
                calls.lock().unwrap().push(here);
                Ear(tell.clone())
            })
        };
        assert!(matches!(start(&server, refused, &factory), Err(StartError::Refused(_))));
        assert!(calls.lock().unwrap().is_empty(), "what it handed out would belong to nobody");
        // On Windows a socket stays with its first port: there is one backend, and so no second attempt.
        let server = if cfg!(windows) { configured() } else { server };
        let handle = start(&server, |_, pool| Real::create(pool), &factory).ok().expect("it starts");
        let mut indices: Vec<usize> = calls.lock().unwrap().iter().map(WorkerHandle::index).collect();
        indices.sort_unstable();
        assert_eq!(indices, [0, 1, 2], "once for each");
        let mut heard: Vec<_> =
            (0..9).map(|_| told.recv_timeout(PATIENCE).expect("what is posted is heard")).collect();
        heard.sort_unstable();
        let wanted: Vec<_> = (0..3).flat_map(|worker| (0..3).map(move |from| (worker, from))).collect();
        assert_eq!(heard, wanted);
        handle.drain(PATIENCE).unwrap();
    }
}

/// A factory that panics is an error of `start`; by then the other workers and their threads are gone, and what their
/// factories handed out says so.
#[test]
fn nothing_is_left_of_a_server_whose_factory_panicked() {
    struct Alive(Arc<AtomicUsize>, #[expect(dead_code, reason = "it is dropped with its handler")] Ear);
    impl Handler for Alive {
        type State = ();
        type Message = u32;
        fn on_open(&mut self, _session: &mut Session<'_, Self::State>) {}
        fn on_data(&mut self, _session: &mut Session<'_, Self::State>, _state: &mut (), _data: Lease) {}
    }
    impl Drop for Alive {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
            panic!("in a destructor, too");
        }
    }
    let alive = Arc::new(AtomicUsize::new(0));
    let (counted, (give, given), (tell, _told)) = (Arc::clone(&alive), channel(), channel());
    let made = move |here: WorkerHandle<u32>| {
        assert_ne!(here.index(), 1, "no handler for you");
        counted.fetch_add(1, Ordering::SeqCst);
        give.send(here).unwrap();
        Alive(Arc::clone(&counted), Ear(tell.clone()))
    };
    match configured().start(made) {
        Err(error @ Error::Worker { worker: 1, .. }) => {
            assert!(error.to_string().contains("no handler for you"), "{error}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(alive.load(Ordering::SeqCst), 0, "their threads have ended");
    for handle in given.try_iter() {
        assert_eq!(handle.post(1), Err(PostError::Stopped(1)));
    }
}

/// The observer gets each skipped address once; the handle returns them at any time.
#[test]
fn a_skipped_address_is_reported() {
    let mut server = configured();
    let address = "[::1]:80".parse().unwrap();
    let error = || std::io::Error::from(std::io::ErrorKind::AddrNotAvailable);
    server.skipped.push(SkippedAddress { name: "localhost:80".to_owned(), address, error: error() });
    let (tell, told) = channel();
    let server = server.observer(move |event| {
        if let Event::AddressSkipped { name, address, error } = event {
            tell.send(((*name).to_owned(), *address, error.kind())).unwrap();
        }
    });
    let (heard, _messages) = channel();
    let handle = server.start(move |_| Ear(heard.clone())).expect("it starts");
    assert_eq!(told.try_iter().collect::<Vec<_>>(), [("localhost:80".to_owned(), address, error().kind())]);
    assert_eq!(handle.skipped_addresses()[0].address, address);
    handle.drain(PATIENCE).unwrap();
    assert_eq!(told.iter().count(), 0, "once");
}
