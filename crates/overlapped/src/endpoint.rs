//! Where to listen, and where to connect to: addresses and names, resolved in one way for servers and clients.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, ToSocketAddrs};
use std::str::FromStr;

use crate::error::{Error, Result};

/// An address or a name, each with a port, as [`Server::bind`](crate::Server::bind) takes it.
///
/// As text it is `HOST:PORT`. The host is
///
/// * an IPv4 address, `127.0.0.1:9999`;
/// * an IPv6 address in brackets, `[::1]:9999`. A link-local one needs the interface it is on, by name or by index:
///   `[fe80::1%eth0]:9999`, `[fe80::1%2]:9999` (RFC 4007 §11). On Windows the name is the alias that `ipconfig` prints;
/// * a name, `localhost:9999`, which means all addresses that the system's resolver has for it.
///
/// An IPv4-mapped address (`[::ffff:127.0.0.1]:9999`, RFC 4291 §2.5.5.2) is converted to that IPv4 address on every
/// system, because only some systems accept such an address on an IPv6 socket.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint(Given);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Given {
    Text(String),
    Host(String, u16),
    Addresses(Vec<SocketAddr>),
}

/// The host of an endpoint.
enum Host<'a> {
    V4(Ipv4Addr),
    /// With the part after `%`.
    V6(Ipv6Addr, Option<&'a str>),
    Name(&'a str),
}

impl Endpoint {
    /// The addresses of this endpoint: at least one, without duplicates, in the order of the resolver. A client tries
    /// them in this order. For a name this asks the system's resolver, and blocks until it answers.
    ///
    /// # Errors
    /// [`Error::Resolve`] if it is not `HOST:PORT`, if the resolver has no address for the name, if this machine has no
    /// interface of that name, or for a link-local address without an interface.
    pub fn resolve(&self) -> Result<Vec<SocketAddr>> {
        let lookup = |name: &str, port| (name, port).to_socket_addrs().map(Iterator::collect);
        let failed = |source| Error::Resolve { address: self.to_string(), source };
        self.resolve_by(lookup, proactor::interface_index).map_err(failed)
    }

    /// Like [`resolve`](Self::resolve), with the same message, as an error that a connect reports.
    ///
    /// # Errors
    /// Of the same kind as the resolver's.
    pub(crate) fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.resolve().map_err(|error| {
            let kind = match &error {
                Error::Resolve { source, .. } => source.kind(),
                _ => io::ErrorKind::Other,
            };
            io::Error::new(kind, error.to_string())
        })
    }

    /// Whether this is a name, which may have several addresses.
    #[must_use]
    pub fn is_name(&self) -> bool {
        let host = match &self.0 {
            Given::Text(text) => split(text).and_then(|(host, _)| parse(host)),
            Given::Host(host, _) => parse_bare(host),
            Given::Addresses(_) => return false,
        };
        matches!(host, Ok(Host::Name(_)))
    }

    fn resolve_by(
        &self,
        lookup: impl Fn(&str, u16) -> io::Result<Vec<SocketAddr>>,
        interface: impl Fn(&str) -> io::Result<u32>,
    ) -> io::Result<Vec<SocketAddr>> {
        let (host, port) = match &self.0 {
            Given::Text(text) => {
                let (host, port) = split(text)?;
                (parse(host)?, port)
            }
            Given::Host(host, port) => (parse_bare(host)?, *port),
            Given::Addresses(addresses) => return distinct(addresses.clone()),
        };
        distinct(match host {
            Host::V4(ip) => vec![SocketAddr::new(ip.into(), port)],
            Host::V6(ip, scope) => {
                let scope = scope_of(ip, scope, interface)?;
                vec![SocketAddrV6::new(ip, port, 0, scope).into()]
            }
            Host::Name(name) => lookup(name, port)?,
        })
    }
}

fn wrong<T>(kind: io::ErrorKind, problem: impl Into<String>) -> io::Result<T> {
    Err(io::Error::new(kind, problem.into()))
}

