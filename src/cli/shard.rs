//! `--shard I/N`: every n-th row from the i-th, the share of job i of n; and the record that a finished share leaves for
//! `seqloom merge`.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::output::OutputFormat;
use crate::checkpoint::files::{SMALL, read_within};
use crate::distributed::launch::Rank;
use crate::error::{Error, Result};

/// Every n-th row from the i-th: the share of job i of n.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shard {
    /// From 1.
    pub number: u64,
    /// The number of jobs.
    pub of: u64,
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Shard, String> {
        if text == "auto" {
            let rank = Rank::from_environment().map_err(|error| error.message().to_owned())?;
            let rank = rank.map_or((0, 1), |Rank { rank, ranks, .. }| (rank as u64, ranks as u64));
            return of_job(&|name| std::env::var(name).ok(), rank);
        }
        let numbers = text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
        match numbers {
            Some((number, of)) if (1..=of).contains(&number) => Ok(Shard { number, of }),
            _ => Err(
                "it must be I/N with I from 1 to N: 1/4, 2/4, 3/4, 4/4; or auto, in a job array or as a rank"
                    .into(),
            ),
        }
    }
}

impl std::fmt::Display for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

impl Shard {
    /// Whether a row, counted from 1, belongs to it.
    pub(crate) fn has(&self, row: u64) -> bool {
        row % self.of == self.number % self.of
    }
}

/// The share of a job of an array (Slurm's, Grid Engine's), and within it of a rank.
fn of_job(
    variable: &dyn Fn(&str) -> Option<String>,
    (rank, ranks): (u64, u64),
) -> std::result::Result<Shard, String> {
    let number = |name: &str| variable(name).and_then(|text| text.parse::<u64>().ok());
    let arrays = [
        ["SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_MAX", "SLURM_ARRAY_TASK_STEP"],
        ["SGE_TASK_ID", "SGE_TASK_FIRST", "SGE_TASK_LAST", "SGE_TASK_STEPSIZE"],
    ];
    let array = arrays.iter().find_map(|names| {
        let [task, first, last] = [0, 1, 2].map(|at| number(names[at]));
        Some((task?, first?, last?, number(names[3]).unwrap_or(1).max(1)))
    });
    // PBS does not say how many tasks an array has.
    if let (None, Some(index)) = (array, variable("PBS_ARRAY_INDEX").or_else(|| variable("PBS_ARRAYID"))) {
        return Err(format!(
            "--shard auto needs the number of tasks, but PBS does not report it: write --shard I/N, with I from 1 (this is task {index})"
        ));
    }
    let (at, count) = match array {
        Some((task, first, last, step)) if (first..=last).contains(&task) && (task - first) % step == 0 => {
            let count = (last - first) / step + 1;
            // Of a list such as 1,3,7 only the number of tasks is known.
            if number("SLURM_ARRAY_TASK_COUNT").is_some_and(|known| known != count) {
                return Err("the array must be a range, such as 1-8, for --shard auto".to_owned());
            }
            ((task - first) / step, count)
        }
        Some((task, first, last, _)) => {
            return Err(format!("the array has the tasks {first} to {last}, but this is {task}"));
        }
        None if ranks == 1 => {
            return Err(
                "there is no job array of Slurm or Grid Engine here, and this is no rank: write I/N".into()
            );
        }
        None => (0, 1),
    };
    Ok(Shard { number: at * ranks + rank + 1, of: count * ranks })
}

/// What a finished share says about itself, in OUTPUT.shard.json.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ShardRecord {
    /// `I/N`.
    pub shard: String,
    /// Rows of the whole input.
    pub rows: u64,
    /// Of the output.
    pub format: OutputFormat,
    /// The settings on which outputs depend, by name.
    pub settings: Map<String, Value>,
}

impl ShardRecord {
    /// The path of an output's record.
    pub(crate) fn place(output: &Path) -> PathBuf {
        let mut path = output.as_os_str().to_owned();
        path.push(".shard.json");
        path.into()
    }

    /// The record of a share.
    ///
    /// # Errors
    /// There is none: the share is not finished, or no share.
    pub(crate) fn read(output: &Path) -> Result<ShardRecord> {
        let (place, shown) = (ShardRecord::place(output), output.display());
        if !place.exists() {
            let message = format!(
                "{shown} must be a finished output of `decode --shard`, but {} is missing",
                place.display()
            );
            return Err(Error::input(message).hint(
                "to finish it, run the same command with --resume; outputs of `distill` are not merged: list them all in \
                 `data.train`",
            ));
        }
        let bytes = read_within(&place, SMALL)?;
        serde_json::from_slice(&bytes).map_err(|error| {
            Error::input(format!("{} must be the record of a shard: {error}", place.display()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auto(variables: &[(&str, &str)], rank: (u64, u64)) -> std::result::Result<String, String> {
        let find = |name: &str| Some(variables.iter().find(|(known, _)| *known == name)?.1.to_owned());
        of_job(&find, rank).map(|shard| shard.to_string())
    }

    #[test]
    fn shards_divide_the_rows() {
        let shards: Vec<Shard> = ["1/3", "2/3", "3/3"].map(|text| text.parse().unwrap()).to_vec();
        for row in 1..20 {
            let having: Vec<usize> = (0..3).filter(|&n| shards[n].has(row)).collect();
            assert_eq!(having, [(row as usize - 1) % 3]);
        }
        for wrong in ["0/3", "4/3", "1", "1/", "/3", "a/b", "1/0", "-1/3"] {
            assert!(wrong.parse::<Shard>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_share_of_a_job_follows_from_its_array_and_its_rank() {
        let slurm = |task: &'static str| {
            [
                ("SLURM_ARRAY_TASK_ID", task),
                ("SLURM_ARRAY_TASK_MIN", "0"),
                ("SLURM_ARRAY_TASK_MAX", "6"),
                ("SLURM_ARRAY_TASK_STEP", "2"),
                ("SLURM_ARRAY_TASK_COUNT", "4"),
            ]
        };
        assert_eq!(auto(&slurm("0"), (0, 1)).unwrap(), "1/4");
        assert_eq!(auto(&slurm("6"), (0, 1)).unwrap(), "4/4");
        assert_eq!(auto(&slurm("2"), (1, 2)).unwrap(), "4/8");
        assert_eq!(auto(&[], (1, 2)).unwrap(), "2/2");
        let engine = [
            ("SGE_TASK_ID", "3"),
            ("SGE_TASK_FIRST", "1"),
            ("SGE_TASK_LAST", "5"),
            ("SGE_TASK_STEPSIZE", "1"),
        ];
        assert_eq!(auto(&engine, (0, 1)).unwrap(), "3/5");
        let list = [&slurm("2")[..4], &[("SLURM_ARRAY_TASK_COUNT", "3")]].concat();
        assert!(auto(&list, (0, 1)).unwrap_err().contains("must be a range"));
        assert!(auto(&[("PBS_ARRAY_INDEX", "4")], (0, 1)).unwrap_err().ends_with("(this is task 4)"));
        assert!(auto(&[], (0, 1)).unwrap_err().contains("no job array"));
        // Grid Engine says `undefined` outside an array.
        assert!(auto(&[("SGE_TASK_ID", "undefined")], (0, 1)).unwrap_err().contains("no job array"));
    }
}
