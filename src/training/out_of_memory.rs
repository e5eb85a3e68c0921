//! Out of memory: a batch that does not fit is halved, a row that does not fit alone is skipped and reported, and
//! `tokens_per_batch = "auto"` finds beforehand how much fits.

use tch::Device;

use crate::data::batch_sampler::{Batches, Positions};
use crate::error::{Error, Kind, Result, caught};
use crate::runtime::memory;

/// Runs `work`; `None` if it ran out of memory.
///
/// # Errors
/// Every other error of `work`.
pub(crate) fn catch_out_of_memory<T>(work: impl FnOnce() -> Result<T>) -> Result<Option<T>> {
    match caught(work) {
        Err(error) if error.kind() == Kind::OutOfMemory => Ok(None),
        done => done.map(Some),
    }
}

/// Runs `work` on `rows`; when out of memory, on each half of them, and so on down to single rows. Returns the rows
/// that do not fit even alone.
///
/// # Errors
/// Every other error of `work`.
pub(crate) fn in_halves(rows: &[usize], work: &mut impl FnMut(&[usize]) -> Result<()>) -> Result<Vec<usize>> {
    if catch_out_of_memory(|| work(rows))?.is_some() {
        return Ok(Vec::new());
    }
    if rows.len() <= 1 {
        return Ok(rows.to_vec());
    }
    let (left, right) = rows.split_at(rows.len() / 2);
    let mut too_large = in_halves(left, work)?;
    too_large.extend(in_halves(right, work)?);
    Ok(too_large)
}

/// The smallest budget to try, in positions.
const SMALLEST: usize = 256;

/// Share of the limit that trials may use.
const SHARE: f64 = 0.85;

/// Batches of other shapes that a trial runs besides the heaviest ones, since fragmentation takes memory as well.
const OTHERS: usize = 6;

/// A pass over the set has at least this many batches, unless they are small: with a few huge batches there is little
/// shuffling, more padding, and few updates per pass.
const LEAST_BATCHES: usize = 100;

/// Positions of a small batch.
const SMALL: usize = 4096;

/// The memory that training may use, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MemoryRoom {
    /// The total; 0 for four fifths of the free memory.
    pub limit: u64,
    /// The part of a set limit that is reserved for work outside updates.
    pub kept: u64,
}

/// Finds `tokens_per_batch`: the largest budget whose batches fit into the limit and that leaves 100 batches per pass
/// over the set, or batches of 4,096 positions.
///
/// `lengths` are the positions of each row, including EOS: (source, target). `trial` runs forward and backward over
/// some rows as one batch. Budgets at most double each time; the last two give the memory per position, and so a bound
/// for the next one.
///
/// # Errors
/// Not even the smallest budget fits.
pub(crate) fn find_budget(
    lengths: &[Positions],
    device: Device,
    room: MemoryRoom,
    mut trial: impl FnMut(&[usize], usize) -> Result<()>,
) -> Result<usize> {
    let before = memory::peak(device);
    let limit = match room.limit {
        0 => before + memory::free(device).unwrap_or(0) / 5 * 4,
        limit => limit.saturating_sub(room.kept),
    };
    let all =
        lengths.iter().map(|(source, target)| *source.max(target) as usize).sum::<usize>().max(SMALLEST);
    let all = all.min(SMALL.max(all / LEAST_BATCHES));
    // The rest stays free: later batches differ from those that were tried.
    let most = (limit as f64 * SHARE) as u64;
    let mut peak_of = |budget: usize| -> Result<Option<u64>> {
        let rows = tried(lengths, budget);
        let done = catch_out_of_memory(|| rows.iter().try_for_each(|rows| trial(rows, budget)))?;
        Ok(done.map(|()| memory::peak(device)).filter(|&peak| peak <= most))
    };
    let (mut fits, mut used, mut next) = (0, before, SMALLEST);
    while let Some(peak) = peak_of(next)? {
        let per_position = peak.saturating_sub(used) as f64 / (next - fits) as f64;
        (fits, used) = (next, peak);
        let room = most.saturating_sub(peak) as f64;
        let reachable = (fits as f64 + room / per_position.max(1.0)) as usize;
        next = reachable.min(2 * fits).min(all) / SMALLEST * SMALLEST;
        if next <= fits {
            break;
        }
    }
    match fits {
        0 => Err(too_small(if room.limit == 0 { limit } else { room.limit })),
        fits => Ok(fits),
    }
}