/// Malformed text is an [`InvalidInput`](io::ErrorKind::InvalidInput), an unknown name or interface a
/// [`NotFound`](io::ErrorKind::NotFound); the messages of both say what to do.
fn split(text: &str) -> io::Result<(&str, u16)> {
    let parts = text.rsplit_once(':').and_then(|(host, port)| Some((host, digits(port)?)));
    match parts {
        Some((host, port)) if !host.is_empty() => Ok((host, port)),
        _ => wrong(io::ErrorKind::InvalidInput, "give it as HOST:PORT, such as 127.0.0.1:9999 or [::1]:9999"),
    }
}

/// The host of a text: an IPv6 address is in brackets, which a name or an IPv4 address is not.
fn parse(host: &str) -> io::Result<Host<'_>> {
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    match (bracketed, host.contains([':', '[', ']'])) {
        (Some(inner), _) => match parse_bare(inner)? {
            host @ Host::V6(..) => Ok(host),
            _ => wrong(io::ErrorKind::InvalidInput, "only an IPv6 address stands in brackets"),
        },
        (None, true) => wrong(io::ErrorKind::InvalidInput, "put an IPv6 address in brackets: [::1]:9999"),
        (None, false) => parse_bare(host),
    }
}

/// A host on its own: an address, or else a name.
fn parse_bare(host: &str) -> io::Result<Host<'_>> {
    let (ip, scope) = match host.split_once('%') {
        Some((ip, scope)) => (ip, Some(scope)),
        None => (host, None),
    };
    match (ip.parse(), scope) {
        (Ok(IpAddr::V4(ip)), None) => Ok(Host::V4(ip)),
        (Ok(IpAddr::V6(ip)), scope) => Ok(Host::V6(ip, scope)),
        (_, Some(_)) => wrong(io::ErrorKind::InvalidInput, "only an IPv6 address has an interface after `%`"),
        (Err(_), None) if host.contains(':') => {
            wrong(io::ErrorKind::InvalidInput, format!("`{host}` is no IPv6 address"))
        }
        (Err(_), None) => Ok(Host::Name(host)),
    }
}

/// The scope of an IPv6 address: an index, or the name of an interface. 0 is none.
fn scope_of(
    ip: Ipv6Addr,
    scope: Option<&str>,
    interface: impl Fn(&str) -> io::Result<u32>,
) -> io::Result<u32> {
    match scope {
        None if ip.is_unicast_link_local() => wrong(
            io::ErrorKind::InvalidInput,
            format!("a link-local address is one of an interface; name that too, as in [{ip}%eth0]:9999"),
        ),
        None => Ok(0),
        Some("") => {
            wrong(io::ErrorKind::InvalidInput, "name the interface after `%`, as in [fe80::1%eth0]:9999")
        }
        Some(scope) => digits(scope).map_or_else(
            || {
                interface(scope).or_else(|error| {
                    let problem = format!("this machine has no interface called `{scope}`: {error}; {LIST}");
                    wrong(io::ErrorKind::NotFound, problem)
                })
            },
            Ok,
        ),
    }
}

/// Digits alone: Rust's own parser takes a `+` before them.
fn digits<T: FromStr>(text: &str) -> Option<T> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

const LIST: &str = if cfg!(windows) {
    "`ipconfig` lists them"
} else if cfg!(target_os = "linux") {
    "`ip link` lists them"
} else {
    "`ifconfig -l` lists them"
};

/// Each once, and IPv4-mapped addresses as IPv4.
fn distinct(addresses: Vec<SocketAddr>) -> io::Result<Vec<SocketAddr>> {
    let mut distinct: Vec<SocketAddr> = Vec::with_capacity(addresses.len());
    for mut address in addresses {
        if let Some(ip) = mapped(&address) {
            address = SocketAddr::new(ip.into(), address.port());
        }
        if !distinct.contains(&address) {
            distinct.push(address);
        }
    }
    if distinct.is_empty() {
        return wrong(io::ErrorKind::NotFound, "it has no address");
    }
    Ok(distinct)
}

fn mapped(address: &SocketAddr) -> Option<Ipv4Addr> {
    match address {
        SocketAddr::V4(_) => None,
        SocketAddr::V6(address) => address.ip().to_ipv4_mapped(),
    }
}

