//! What a launcher says about this process: its rank, the number of ranks, and where they meet.
//!
//! Read from the environment: the variables of torchrun (which are also those to set by hand), Open MPI, Slurm's steps
//! and PMI. A batch script has Slurm's variables of the job, but is no rank: only those of a step, which `srun` starts,
//! count.

use crate::error::{Error, Result};

/// The place of a process among those that a launcher has started together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rank {
    /// From 0.
    pub rank: usize,
    /// Their number, at least 2.
    pub ranks: usize,
    /// The launcher's name, for messages.
    pub by: &'static str,
}

impl Rank {
    /// What the environment of this process says, for work that is shared without a word between ranks: no address is needed.
    /// `None` if it is alone.
    ///
    /// # Errors
    /// Numbers out of range.
    pub(crate) fn from_environment() -> Result<Option<Rank>> {
        Rank::from(&environment)
    }

    fn from(variable: &dyn Fn(&str) -> Option<String>) -> Result<Option<Rank>> {
        let pair = |[rank, ranks]: [&'static str; 2]| -> Result<Option<(usize, usize)>> {
            match (number(variable, rank)?, number(variable, ranks)?) {
                (Some(at), Some(count)) if at >= count => {
                    Err(Error::input(format!("{rank} must be below {ranks} = {count}, but it is {at}")))
                }
                (Some(at), Some(count)) => Ok(Some((at, count))),
                _ => Ok(None),
            }
        };
        // The innermost launcher first: mpirun starts its own daemons with srun.
        let is_torchrun = variable("TORCHELASTIC_RUN_ID").is_some();
        let torchrun = if is_torchrun { "torchrun" } else { "RANK and WORLD_SIZE" };
        let [by_hand, open_mpi, pmi, slurm] = RANK_VARIABLES.map(pair);
        let (slurm, pmi) = (slurm?, pmi?);
        // srun sets PMI's variables as well.
        let pmi = pmi.filter(|_| pmi != slurm).map(|found| ("mpiexec", found));
        let all = [
            by_hand?.map(|found| (torchrun, found)),
            open_mpi?.map(|found| ("mpirun", found)),
            pmi,
            slurm.map(|found| ("srun", found)),
        ];
        let found = all.into_iter().flatten().next().filter(|(_, (_, ranks))| *ranks > 1);
        Ok(found.map(|(by, (rank, ranks))| Rank { rank, ranks, by }))
    }
}

/// A process among those that a launcher has started together, and where they meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Launch {
    /// From 0.
    pub rank: usize,
    /// Their number, at least 2.
    pub ranks: usize,
    /// Host name or address of rank 0, and the port where ranks meet.
    pub address: (String, u16),
    /// Whether the launcher itself serves the store at that port.
    pub served: bool,
    /// Names this start among others, so that ranks of two starts do not meet.
    pub session: String,
    /// The launcher's name, for messages.
    pub by: &'static str,
}

/// The port where ranks meet if nothing names another one: torchrun's.
const PORT: u16 = 29500;

/// The variables by which launchers give a process its rank and the number of ranks: torchrun's, Open MPI's, PMI's, and those
/// of Slurm's steps.
pub(crate) const RANK_VARIABLES: [[&str; 2]; 4] = [
    ["RANK", "WORLD_SIZE"],
    ["OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"],
    ["PMI_RANK", "PMI_SIZE"],
    ["SLURM_PROCID", "SLURM_STEP_NUM_TASKS"],
];

impl Launch {
    /// What the environment of this process says; `None` if it is alone.
    ///
    /// # Errors
    /// Numbers out of range; an address that is missing.
    pub(crate) fn from_environment() -> Result<Option<Launch>> {
        Launch::from(&environment)
    }

    fn from(variable: &dyn Fn(&str) -> Option<String>) -> Result<Option<Launch>> {
        let Some(Rank { rank, ranks, by }) = Rank::from(variable)? else { return Ok(None) };
        let session = session(variable);
        let port = match number(variable, "MASTER_PORT")? {
            Some(port) => u16::try_from(port).ok().filter(|port| *port > 0).ok_or_else(|| {
                Error::input(format!("MASTER_PORT must be from 1 to 65535, but it is {port}"))
            })?,
            None => port_of(&session),
        };
        let host = variable("MASTER_ADDR").or_else(|| host(variable, ranks)).ok_or_else(|| {
            let message = format!("{ranks} ranks need the address of rank 0, but MASTER_ADDR is not set");
            Error::input(message).hint(match by {
                "mpirun" => "mpirun -x MASTER_ADDR=HOST, with the host that rank 0 runs on",
                _ => "set MASTER_ADDR to the host that rank 0 runs on",
            })
        })?;
        let served = variable("TORCHELASTIC_USE_AGENT_STORE").is_some_and(|text| text == "True");
        Ok(Some(Launch { rank, ranks, address: (host, port), served, session, by }))
    }
}

