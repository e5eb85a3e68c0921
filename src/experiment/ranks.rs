//! What the ranks of a run must have in common, compared before they train: a difference would give each of them other
//! weights.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::resume::{DATA_FILES, differing_keys};
use crate::checkpoint::tensors::sha256;
use crate::config::Experiment;
use crate::data::splits::DataSplits;
use crate::distributed::Group;
use crate::error::{Error, Result};
use crate::runtime::Runtime;

/// What a rank runs.
#[derive(Serialize, Deserialize)]
struct Start {
    /// SHA-256 of the program.
    build: String,
    config: Value,
}

/// Compares programs and configs. Names of data files and the keys of the machine may differ.
///
/// # Errors
/// The first rank that differs from rank 0, and in what.
pub(crate) fn check_start(group: &Group, experiment: &Experiment) -> Result<()> {
    if group.ranks() == 1 {
        return Ok(());
    }
    let own = build().map(|build| Start { build, config: experiment.to_json() });
    let all = group.gather(own)?;
    for (rank, other) in all.iter().enumerate() {
        if other.build != all[0].build {
            let message = format!(
                "all ranks must run the same build of seqloom, but rank {rank} runs another one than rank 0"
            );
            return Err(Error::input(message).hint("copy one binary to all machines"));
        }
        let may_differ = |key: &String| DATA_FILES.contains(&key.as_str()) || key.starts_with("runtime.");
        let mut keys = differing_keys(&all[0].config, &other.config);
        keys.retain(|key| !may_differ(key));
        if !keys.is_empty() {
            let keys = keys.join(", ");
            let message =
                format!("all ranks must have the same config, but rank {rank} and rank 0 differ in {keys}");
            return Err(Error::input(message).hint("start all ranks with the same command line and config"));
        }
    }
    Ok(())
}

/// The checksum of the program that runs.
fn build() -> Result<String> {
    let path = std::env::current_exe()
        .map_err(|error| Error::failure(format!("cannot find this program: {error}")))?;
    let mut file = std::fs::File::open(&path).map_err(|error| Error::file("read", &path, &error))?;
    let mut hash = Sha256::new();
    std::io::copy(&mut file, &mut hash).map_err(|error| Error::file("read", &path, &error))?;
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Compares machines, pairs and vocabularies.
///
/// # Errors
/// The first rank that differs from rank 0, and in what.
pub(crate) fn check_data(group: &Group, runtime: Runtime, data: &DataSplits) -> Result<()> {
    if group.ranks() == 1 {
        return Ok(());
    }
    let vocabularies = serde_json::to_vec(&data.tokenizers.to_json());
    let vocabularies = vocabularies.map_err(|error| Error::failure(error.to_string()))?;
    let own = [
        ("the same type of machine and precision", runtime.identity()),
        ("the same training pairs", data.train.corpus.fingerprint().to_owned()),
        ("the same validation pairs", data.valid.corpus.fingerprint().to_owned()),
        ("the same vocabularies", sha256(&vocabularies)),
    ];
    let all = group.gather(Ok(own.each_ref().map(|(_, value)| value.clone())))?;
    for (at, (what, _)) in own.iter().enumerate() {
        if let Some(rank) = all.iter().position(|other| other[at] != all[0][at]) {
            let shown = if at == 0 { format!(": {} and {}", all[0][0], all[rank][0]) } else { String::new() };
            let message =
                format!("all ranks must have {what}, but rank {rank} has others than rank 0{shown}");
            let hint = match at {
                0 => "different machines round differently, so their weights would drift apart",
                _ => "copy the same data files to all machines",
            };
            return Err(Error::input(message).hint(hint));
        }
    }
    Ok(())
}
