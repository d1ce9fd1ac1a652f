//! The examples of the course's weeks, `states`, `packets`, `rooms` and `chat_server`, as programs: several clients at a
//! time, bytes cut anywhere, bad input, a client that does not read, a drain.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;

use overlapped_testing::{Example, Random, expect_bytes, expect_end, read_to_end, reset};

/// Every backend of this system, as the examples' second argument.
const BACKENDS: &[&str] = &[
    #[cfg(target_os = "linux")]
    "auto",
    #[cfg(unix)]
    "readiness",
    #[cfg(windows)]
    "iocp",
];

fn on_each_backend(name: &str, test: impl Fn(Example)) {
    for backend in BACKENDS {
        println!("{name} on {backend}");
        test(Example::start(name, &[backend]));
    }
}

/// Everything in a few hundred writes, cut at random places.
fn write_cut(stream: &mut TcpStream, mut bytes: &[u8], seed: u64) {
    let mut random = Random(seed);
    stream.set_nodelay(true).expect("a connected socket");
    while !bytes.is_empty() {
        let (piece, rest) = bytes.split_at(bytes.len().min(random.below(7) + 1));
        stream.write_all(piece).expect("the server receives");
        bytes = rest;
    }
}

fn drained(mut example: Example) -> String {
    drop(example.stdin());
    let report = example.rest_of_stdout();
    assert!(example.wait().success());
    report
}

#[test]
fn states_lead_many_clients_from_login_to_play_and_refuse_the_rest() {
    on_each_backend("states", |states| {
        thread::scope(|scope| {
            for client in 0..8_u64 {
                let mut stream = states.dial();
                scope.spawn(move || {
                    let commands =
                        format!("play\nlogin n{client}\nplay\n{}leave\ngo 1 1\n", "go 1 0\n".repeat(50));
                    write_cut(&mut stream, commands.as_bytes(), client);
                    stream.shutdown(Shutdown::Write).unwrap();
                    let name = format!("n{client}");
                    let mut wanted = format!(
                        "! \"play\": not while you are Connected\n* hello {name}\n* you are at 0,0\n"
                    );
                    wanted.extend((1..=50).map(|step| format!("* you are at {step},0\n")));
                    wanted += "* you have left the game\n";
                    wanted += &format!("! \"go 1 1\": not while you are Authenticated({name:?})\n");
                    assert_eq!(String::from_utf8(read_to_end(&mut stream)).unwrap(), wanted);
                });
            }
        });
        assert_eq!(drained(states), "0 sessions drained, 0 cut, 0 bytes lost\n");
    });
}

/// On whatever workers the sessions are, of those that log in by one name at the same time exactly one stays.
#[test]
fn states_let_one_session_of_a_name_live() {
    const CLIENTS: usize = 16;
    on_each_backend("states", |states| {
        let clients: Vec<TcpStream> = thread::scope(|scope| {
            let dial = |_| {
                scope.spawn(|| {
                    let mut client = states.dial();
                    client.write_all(b"login ann\n").unwrap();
                    expect_bytes(&mut client, b"* hello ann\n");
                    client
                })
            };
            let clients: Vec<_> = (0..CLIENTS).map(dial).collect();
            clients.into_iter().map(|client| client.join().unwrap()).collect()
        });
        // The last one that logs in ends all that were before it.
        let mut last = states.dial();
        last.write_all(b"login ann\nplay\n").unwrap();
        for mut client in clients {
            assert_eq!(read_to_end(&mut client), b"* you have logged in elsewhere, bye\n");
        }
        expect_bytes(&mut last, b"* hello ann\n* you are at 0,0\n");
        let mut long = states.dial();
        long.write_all(&[b'x'; 1000]).unwrap();
        expect_end(&mut long);
        assert_eq!(drained(states), "1 session drained, 0 cut, 0 bytes lost\n");
        expect_end(&mut last);
    });
}

fn packet(id: u16, body: &[u8]) -> Vec<u8> {
    [&u16::try_from(4 + body.len()).unwrap().to_le_bytes(), &id.to_le_bytes(), body].concat()
}

#[test]
fn packets_of_many_clients_are_answered_however_they_are_cut() {
    on_each_backend("packets", |packets| {
        thread::scope(|scope| {
            for client in 0..8_i32 {
                let mut stream = packets.dial();
                scope.spawn(move || {
                    let (mut requests, mut answers) = (Vec::new(), Vec::new());
                    for number in 0..100 {
                        requests
                            .extend(packet(2, &[client.to_le_bytes(), i32::to_le_bytes(-number)].concat()));
                        answers.extend(packet(2, &i64::from(client - number).to_le_bytes()));
                        requests.extend(packet(
                            3,
                            format!("client {client}").repeat(number as usize + 1).as_bytes(),
                        ));
                        answers.extend(packet(
                            3,
                            format!("CLIENT {client}").repeat(number as usize + 1).as_bytes(),
                        ));
                    }
                    let (cut, whole) = requests.split_at(3000);
                    write_cut(&mut stream, cut, client as u64);
                    stream.write_all(whole).unwrap();
                    stream.shutdown(Shutdown::Write).unwrap();
                    assert!(read_to_end(&mut stream) == answers, "the answers of client {client}");
                });
            }
        });
        assert_eq!(drained(packets), "0 sessions drained, 0 cut, 0 bytes lost\n");
    });
}

