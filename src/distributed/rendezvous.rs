//! How ranks find each other: a store at the address of rank 0, in which each says who it is.

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::mpsc::channel;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::deadline::Deadline;
use super::launch::Launch;
use crate::error::{Error, Result};
use crate::shim::group::Meeting;

/// A rank, as it introduces itself to the others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Member {
    /// The name of its host.
    pub host: String,
    /// Its process.
    pub process: u32,
    /// The start of its system: the same for containers of one machine.
    pub boot: String,
    /// The cores that it may use.
    pub cores: String,
    /// Its own address on the way to rank 0.
    own: IpAddr,
    /// The address of rank 0, as it sees it.
    first: IpAddr,
}

/// Meets the other ranks; returns the store and all ranks in order.
///
/// # Errors
/// An address that cannot be resolved, a port that is taken, a rank that does not come within the limit.
pub(super) fn meet(launch: &Launch, limit: Duration) -> Result<(Meeting, Vec<Member>)> {
    let until = Deadline::after(limit);
    resolve(launch, until)?;
    let serves = launch.rank == 0 && !launch.served;
    let socket = if serves { Some(listen(launch)?) } else { None };
    // Rank 0 answers before it looks for its own address.
    let mut store = socket.map(|socket| open(launch, Some(socket), until)).transpose()?;
    let stream = reach(launch, until)?;
    if store.is_none() {
        store = Some(open(launch, None, until)?);
    }
    let store = store.ok_or_else(|| Error::failure("there is no store to meet in"))?;
    let member = Member::here(&stream).map_err(|error| Error::failure(error.to_string()))?;
    let members = introduce(launch, &store, &member, until)?;
    Ok((store, members))
}

impl Member {
    fn here(stream: &TcpStream) -> std::io::Result<Member> {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let status = read("/proc/self/status");
        let cores = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        Ok(Member {
            host: read("/proc/sys/kernel/hostname").trim().to_owned(),
            process: std::process::id(),
            boot: read("/proc/sys/kernel/random/boot_id").trim().to_owned(),
            cores: cores.unwrap_or_default().trim().to_owned(),
            own: stream.local_addr()?.ip(),
            first: stream.peer_addr()?.ip(),
        })
    }
}

/// The address at which other ranks reach one. On the host of rank 0 it may see the loopback alone: then it is the
/// address at which ranks of other hosts see rank 0.
pub(super) fn address(members: &[Member], rank: usize) -> IpAddr {
    let own = members[rank].own;
    let from_elsewhere = members.iter().find(|member| !member.own.is_loopback()).map(|member| member.first);
    from_elsewhere.filter(|_| own.is_loopback()).unwrap_or(own)
}

/// Takes the port where ranks meet: on the loopback if that is the address of rank 0, else on all interfaces.
fn listen(launch: &Launch) -> Result<TcpListener> {
    let (host, port) = (launch.address.0.as_str(), launch.address.1);
    let is_local = |address: SocketAddr| address.ip().is_loopback();
    let local = (host, port).to_socket_addrs().ok().and_then(|mut all| all.find(|one| is_local(*one)));
    let all = [SocketAddr::from(([0_u16; 8], port)), SocketAddr::from(([0_u8; 4], port))];
    let bound = match local {
        Some(address) if host.starts_with("127.") || host == "localhost" || host == "::1" => {
            TcpListener::bind(address)
        }
        _ => TcpListener::bind(&all[..]),
    };
    bound.map_err(|error| {
        let message = format!("rank 0 must listen on port {port} of this machine, but cannot: {error}");
        Error::input(message).hint("set MASTER_PORT to a free port, the same one on all ranks")
    })
}

/// Opens the store, on a thread of its own: c10d waits without a limit for what accepts a connection and says nothing.
fn open(launch: &Launch, socket: Option<TcpListener>, until: Deadline) -> Result<Meeting> {
    let (host, port) = launch.address.clone();
    let left = until.left().max(Duration::from_secs(2));
    let prefix = format!("seqloom/{}", launch.session);
    let (sender, opened) = channel();
    let open = move || {
        // After a failure nobody listens any more.
        let _ = sender.send(Meeting::open((&host, port), socket, &prefix, left));
    };
    let thread = std::thread::Builder::new().name("meeting".to_owned()).spawn(open);
    thread.map_err(|error| Error::failure(format!("cannot start a thread: {error}")))?;
    opened.recv_timeout(left).ok().and_then(|opened| opened.ok()).ok_or_else(|| {
        let ((host, port), ranks) = (&launch.address, launch.ranks);
        let message = format!("rank 0 of {ranks} must answer at {host}:{port}, but something else does");
        Error::input(message).hint("set MASTER_PORT to a free port, the same one on all ranks")
    })
}

