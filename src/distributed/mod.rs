//! Processes that train one model together, each a rank: data-parallel training.
//!
//! Ranks are started by a launcher ([`launch`]), meet in a store ([`rendezvous`]), and then exchange numbers with all
//! others. All of them call the same functions in the same order. What they add up is added along a binary tree over
//! the ranks, so that the sum of four ranks has the bits of the tree of shards that one rank sums alone.

mod deadline;
pub(crate) mod launch;
mod rendezvous;

use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tch::{Device, Tensor};

use self::deadline::Deadline;
use self::launch::Launch;
use self::rendezvous::{Member, address, meet};
use crate::error::{Error, Result};
use crate::shim::group::{Collectives, Meeting, NCCL_ID, Outcome, nccl_id};

/// The ranks of a run, as one of them sees them.
pub struct Group {
    rank: usize,
    ranks: usize,
    /// Who has started them.
    by: &'static str,
    members: Vec<Member>,
    connections: Option<Arc<Mutex<Connections>>>,
}

/// Dropped in this order.
struct Connections {
    all: Collectives,
    meeting: Meeting,
    limit: Duration,
}

impl Group {
    /// A process that is alone.
    pub fn alone() -> Group {
        Group { rank: 0, ranks: 1, by: "", members: Vec::new(), connections: None }
    }

    /// Joins the ranks that a launcher has started with this one, if its environment says so. They wait up to `join` for
    /// each other, and later up to `exchange`.
    ///
    /// # Errors
    /// The environment contradicts itself; a rank does not come in time, or cannot be reached.
    pub fn from_environment(join: Duration, exchange: Duration) -> Result<Group> {
        let Some(launch) = &Launch::from_environment()? else { return Ok(Group::alone()) };
        let Launch { rank, ranks, by, .. } = *launch;
        let joined = meet(launch, join).and_then(|(meeting, members)| {
            let address = address(&members, rank).to_string();
            let all = Collectives::open(&meeting, (rank, ranks), &address, join).map_err(|text| {
                Error::failure(format!("the ranks cannot connect to each other: {text}")).hint(
                    "set GLOO_SOCKET_IFNAME to the network interface through which the other hosts reach this one",
                )
            })?;
            all.set_limit(exchange);
            let connections = Connections { all, meeting, limit: exchange };
            Ok(Group { rank, ranks, by, members, connections: Some(Arc::new(Mutex::new(connections))) })
        });
        joined.map_err(|error| error.at(format!("rank {rank} of {ranks}")))
    }

    /// The number of this process, from 0.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// The number of processes.
    pub fn ranks(&self) -> usize {
        self.ranks
    }

    /// Whether this rank writes the run directory and talks to the user: rank 0 does.
    pub fn leads(&self) -> bool {
        self.rank == 0
    }

    /// The ranks and who has started them, for display; `None` for one.
    pub(crate) fn described(&self) -> Option<String> {
        let mut hosts: Vec<&str> = self.members.iter().map(|member| member.host.as_str()).collect();
        hosts.sort_unstable();
        hosts.dedup();
        let on = if hosts.len() > 1 { format!(" on {} hosts", hosts.len()) } else { String::new() };
        (self.ranks > 1).then(|| format!("{} ranks{on}, started by {}", self.ranks, self.by))
    }

    /// How many ranks share the cores of this one.
    pub(crate) fn neighbours(&self) -> usize {
        let Some(own) = self.members.get(self.rank) else { return 1 };
        let beside = |member: &&Member| member.boot == own.boot && member.cores == own.cores;
        self.members.iter().filter(beside).count()
    }

    /// The number of this rank among those of its machine, from 0.
    pub(crate) fn local_rank(&self) -> usize {
        let boot = |rank: usize| self.members.get(rank).map(|member| &member.boot);
        (0..self.rank).filter(|&other| boot(other) == boot(self.rank)).count()
    }

    /// Sums of tensors on a GPU are NCCL's from here on, where it is there; else they go through the CPU.
    ///
    /// # Errors
    /// NCCL is there on some ranks only, or cannot connect them.
    pub(crate) fn use_device(&self, device: Device) -> Result<()> {
        let (Device::Cuda(number), Some(_)) = (device, &self.connections) else { return Ok(()) };
        let made = if self.leads() { nccl_id().ok() } else { None };
        let Some(id) = self.broadcast(&made.map(|id| id.to_vec()))? else { return Ok(()) };
        let id: [u8; NCCL_ID] = id.try_into().map_err(|_| Error::failure("NCCL's id has another size"))?;
        let use_it = |all: &Connections| all.all.use_nccl(number, self.rank, &id, all.limit);
        self.exchange("NCCL", use_it)
    }