/// As it was given.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Given::Text(text) => f.write_str(text),
            Given::Host(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Given::Host(host, port) => write!(f, "{host}:{port}"),
            Given::Addresses(addresses) => {
                let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
                f.write_str(&texts.join(", "))
            }
        }
    }
}

/// Checks the form alone; nothing is resolved.
///
/// # Errors
/// [`Error::Resolve`] if it is not `HOST:PORT`, or a link-local address without an interface.
impl FromStr for Endpoint {
    type Err = Error;

    fn from_str(text: &str) -> Result<Endpoint> {
        let endpoint = Endpoint::from(text);
        // With a resolver and interfaces that know everything, only what is written can be wrong.
        let loopback = |_: &str, port| Ok(vec![(Ipv4Addr::LOCALHOST, port).into()]);
        match endpoint.resolve_by(loopback, |_| Ok(1)) {
            Ok(_) => Ok(endpoint),
            Err(source) => Err(Error::Resolve { address: text.to_owned(), source }),
        }
    }
}

macro_rules! from {
    ($($given:ty => |$value:pat_param| $made:expr;)*) => {
        $(impl From<$given> for Endpoint {
            fn from($value: $given) -> Endpoint {
                Endpoint($made)
            }
        })*
    };
}

from! {
    &str => |text| Given::Text(text.to_owned());
    &String => |text| Given::Text(text.clone());
    String => |text| Given::Text(text);
    (&str, u16) => |(host, port)| Given::Host(host.to_owned(), port);
    (String, u16) => |(host, port)| Given::Host(host, port);
    (IpAddr, u16) => |address| Given::Addresses(vec![address.into()]);
    (Ipv4Addr, u16) => |address| Given::Addresses(vec![address.into()]);
    (Ipv6Addr, u16) => |address| Given::Addresses(vec![address.into()]);
    SocketAddr => |address| Given::Addresses(vec![address]);
    &SocketAddr => |address| Given::Addresses(vec![*address]);
    SocketAddrV4 => |address| Given::Addresses(vec![address.into()]);
    SocketAddrV6 => |address| Given::Addresses(vec![address.into()]);
    &[SocketAddr] => |addresses| Given::Addresses(addresses.to_vec());
    Vec<SocketAddr> => |addresses| Given::Addresses(addresses);
}

#[cfg(test)]
mod tests {
    use super::*;

    const MISSING: &str = "no such interface in this test";