fn too_small(limit: u64) -> Error {
    let gib = limit as f64 / (1u64 << 30) as f64;
    let message =
        format!("batches of {SMALLEST} positions must fit into memory, but they need more than {gib:.2} GiB");
    Error::input(message)
        .hint("free some memory, set a larger `training.memory_limit`, or use a smaller model")
}

/// The batches to try within a budget: those with the most positions and the longest rows, and some of every length.
fn tried(lengths: &[Positions], budget: usize) -> Vec<Vec<usize>> {
    // A longer row is a single-row batch with any budget.
    let longer = |row: u32| lengths[row as usize].0.max(lengths[row as usize].1) as usize;
    let rows: Vec<u32> = (0..lengths.len() as u32).filter(|&row| longer(row) <= budget).collect();
    let batches = Batches::by_length(rows, lengths, budget);
    let all = || batches.iter();
    let longest = all().last();
    let positions = |batch: &Vec<usize>| {
        let most = |side: fn(&Positions) -> u32| batch.iter().map(|&row| side(&lengths[row])).max();
        batch.len() * (most(|pair| pair.0).unwrap_or(0) + most(|pair| pair.1).unwrap_or(0)) as usize
    };
    let fullest = all().max_by_key(positions);
    let others = all().step_by(batches.len().div_ceil(OTHERS).max(1));
    fullest.into_iter().chain(longest).chain(others).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(limit: u64) -> MemoryRoom {
        MemoryRoom { limit, kept: 0 }
    }

    #[test]
    fn out_of_memory_is_distinguished_from_other_failures() {
        let torch = |text: &str| tch::TchError::Torch(text.to_owned());
        let failing = |text: &str| catch_out_of_memory::<()>(|| Err(torch(text).into()));
        assert!(failing("CUDA out of memory. Tried to allocate 2 GiB").unwrap().is_none());
        assert!(failing("DefaultCPUAllocator: can't allocate memory").unwrap().is_none());
        assert!(failing("the shapes differ").is_err());
        assert_eq!(catch_out_of_memory(|| Ok(5)).unwrap(), Some(5));
        let panicking = || catch_out_of_memory::<()>(|| panic!("{}", "CUDA out of memory"));
        assert!(panicking().unwrap().is_none());
    }

    #[test]
    fn a_batch_out_of_memory_is_halved_and_single_rows_are_returned() {
        let mut done = Vec::new();
        let mut work = |rows: &[usize]| {
            if rows.len() > 2 || rows.contains(&7) {
                return Err(Error::out_of_memory("too many rows"));
            }
            done.extend_from_slice(rows);
            Ok(())
        };
        assert_eq!(in_halves(&[1, 7, 3, 4, 5], &mut work).unwrap(), [7]);
        assert_eq!(done, [1, 3, 4, 5]);
        assert!(in_halves(&[1, 2], &mut |_| Err(Error::failure("the shapes differ"))).is_err());
    }

    #[test]
    fn the_trial_has_rows_of_every_length_and_leaves_part_of_the_limit_free() {
        let lengths: Vec<Positions> = (1..=120).map(|length| (length, length)).collect();
        let longest_of = |rows: &Vec<usize>| rows.iter().map(|&row| lengths[row].0).max().unwrap();
        let tried: Vec<u32> = tried(&lengths, 256).iter().map(longest_of).collect();
        assert!(tried.contains(&120) && tried.iter().any(|&length| length < 20), "{tried:?}");
        assert!(tried.len() >= OTHERS, "{tried:?}");
        // The process already uses more than that share of a limit just above its peak.
        let limit = memory::peak(Device::Cpu) / 100 * 108;
        assert!(
            limit == 0 || find_budget(&[(10, 10); 200], Device::Cpu, room(limit), |_, _| Ok(())).is_err()
        );
    }

    #[test]
    fn a_memory_limit_that_is_too_low_is_an_error_and_a_high_one_allows_the_whole_set() {
        let lengths = [(10, 10); 200];
        let error = find_budget(&lengths, Device::Cpu, room(1), |_, _| Ok(())).unwrap_err();
        assert!(error.message().contains("256 positions"), "{error}");
        let found = find_budget(&lengths, Device::Cpu, room(u64::MAX), |_, _| Ok(())).unwrap();
        assert_eq!(found, 1792, "all 2,000 positions, down to a multiple of 256");
        let failing = |rows: &[usize], _| match rows.len() {
            0..=60 => Ok(()),
            _ => Err(Error::out_of_memory("too many rows")),
        };
        assert_eq!(find_budget(&lengths, Device::Cpu, room(u64::MAX), failing).unwrap(), 512);
    }
}