    /// Replaces the floats of all ranks by their sum, and returns the message of each rank, in order; all must be of one
    /// length.
    ///
    /// # Errors
    /// A rank is lost.
    ///
    /// # Shapes
    /// flat: (N) f32, contiguous, N a multiple of the number of ranks
    pub(crate) fn sum(&self, flat: &Tensor, message: &[u8]) -> Result<Vec<Vec<u8>>> {
        self.exchange("a sum of gradients", |connections| connections.all.sum(flat, message))
    }

    /// The bytes of each rank, in order; all must give as many.
    ///
    /// # Errors
    /// A rank is lost.
    pub(crate) fn gather_bytes(&self, own: &[u8]) -> Result<Vec<Vec<u8>>> {
        if self.ranks == 1 {
            return Ok(vec![own.to_vec()]);
        }
        self.exchange("an exchange", |connections| connections.all.gather(own))
    }

    /// The value of each rank, in order. An error of a rank becomes that of all.
    ///
    /// # Errors
    /// That of this rank, or the first of the others; a rank is lost.
    pub(crate) fn gather<T: Serialize + DeserializeOwned>(&self, own: Result<T>) -> Result<Vec<T>> {
        if self.ranks == 1 {
            return own.map(|own| vec![own]);
        }
        let mut json = to_json(&own)?;
        let lengths = self.gather_bytes(&(json.len() as u64).to_le_bytes())?;
        let lengths: Vec<usize> = lengths.iter().map(|bytes| length(bytes)).collect();
        json.resize(lengths.iter().copied().max().unwrap_or_default(), b' ');
        let all = self.gather_bytes(&json)?;
        own?;
        let read = |(rank, (json, length)): (usize, (Vec<u8>, usize))| -> Result<T> {
            let told: Result<T> = from_json(&json[..length])?;
            told.map_err(|error| error.at(format!("rank {rank}")))
        };
        all.into_iter().zip(lengths).enumerate().map(read).collect()
    }

    /// The value of rank 0, which alone does `work`. Its error becomes that of all ranks.
    ///
    /// # Errors
    /// That of `work`; a rank is lost.
    pub(crate) fn lead<T: Serialize + DeserializeOwned>(
        &self,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        if self.ranks == 1 {
            return work();
        }
        let done = self.leads().then(work);
        let told = self.broadcast_bytes(done.as_ref().map(to_json).transpose()?)?;
        let told = || -> Result<T> { from_json::<Result<T>>(&told)?.map_err(|error| error.at("rank 0")) };
        done.unwrap_or_else(told)
    }

    /// The bytes that `work` of rank 0 returns, such as those of a file.
    ///
    /// # Errors
    /// Those of `work`; a rank is lost.
    pub(crate) fn lead_bytes(&self, work: impl FnOnce() -> Result<Vec<u8>>) -> Result<Vec<u8>> {
        if self.ranks == 1 {
            return work();
        }
        let mut bytes = None;
        self.lead(|| {
            bytes = Some(work()?);
            Ok(())
        })?;
        self.broadcast_bytes(bytes)
    }