fn environment(name: &str) -> Option<String> {
    Some(std::env::var_os(name)?.to_string_lossy().into_owned())
}

fn number(variable: &dyn Fn(&str) -> Option<String>, name: &str) -> Result<Option<usize>> {
    let Some(text) = variable(name) else { return Ok(None) };
    let number = text.trim().parse().map_err(|_| {
        Error::input(format!("the environment variable {name} must be a number, but it is `{text}`"))
    })?;
    Ok(Some(number))
}

/// Where rank 0 is, if MASTER_ADDR does not say it.
fn host(variable: &dyn Fn(&str) -> Option<String>, ranks: usize) -> Option<String> {
    let is = |name: &str, count: usize| variable(name).is_some_and(|text| text == count.to_string());
    let here = ["OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS"].iter().any(|name| is(name, ranks));
    if here || is("SLURM_STEP_NUM_NODES", 1) {
        return Some("127.0.0.1".to_owned());
    }
    first_host(&variable("SLURM_STEP_NODELIST")?)
}

/// The first host of a list as Slurm writes it: `a[01-04,7],b3` is `a01`.
fn first_host(list: &str) -> Option<String> {
    let end = list.find(['[', ',']).unwrap_or(list.len());
    let (name, rest) = list.split_at(end);
    let Some(rest) = rest.strip_prefix('[') else {
        return Some(name.to_owned()).filter(|name| !name.is_empty());
    };
    let (numbers, behind) = rest.split_once(']')?;
    let number = numbers.split(['-', ',']).next()?;
    let suffix = behind.split(',').next()?;
    Some(format!("{name}{number}{suffix}"))
}

fn session(variable: &dyn Fn(&str) -> Option<String>) -> String {
    let names = [
        "TORCHELASTIC_RUN_ID",
        "TORCHELASTIC_RESTART_COUNT",
        "PMIX_NAMESPACE",
        "SLURM_JOB_ID",
        "SLURM_STEP_ID",
        "SLURM_RESTART_COUNT",
    ];
    names.iter().filter_map(|name| variable(name)).collect::<Vec<_>>().join("/")
}