/// Waits until the address of rank 0 has a meaning: in a cluster names may come later than processes.
fn resolve(launch: &Launch, until: Deadline) -> Result<Vec<SocketAddr>> {
    let (host, port) = (launch.address.0.as_str(), launch.address.1);
    loop {
        match (host, port).to_socket_addrs() {
            Ok(addresses) => return Ok(addresses.collect()),
            Err(why) if until.passed() => {
                let message =
                    format!("the address of rank 0 must be that of a host, but `{host}` is none: {why}");
                return Err(Error::input(message).hint("set MASTER_ADDR to the host that rank 0 runs on"));
            }
            Err(_) => until.pause(Duration::from_millis(100)),
        }
    }
}

/// Waits until rank 0 answers.
fn reach(launch: &Launch, until: Deadline) -> Result<TcpStream> {
    let (host, port) = (launch.address.0.as_str(), launch.address.1);
    loop {
        let patience = until.left().clamp(Duration::from_millis(1), Duration::from_secs(5));
        let connect = |address: &SocketAddr| TcpStream::connect_timeout(address, patience).ok();
        if let Some(stream) = resolve(launch, until)?.iter().find_map(connect) {
            return Ok(stream);
        }
        if until.passed() {
            let message = format!("rank 0 must answer at {host}:{port}, but does not");
            return Err(Error::failure(message).hint(
                "start it there, or set MASTER_ADDR and MASTER_PORT to where it runs; `runtime.join_timeout` is how many \
                 seconds ranks wait for each other",
            ));
        }
        until.pause(Duration::from_millis(50));
    }
}

/// Says who this rank is, and waits for the others.
fn introduce(launch: &Launch, store: &Meeting, member: &Member, until: Deadline) -> Result<Vec<Member>> {
    let Launch { rank, ranks, address: (host, port), .. } = launch;
    let lost = |text: String| {
        Error::failure(format!(
            "the connection to rank 0 at {host}:{port} was lost before all ranks were there: {text}"
        ))
    };
    if store.add(&format!("claims/{rank}"), 1).map_err(lost)? > 1 {
        let message =
            format!("rank {rank} must be one process, but another one has this rank at {host}:{port}");
        return Err(Error::input(message).hint(
            "give each process its own RANK; if another training runs there, set MASTER_PORT to a free port",
        ));
    }
    let json = serde_json::to_vec(member).map_err(|error| Error::failure(error.to_string()))?;
    store.set(&format!("members/{rank}"), &json).map_err(lost)?;
    let mut members = Vec::new();
    while members.len() < *ranks {
        let other = members.len();
        match store.get(&format!("members/{other}")).map_err(lost)? {
            Some(json) => members.push(
                serde_json::from_slice(&json)
                    .map_err(|_| Error::input("all ranks must run the same seqloom"))?,
            ),
            None if until.passed() => {
                let absent: Vec<String> = (other..*ranks)
                    .filter(|other| !matches!(store.get(&format!("members/{other}")), Ok(Some(_))))
                    .map(|other| other.to_string())
                    .collect();
                let message = format!(
                    "{ranks} ranks must connect to {host}:{port}, but these did not: {}",
                    absent.join(", ")
                );
                return Err(Error::failure(message).hint(
                    "start all of them; `runtime.join_timeout` is how many seconds ranks wait for each other",
                ));
            }
            None => until.pause(Duration::from_millis(20)),
        }
    }
    Ok(members)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rank_beside_the_first_is_reached_where_other_hosts_see_that() {
        let member = |own: &str, first: &str| Member {
            host: String::new(),
            process: 1,
            boot: String::new(),
            cores: String::new(),
            own: own.parse().unwrap(),
            first: first.parse().unwrap(),
        };
        // The name of a Debian host leads to 127.0.1.1 on this host itself.
        let here = member("127.0.0.1", "127.0.1.1");
        let members = [here.clone(), here.clone(), member("10.0.0.2", "10.0.0.1")];
        let addresses = [0, 1, 2].map(|rank| address(&members, rank).to_string());
        assert_eq!(addresses, ["10.0.0.1", "10.0.0.1", "10.0.0.2"]);
        assert_eq!(address(&[here.clone(), here], 1).to_string(), "127.0.0.1");
    }
}