    /// Waits until rank 0 has done `work`, however long that takes, as long as it lives; then the others do theirs. Rank
    /// 0 writes files that the others read.
    ///
    /// # Errors
    /// Those of `work` on any rank; a rank is lost.
    pub(crate) fn in_turn<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let Some(connections) = &self.connections else { return work() };
        let key = "turn";
        let done = if self.leads() {
            let done = work();
            let set = locked(connections).meeting.set(key, b"");
            set.map_err(|text| self.lost("the start", &text))?;
            done
        } else {
            loop {
                let found = locked(connections).meeting.get(key);
                match found.map_err(|text| self.lost("the start", &text))? {
                    Some(_) => break work(),
                    None => std::thread::sleep(Duration::from_millis(50)),
                }
            }
        };
        self.agree(done)
    }

    /// Continues if all ranks have succeeded.
    ///
    /// # Errors
    /// That of this rank, or the first of the others; a rank is lost.
    pub(crate) fn agree<T>(&self, own: Result<T>) -> Result<T> {
        self.gather(own.as_ref().map(|_| ()).map_err(Clone::clone))?;
        own
    }

    fn broadcast<T: Serialize + DeserializeOwned>(&self, own: &T) -> Result<T> {
        from_json(&self.broadcast_bytes(self.leads().then(|| to_json(own)).transpose()?)?)
    }

    /// Bytes of rank 0, which are `Some` there.
    fn broadcast_bytes(&self, own: Option<Vec<u8>>) -> Result<Vec<u8>> {
        let mut size = (own.as_ref().map_or(0, Vec::len) as u64).to_le_bytes().to_vec();
        self.exchange("an exchange", |connections| connections.all.broadcast(&mut size))?;
        let mut bytes = own.unwrap_or_else(|| vec![0; length(&size)]);
        if !bytes.is_empty() {
            self.exchange("an exchange", |connections| connections.all.broadcast(&mut bytes))?;
        }
        Ok(bytes)
    }

    fn exchange<T>(&self, what: &str, work: impl FnOnce(&Connections) -> Outcome<T>) -> Result<T> {
        let Some(connections) = &self.connections else {
            return Err(Error::failure("one rank alone exchanges nothing"));
        };
        let done = work(&locked(connections));
        done.map_err(|text| self.lost(what, &text))
    }

    /// The error of an exchange that failed: which ranks are lost. Those that are there say so in the store.
    fn lost(&self, what: &str, text: &str) -> Error {
        let absent = self.absent();
        let others: Vec<String> = absent
            .iter()
            .map(|&rank| {
                format!("rank {rank} ({}, process {})", self.members[rank].host, self.members[rank].process)
            })
            .collect();
        let of = self.ranks;
        // Gloo begins with the line of its own code.
        let text =
            text.strip_prefix('[').and_then(|text| text.split_once("] ")).map_or(text, |(_, text)| text);
        let message = match others.is_empty() {
            true => format!("{what} of {of} ranks failed: {text}"),
            false => format!("{what} of {of} ranks failed: lost {}: {text}", others.join(", ")),
        };
        Error::failure(message).hint(
            "start all ranks again with --resume: training continues from the last checkpoint, if there is one",
        )
    }

    /// The ranks that do not say within a few seconds that they are there. Asked on a thread of its own: a network that
    /// is down lets the store wait for a quarter of an hour.
    fn absent(&self) -> Vec<usize> {
        let Some(connections) = self.connections.clone() else { return Vec::new() };
        let (rank, ranks, (sender, found)) = (self.rank, self.ranks, channel());
        let ask = move || {
            // After the limit nobody listens any more.
            let _ = sender.send(absent(&locked(&connections).meeting, rank, ranks));
        };
        let asked = std::thread::Builder::new().name("lost".to_owned()).spawn(ask);
        let answer = asked.ok().and_then(|_| found.recv_timeout(2 * TO_SHOW_UP).ok());
        // Without the store, rank 0, which serves it, is gone.
        answer.unwrap_or_else(|| vec![0])
    }
}

/// The ranks that have not said in the store within a few seconds that they are there.
fn absent(meeting: &Meeting, rank: usize, ranks: usize) -> Vec<usize> {
    let key = |rank: usize| format!("alive/{rank}");
    let until = Deadline::after(TO_SHOW_UP);
    if meeting.set(&key(rank), b"").is_err() {
        return vec![0];
    }
    let mut absent: Vec<usize> = (0..ranks).filter(|&other| other != rank).collect();
    while !absent.is_empty() && !until.passed() {
        for other in std::mem::take(&mut absent) {
            match meeting.get(&key(other)) {
                Ok(Some(_)) => {}
                Ok(None) => absent.push(other),
                Err(_) => return vec![0],
            }
        }
        until.pause(Duration::from_millis(50));
    }
    absent
}

/// How long a rank may take to notice that an exchange has failed.
const TO_SHOW_UP: Duration = Duration::from_secs(3);

fn to_json<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| Error::failure(error.to_string()))
}

fn from_json<T: DeserializeOwned>(json: &[u8]) -> Result<T> {
    serde_json::from_slice(json)
        .map_err(|error| Error::failure(format!("a message of another rank: {error}")))
}

fn length(bytes: &[u8]) -> usize {
    bytes.try_into().map_or(0, |bytes| u64::from_le_bytes(bytes) as usize)
}

fn locked(connections: &Mutex<Connections>) -> MutexGuard<'_, Connections> {
    connections.lock().unwrap_or_else(PoisonError::into_inner)
}
