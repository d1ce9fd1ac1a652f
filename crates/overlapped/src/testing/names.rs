//! The names of a simulated network.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use crate::endpoint::Endpoint;
use crate::resolver::{Answer, Resolve};

/// Answers at once: the addresses that the test gave a name, or that there is no such name.
#[derive(Default)]
pub(super) struct Names(Mutex<HashMap<String, Vec<SocketAddr>>>);

impl Names {
    pub(super) fn set(&self, name: &str, addresses: &[SocketAddr]) {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        names.insert(name.to_owned(), addresses.to_vec());
    }
}

impl Resolve for Names {
    fn ask(&self, name: &Endpoint, answer: Answer) {
        let names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = names.get(&name.to_string()).cloned();
        drop(names);
        answer(found.ok_or_else(|| {
            let problem = format!("cannot resolve {name}: no World::name has given it an address");
            io::Error::new(io::ErrorKind::NotFound, problem)
        }));
    }
}
