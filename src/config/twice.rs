//! Hints for a table that is defined twice, which TOML forbids and its parser does not explain: `data = { … }` and a
//! `[data.source]` below it, `training.steps = 100` and a `[training]` below it, or `[data]` twice.

/// A hint if the line at this byte defines a table again that the text before it defines.
pub(super) fn written_twice(text: &str, byte: usize) -> Option<String> {
    let at = text.get(..byte)?.matches('\n').count();
    let path = path_of(text.lines().take(at + 1));
    let mut table = String::new();
    for (number, line) in (1..).zip(text.lines().take(at)) {
        if let Some(header) = header(line) {
            if header == path {
                return Some(format!("[{path}] already begins in line {number}: put all its keys there"));
            }
            table = header;
        } else if let Some((key, value)) = line.split_once('=') {
            let key = joined(&table, &plain(key));
            let inline = value.trim_start().starts_with('{');
            if inline && (path == key || path.starts_with(&format!("{key}."))) {
                let why = "which takes no keys outside its braces";
                return Some(format!(
                    "`{key}` is an inline table in line {number}, {why}; write [{key}] as a table"
                ));
            }
            if key.starts_with(&format!("{path}.")) && !table.starts_with(&path) {
                return Some(format!("line {number} already has `{key}`: put it below [{path}] as well"));
            }
        }
    }
    None
}

/// The table that the last of these lines starts, or the path of the key that it sets.
fn path_of<'t>(lines: impl Iterator<Item = &'t str>) -> String {
    let (mut table, mut path) = (String::new(), String::new());
    for line in lines {
        if let Some(header) = header(line) {
            (table, path) = (header.clone(), header);
        } else {
            path = joined(&table, &plain(line.split('=').next().unwrap_or_default()));
        }
    }
    path
}

/// The table of a line `[table]`.
fn header(line: &str) -> Option<String> {
    let inner = line.trim_start().strip_prefix('[')?.split(']').next()?;
    Some(plain(inner.trim_start_matches('[')))
}

/// A path of keys without white space and quotes.
fn plain(path: &str) -> String {
    path.chars().filter(|c| !c.is_whitespace() && !matches!(c, '"' | '\'')).collect()
}

fn joined(table: &str, key: &str) -> String {
    if table.is_empty() { key.to_owned() } else { format!("{table}.{key}") }
}

#[cfg(test)]
mod tests {
    use super::super::tree::Node;

    #[track_caller]
    fn check(text: &str, hint: Option<&str>) {
        let error = Node::from_toml(text).unwrap_err();
        assert_eq!(error.hint.as_deref(), hint, "{text}\n{}", error.message);
    }

    #[test]
    fn a_table_that_is_written_in_two_ways_is_explained() {
        let inline = "`data` is an inline table in line 2, which takes no keys outside its braces; write [data] as a table";
        let data = "name = \"a\"\ndata = { train = \"a.csv\", valid = \"b.csv\" }\n";
        check(&format!("{data}[data.source]\ncolumn = \"x\""), Some(inline));
        check(&format!("{data}\n[data]\nshared_vocabulary = true"), Some(inline));
        check(&format!("{data}data.shared_vocabulary = true"), Some(inline));
        check(
            "[data]\nsource = { column = \"x\" }\n[data.source.bpe]\nvocabulary = 5",
            Some(
                "`data.source` is an inline table in line 2, which takes no keys outside its braces; write [data.source] as \
                 a table",
            ),
        );
        check(
            "training.steps = 5\n[training]\nlog_every = 1",
            Some("line 1 already has `training.steps`: put it below [training] as well"),
        );
        check(
            "[data]\ntrain = \"a\"\n[model]\n[data]\nvalid = \"b\"",
            Some("[data] already begins in line 1: put all its keys there"),
        );
        check("name = ", None);
        check("x = 1\nx = 2", None);
    }
}
