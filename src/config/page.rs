//! The reference page, configs/reference.toml, embedded in the binary: every key with its default and its meaning, for
//! `seqloom keys` and to suggest the table of a key.

/// The page.
pub(crate) const PAGE: &str = include_str!("../../configs/reference.toml");

/// A table or a key of the page, with its comments.
#[derive(Debug)]
pub(crate) struct Entry {
    /// The table, as a path; empty for top-level keys.
    pub table: &'static str,
    /// The key; empty for the table itself.
    pub key: &'static str,
    /// Its lines on the page.
    pub lines: Vec<&'static str>,
}

impl Entry {
    /// The whole path: `decoding.beam`, or `decoding` for a table.
    pub(crate) fn path(&self) -> String {
        [self.table, self.key].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(".")
    }

    /// Whether its path or comments contain these words, ignoring case.
    pub(crate) fn mentions(&self, words: &str) -> bool {
        let words = words.to_lowercase();
        let contains = |text: &str| text.to_lowercase().contains(&words);
        contains(&self.path()) || self.lines.iter().any(|line| contains(line))
    }
}

/// Tables and keys in the order of the page.
pub(crate) fn entries() -> Vec<Entry> {
    let (mut entries, mut table) = (Vec::<Entry>::new(), "");
    let mut follows = false;
    for line in PAGE.lines() {
        // A key that is off by default has a # right before it.
        let text = line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line);
        let name = text.split(['=', ']']).next().unwrap_or_default();
        let is_key = |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if let Some(header) = name.strip_prefix('[') {
            table = header.trim_start_matches('[');
            entries.push(Entry { table, key: "", lines: vec![line] });
            follows = true;
        } else if text.contains('=') && !name.trim().is_empty() && is_key(name.trim()) {
            entries.push(Entry { table, key: name.trim(), lines: vec![line] });
            follows = true;
        } else {
            // Comments continue on indented lines.
            follows &= line.trim_start_matches('#').starts_with("    ");
            if let Some(last) = entries.last_mut().filter(|_| follows) {
                last.lines.push(line);
            }
        }
    }
    entries
}

/// Whether a key of this name is in no table.
pub(super) fn is_outside_of_tables(name: &str) -> bool {
    entries().iter().any(|entry| entry.table.is_empty() && entry.key == name)
}

/// The keys and tables whose paths end with this name; if there are none, those of the nearest name.
pub(super) fn ending(name: &str) -> Vec<String> {
    let paths: Vec<String> = entries().iter().map(Entry::path).collect();
    let ends = |name: &str| -> Vec<String> {
        let behind = format!(".{name}");
        let mut found: Vec<String> = paths.iter().filter(|path| path.ends_with(&behind)).cloned().collect();
        found.dedup();
        found
    };
    match ends(name) {
        found if found.is_empty() => {
            let last: Vec<&str> = paths.iter().filter_map(|path| path.rsplit('.').next()).collect();
            super::nearest::nearest(name, &last).map(ends).unwrap_or_default()
        }
        found => found,
    }
}

/// A hint for a key (with or without `=` and a value) that is unknown at that place. `may_be` returns which keys are
/// valid there: if one of them has this name, others are not suggested.
pub(crate) fn meant(written: &str, may_be: impl Fn(&str) -> bool) -> Option<String> {
    let name = written.split('=').next().unwrap_or_default().trim();
    if entries().iter().any(|entry| entry.path() == name) {
        return None;
    }
    let mut paths = ending(name);
    if paths.iter().any(|path| may_be(path)) {
        paths.retain(|path| may_be(path));
    }
    question(&paths)
}

/// `did you mean …?`
pub(super) fn question(paths: &[String]) -> Option<String> {
    let named: Vec<String> = paths.iter().take(3).map(|path| format!("`{path}`")).collect();
    let (last, others) = named.split_last()?;
    Some(match others {
        [] => format!("did you mean {last}?"),
        others => format!("did you mean {} or {last}?", others.join(", ")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_with_a_value_is_a_key_of_its_table() {
        let entries = entries();
        let of =
            |path: &str| entries.iter().find(|entry| entry.path() == path).map(|entry| entry.lines.len());
        assert_eq!(of("seed"), Some(1));
        assert_eq!(of("data.train"), Some(6));
        assert_eq!(of("model.transformer.embedding_dropout"), Some(1));
        assert_eq!(of("training.groups.weights"), Some(1));
        assert_eq!(of("decoding.sampling.temperature"), Some(1));
        assert!(entries.len() > 100 && entries.iter().all(|entry| !entry.path().contains(' ')));
        assert_eq!(["seed", "steps", "data"].map(is_outside_of_tables), [true, false, false]);
    }

    #[test]
    fn a_key_without_its_table_is_found() {
        let meant = |name: &str| meant(name, |_| true).unwrap_or_default();
        assert_eq!(meant("n_best=3"), "did you mean `decoding.n_best`?");
        assert_eq!(meant("n_bets"), "did you mean `decoding.n_best`?");
        assert_eq!(meant("threads"), "did you mean `runtime.threads`?");
        assert_eq!(meant("transformer.width"), "did you mean `model.transformer.width`?");
        assert_eq!(meant("column"), "did you mean `data.source.column` or `data.target.column`?");
        assert_eq!(meant("decoding.beam=3"), "");
        assert_eq!(meant("no_such_key"), "");
    }
}
