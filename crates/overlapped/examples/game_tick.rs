//! A game's loop: each worker owns a world, moved by ticks; players walk with w, a, s and d; worlds tell each other how
//! many players they have. `cargo run --release --example game_tick -- 127.0.0.1:9999`, then `nc 127.0.0.1 9999`.
use std::{collections::HashMap, time::Duration};

use overlapped::{Handler, Lease, Server, Session, WorkerContext, WorkerHandle};

/// All that one worker knows. No lock: its callbacks never overlap.
struct World {
    here: WorkerHandle<(usize, usize)>,
    elsewhere: HashMap<usize, usize>,
    tick: u64,
}

impl Handler for World {
    /// Where a player is.
    type State = (i32, i32);
    /// What a world tells the others: which it is, and how many players it has.
    type Message = (usize, usize);

    fn on_open(&mut self, _session: &mut Session<'_, Self::State>) -> (i32, i32) {
        (0, 0)
    }

    fn on_data(&mut self, _session: &mut Session<'_, Self::State>, (x, y): &mut (i32, i32), keys: Lease) {
        *x += keys.iter().map(|key| i32::from(*key == b'd') - i32::from(*key == b'a')).sum::<i32>();
        *y += keys.iter().map(|key| i32::from(*key == b's') - i32::from(*key == b'w')).sum::<i32>();
    }

    fn on_tick(&mut self, worker: &mut WorkerContext<'_, Self::State>) {
        self.tick += 1;
        let players = worker.sessions();
        let (here, all) = (players.len(), players.len() + self.elsewhere.values().sum::<usize>());
        for id in players {
            let Some((mut player, (x, y))) = worker.session(id) else { continue };
            player.send(format!("tick {}: {here} here, {all} in all, you at {x},{y}\n", self.tick));
        }
        for other in self.here.workers().filter(|other| other.index() != self.here.index()) {
            let _ = other.post((self.here.index(), here)); // told again next tick
        }
    }

    fn on_message(&mut self, _: &mut WorkerContext<'_, Self::State>, (world, players): (usize, usize)) {
        self.elsewhere.insert(world, players);
    }
}

fn main() -> overlapped::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9999".into());
    let server = Server::bind(address.as_str())?.workers(2).tick(Some(Duration::from_millis(50)));
    println!("listening on {}", server.local_addrs()[0]);
    server.run(|here| World { here, elsewhere: HashMap::new(), tick: 0 })
}