    fn resolve(endpoint: impl Into<Endpoint>, names: &[(&str, &[&str])]) -> io::Result<Vec<String>> {
        let lookup = |name: &str, port: u16| {
            let (_, ips) = names.iter().find(|(known, _)| *known == name).ok_or(io::ErrorKind::Other)?;
            Ok(ips.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), port)).collect())
        };
        let interface = |name: &str| if name == "eth0" { Ok(7) } else { Err(io::Error::other(MISSING)) };
        let resolved = endpoint.into().resolve_by(lookup, interface)?;
        Ok(resolved.iter().map(ToString::to_string).collect())
    }

    fn refused(text: &str, wanted: &str) {
        let error = resolve(text, &[]).expect_err(text).to_string();
        assert!(error.contains(wanted), "{text}: {error}");
    }

    /// A hosts file may name `localhost` twice, and an address in two spellings.
    #[test]
    fn a_name_has_each_address_once_in_the_order_of_the_resolver() {
        let names: &[(&str, &[&str])] = &[
            ("twice", &["127.0.0.1", "127.0.0.1"]),
            ("both", &["::1", "127.0.0.1", "::ffff:127.0.0.1", "::1"]),
            ("nothing", &[]),
        ];
        assert_eq!(resolve("twice:9999", names).unwrap(), ["127.0.0.1:9999"]);
        assert_eq!(resolve("both:0", names).unwrap(), ["[::1]:0", "127.0.0.1:0"]);
        assert_eq!(resolve(("both", 80), names).unwrap(), ["[::1]:80", "127.0.0.1:80"]);
        assert!(resolve("nothing:80", names).expect_err("none").to_string().contains("no address"));
        assert!(resolve("unknown:80", names).is_err());
    }

    #[test]
    fn addresses_stand_for_themselves() {
        for (text, wanted) in [
            ("127.0.0.1:0", "127.0.0.1:0"),
            ("[::1]:80", "[::1]:80"),
            ("[::]:80", "[::]:80"),
            ("[::ffff:127.0.0.1]:9999", "127.0.0.1:9999"),
            ("[::ffff:0.0.0.0]:9999", "0.0.0.0:9999"),
            ("[fe80::1%eth0]:9999", "[fe80::1%7]:9999"),
            ("[fe80::1%3]:9999", "[fe80::1%3]:9999"),
            ("[::1%eth0]:9999", "[::1%7]:9999"),
        ] {
            assert_eq!(resolve(text, &[]).expect(text), [wanted], "{text}");
            assert!(!Endpoint::from(text).is_name(), "{text}");
        }
        assert_eq!(resolve(("fe80::1%eth0", 80), &[]).unwrap(), ["[fe80::1%7]:80"]);
        let mapped: SocketAddr = "[::ffff:10.0.0.1]:5".parse().unwrap();
        assert_eq!(resolve(vec![mapped, "10.0.0.1:5".parse().unwrap()], &[]).unwrap(), ["10.0.0.1:5"]);
    }

    #[test]
    fn what_is_none_says_what_would_be() {
        for text in [
            "",
            "9999",
            ":9999",
            "localhost",
            "127.0.0.1:65536",
            "127.0.0.1:-1",
            "a:b",
            "[::1]",
            "127.0.0.1:+80",
            "[::1]:+80",
            "a:",
        ] {
            refused(text, "HOST:PORT");
        }
        refused("::1:80", "in brackets: [::1]");
        refused("[::1:80", "in brackets");
        refused("[localhost]:80", "only an IPv6 address stands in brackets");
        refused("[127.0.0.1]:80", "only an IPv6 address stands in brackets");
        refused("[::g]:80", "`::g` is no IPv6 address");
        refused("localhost%eth0:80", "only an IPv6 address has an interface");
        refused("[127.0.0.1%eth0]:80", "only an IPv6 address has an interface");
        refused("[fe80::1]:80", "[fe80::1%eth0]:9999");
        refused("[fe80::1%]:80", "name the interface");
        for scope in ["eth9", "99999999999", "-1", "+3"] {
            refused(&format!("[fe80::1%{scope}]:80"), &format!("no interface called `{scope}`: {MISSING}"));
        }
    }

    #[test]
    fn the_form_is_checked_without_resolving() {
        for right in ["no-such-host.invalid:80", "[fe80::1%no-such-if0]:80", "[::]:0"] {
            assert_eq!(right.parse::<Endpoint>().expect(right), Endpoint::from(right));
        }
        for wrong in ["localhost", "[fe80::1]:80", "[localhost]:80", "::1:80"] {
            assert!(wrong.parse::<Endpoint>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_names_are_names() {
        for name in ["localhost:80", "a.example:80", "1.2.3:80"] {
            assert!(Endpoint::from(name).is_name(), "{name}");
        }
        assert!(Endpoint::from(("localhost", 80)).is_name());
        assert!(!Endpoint::from(("::1", 80)).is_name());
        assert!(!Endpoint::from((Ipv4Addr::LOCALHOST, 80)).is_name());
        assert!(!Endpoint::from("[::1:80").is_name());
    }

    /// What this system's own resolver and interfaces give.
    #[test]
    fn this_machine_resolves_itself() {
        let resolved = Endpoint::from("localhost:80").resolve().expect("every system has a localhost");
        assert!(resolved.iter().all(|address| address.ip().is_loopback() && address.port() == 80));
        let error = Endpoint::from("[fe80::1%no-such-if0]:80").resolve().expect_err("no such interface");
        let text = error.to_string();
        assert!(text.contains("[fe80::1%no-such-if0]:80") && text.contains("`no-such-if0`"), "{text}");
        #[cfg(target_os = "linux")]
        assert!(Endpoint::from("[fe80::1%lo]:80").resolve().unwrap()[0].to_string().contains('%'));
    }
}