#[test]
fn packets_refuses_bad_headers_and_goes_on_with_the_others() {
    on_each_backend("packets", |packets| {
        let mut good = packets.dial();
        let mut bomb = packets.dial();
        bomb.write_all(&packet(3, &[b'x'; 4096])[..4]).unwrap(); // the rest never comes
        for (len, id) in [(0_u16, 1_u16), (3, 1), (u16::MAX, 3), (4, 9), (11, 2)] {
            let mut bad = packets.dial();
            bad.write_all(&[len.to_le_bytes(), id.to_le_bytes()].concat()).unwrap();
            let why = format!("no packet has length {len} and id {id}");
            assert_eq!(read_to_end(&mut bad), packet(0, why.as_bytes()));
        }
        good.write_all(&packet(1, b"")).unwrap();
        expect_bytes(&mut good, &packet(1, b""));
        // Within its five seconds, and some: a test is patient.
        expect_end(&mut bomb);
        good.write_all(&packet(1, b"")).unwrap();
        expect_bytes(&mut good, &packet(1, b""));
    });
}

fn line(from: &mut BufReader<TcpStream>) -> String {
    let mut line = String::new();
    from.read_line(&mut line).expect("a line");
    line
}

/// A member of a room, who has read the server's answers.
fn member(rooms: &Example, name: &str, room: &str) -> BufReader<TcpStream> {
    let mut member = BufReader::new(rooms.dial());
    member.get_mut().write_all(format!("/name {name}\n/join {room}\n").as_bytes()).unwrap();
    assert!(line(&mut member).starts_with("* welcome, guest "));
    assert_eq!(line(&mut member), format!("* you are {name}\n"));
    assert_eq!(line(&mut member), format!("* you are in {room}\n"));
    member
}

#[test]
fn rooms_are_heard_by_their_members_alone() {
    on_each_backend("rooms", |rooms| {
        let mut ann = member(&rooms, "ann", "tea");
        let mut other = member(&rooms, "eve", "coffee");
        let mut crowd: Vec<_> = (0..6).map(|number| member(&rooms, &format!("n{number}"), "tea")).collect();
        for number in 0..6 {
            assert_eq!(line(&mut ann), format!("* n{number} enters\n"));
        }
        let said: String = (0..50).map(|number| format!("line {number}\r\n")).collect();
        write_cut(ann.get_mut(), said.as_bytes(), 1);
        for (number, member) in crowd.iter_mut().enumerate() {
            for later in number + 1..6 {
                assert_eq!(line(member), format!("* n{later} enters\n"));
            }
            for number in 0..50 {
                assert_eq!(line(member), format!("ann: line {number}\n"));
            }
        }
        // A reset, an end of stream and a command: the room hears of each.
        reset(crowd.pop().expect("six").into_inner());
        assert_eq!(line(&mut ann), "* n5 leaves\n");
        crowd.pop();
        assert_eq!(line(&mut ann), "* n4 leaves\n");
        crowd[0].get_mut().write_all(b"/leave\n").unwrap();
        assert_eq!(line(&mut ann), "* n0 leaves\n");
        other.get_mut().write_all(b"/join tea\n").unwrap();
        assert_eq!(line(&mut other), "* you are in tea\n", "it has heard nothing of the other room");
        assert_eq!(line(&mut ann), "* eve enters\n");
        assert_eq!(drained(rooms), "6 sessions drained, 0 cut, 0 bytes lost\n");
    });
}

#[test]
fn rooms_close_a_member_that_does_not_read_and_nobody_waits_for_it() {
    on_each_backend("rooms", |rooms| {
        let lazy = member(&rooms, "lazy", "tea");
        let (mut ann, mut bob) = (member(&rooms, "ann", "tea"), member(&rooms, "bob", "tea"));
        assert_eq!(line(&mut ann), "* bob enters\n");
        let said = "x".repeat(990) + "\n";
        let heard = format!("ann: {said}");
        // More than the kernel and the server keep for one that does not read.
        for said_before in 0..40_000 {
            ann.get_mut().write_all(said.as_bytes()).unwrap();
            match line(&mut bob) {
                text if text == heard => {}
                text if text == "* lazy leaves\n" => {
                    assert!(said_before > 100, "{said_before} lines fit into its buffers");
                    assert_eq!(line(&mut bob), heard);
                    return drop(lazy);
                }
                text => panic!("{text:?}"),
            }
        }
        panic!("40 MB wait for a member that does not read");
    });
}

/// The long chat: names are unique on a worker, `/who` asks all workers, and a drain says goodbye.
#[test]
fn chat_server_lists_its_members_and_says_goodbye() {
    on_each_backend("chat_server", |chat| {
        let mut members: Vec<_> = (0..6)
            .map(|number| {
                let mut member = BufReader::new(chat.dial());
                member.get_mut().write_all(format!("/name m{number}\n/join tea\n").as_bytes()).unwrap();
                let in_tea = (0..10).map(|_| line(&mut member)).any(|line| line == "* you are in tea\n");
                assert!(in_tea, "member {number}");
                member
            })
            .collect();
        members[0].get_mut().write_all(b"/who\n").unwrap();
        let who = (0..20).map(|_| line(&mut members[0])).find(|line| line.contains(" in tea:"));
        let who = who.expect("an answer");
        assert!(
            who.starts_with("* 6 ") && (0..6).all(|number| who.contains(&format!(" m{number}"))),
            "{who}"
        );
        reset(members.pop().expect("the last").into_inner());
        let lost = (0..20).map(|_| line(&mut members[0])).any(|line| line == "* m5 is lost\n");
        assert!(lost, "the others hear of a reset");
        members[1].get_mut().write_all(b"hello\n").unwrap();
        let heard = (0..20).map(|_| line(&mut members[0])).any(|line| line == "m1: hello\n");
        assert!(heard);
        drained(chat);
        for member in &mut members {
            let goodbye = (0..20).map(|_| line(member)).any(|line| line == "server is going down\n");
            assert!(goodbye);
        }
    });
}