/// A port below those that systems give out themselves, another one for each session.
fn port_of(session: &str) -> u16 {
    if session.is_empty() {
        return PORT;
    }
    let hash = session.bytes().fold(5381_u32, |hash, byte| hash.wrapping_mul(33) ^ u32::from(byte));
    20_000 + (hash % 10_000) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launch(variables: &[(&str, &str)]) -> Result<Option<Launch>> {
        Launch::from(&|name| {
            let found = variables.iter().find(|(known, _)| *known == name)?;
            Some(found.1.to_owned())
        })
    }

    fn found(variables: &[(&str, &str)]) -> (usize, usize, String, &'static str) {
        let launch = launch(variables).unwrap().unwrap();
        (launch.rank, launch.ranks, launch.address.0, launch.by)
    }

    const SLURM: [(&str, &str); 5] = [
        ("SLURM_JOB_ID", "17"),
        ("SLURM_STEP_ID", "0"),
        ("SLURM_PROCID", "3"),
        ("SLURM_STEP_NUM_TASKS", "4"),
        ("SLURM_STEP_NODELIST", "n[08-09]"),
    ];

    #[test]
    fn ranks_are_those_of_each_launcher() {
        let by_hand =
            [("RANK", "1"), ("WORLD_SIZE", "2"), ("MASTER_ADDR", "10.0.0.1"), ("MASTER_PORT", "1234")];
        let launch = launch(&by_hand).unwrap().unwrap();
        assert_eq!((launch.rank, launch.ranks, launch.by), (1, 2, "RANK and WORLD_SIZE"));
        assert_eq!((launch.address, launch.served), (("10.0.0.1".to_owned(), 1234), false));
        let torchrun = [("TORCHELASTIC_RUN_ID", "none"), ("TORCHELASTIC_USE_AGENT_STORE", "True")];
        let launch = super::tests::launch(&[&by_hand[..], &torchrun].concat()).unwrap().unwrap();
        assert_eq!((launch.by, launch.served), ("torchrun", true));
        assert_eq!(found(&SLURM), (3, 4, "n08".to_owned(), "srun"));
        let with_pmi = [("PMI_RANK", "3"), ("PMI_SIZE", "4")];
        assert_eq!(found(&[&SLURM[..], &with_pmi].concat()), (3, 4, "n08".to_owned(), "srun"));
        let one_node = [&SLURM[..4], &[("SLURM_STEP_NUM_NODES", "1")]].concat();
        assert_eq!(found(&one_node), (3, 4, "127.0.0.1".to_owned(), "srun"));
        // mpirun's daemons are steps of one task for each node.
        let mpirun = [
            ("OMPI_COMM_WORLD_RANK", "5"),
            ("OMPI_COMM_WORLD_SIZE", "8"),
            ("OMPI_COMM_WORLD_LOCAL_SIZE", "4"),
        ];
        assert_eq!(found(&[&SLURM[..], &mpirun].concat()), (5, 8, "n08".to_owned(), "mpirun"));
        let hydra = [("PMI_RANK", "5"), ("PMI_SIZE", "8")];
        assert_eq!(found(&[&SLURM[..], &hydra].concat()), (5, 8, "n08".to_owned(), "mpiexec"));
        let local = [("PMI_RANK", "1"), ("PMI_SIZE", "2"), ("MPI_LOCALNRANKS", "2")];
        assert_eq!(found(&local), (1, 2, "127.0.0.1".to_owned(), "mpiexec"));
    }

    #[test]
    fn a_lone_process_and_a_batch_script_are_no_ranks() {
        let batch = [("SLURM_JOB_ID", "17"), ("SLURM_PROCID", "0"), ("SLURM_NTASKS", "8")];
        for variables in [&[][..], &batch, &[("RANK", "0"), ("WORLD_SIZE", "1")], &[("RANK", "3")]] {
            assert_eq!(launch(variables).unwrap(), None);
        }
    }

    #[test]
    fn two_sessions_have_two_ports_and_by_hand_it_is_the_default() {
        let port = |variables: &[(&str, &str)]| launch(variables).unwrap().unwrap().address.1;
        assert_eq!(port(&[("RANK", "0"), ("WORLD_SIZE", "2"), ("MASTER_ADDR", "h")]), 29500);
        let other = [&[("SLURM_JOB_ID", "18")], &SLURM[1..]].concat();
        assert_ne!(port(&SLURM), port(&other));
        assert!((20_000..30_000).contains(&port(&SLURM)));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let message = |variables: &[(&str, &str)]| launch(variables).unwrap_err().message().to_owned();
        let three = [("RANK", "3"), ("WORLD_SIZE", "2")];
        assert_eq!(message(&three), "RANK must be below WORLD_SIZE = 2, but it is 3");
        let text = [("RANK", "x"), ("WORLD_SIZE", "2")];
        assert_eq!(message(&text), "the environment variable RANK must be a number, but it is `x`");
        let nowhere = [("RANK", "0"), ("WORLD_SIZE", "2")];
        assert_eq!(message(&nowhere), "2 ranks need the address of rank 0, but MASTER_ADDR is not set");
        // Which are two all the same.
        let find = |name: &str| Some(nowhere.iter().find(|(known, _)| *known == name)?.1.to_owned());
        let rank = Rank { rank: 0, ranks: 2, by: "RANK and WORLD_SIZE" };
        assert_eq!(Rank::from(&find).unwrap(), Some(rank));
        let port = [("RANK", "0"), ("WORLD_SIZE", "2"), ("MASTER_ADDR", "h"), ("MASTER_PORT", "70000")];
        assert_eq!(message(&port), "MASTER_PORT must be from 1 to 65535, but it is 70000");
    }

    #[test]
    fn the_first_of_a_list_of_hosts_is_read() {
        let lists = ["vm", "n[01-04,7]", "a[1-2],b3", "b3,a[1-2]", "rack[2]-node,x", ""];
        let first = lists.map(|list| first_host(list).unwrap_or_default());
        assert_eq!(first, ["vm", "n01", "a1", "b3", "rack2-node", ""]);
    }
}
