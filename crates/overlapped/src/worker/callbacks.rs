//! Calls of the handler. [`CurrentCallback`] notes which one runs.

use proactor::ConnectionKey;
use proactor::backend::Backend;

use super::{Layer, Worker};
use crate::context::{CurrentCallback, Others, Session, WorkerContext};
use crate::handler::Handler;

impl<B: Backend, H: Handler, L: Layer> Worker<B, H, L> {
    /// Calls the handler for a session, unless it has begun to close.
    pub(super) fn callback(
        &mut self,
        key: ConnectionKey,
        call: impl FnOnce(&mut H, &mut Session<'_, H::State>, &mut H::State),
    ) {
        if self.is_open(key) {
            self.call(key, call);
        }
    }

    /// Calls the handler for a session that is known to be open.
    #[inline]
    pub(super) fn call(
        &mut self,
        key: ConnectionKey,
        call: impl FnOnce(&mut H, &mut Session<'_, H::State>, &mut H::State),
    ) {
        if let Some((state, others)) = Others::around(&mut self.states, key.index()) {
            self.core.callback = CurrentCallback::Session(key);
            call(&mut self.handler, &mut Session::new(&mut self.core, &self.driver, others, key), state);
            self.callback_ended();
        }
    }

    /// Calls the handler for no session in particular.
    pub(super) fn worker_callback(&mut self, call: impl FnOnce(&mut H, &mut WorkerContext<'_, H::State>)) {
        self.callback_as(CurrentCallback::Worker, call);
    }

    /// The same, as `callback`: a panic and a connect in it are attributed to that.
    pub(super) fn callback_as(
        &mut self,
        callback: CurrentCallback,
        call: impl FnOnce(&mut H, &mut WorkerContext<'_, H::State>),
    ) {
        self.core.callback = callback;
        let states = Others::all(&mut self.states);
        call(&mut self.handler, &mut WorkerContext { core: &mut self.core, endpoints: &self.driver, states });
        self.callback_ended();
    }
}
