//! Several right targets of a row in one field, with a text between them: `data.target.alternatives`.
//!
//! Training learns the first one, and metrics compare an output with all of them. Each is what the file has between two of
//! these texts. Texts only.

use super::lines::shorten;
use crate::error::{Error, Result};

/// The targets in a field, the first one and the others; without a text between them, the field is one target.
pub(crate) fn split_alternatives<'t>(field: &'t str, between: Option<&str>) -> (&'t str, Vec<&'t str>) {
    let Some(between) = between else { return (field, Vec::new()) };
    let mut targets = field.split(between);
    let first = targets.next().unwrap_or_default();
    (first, targets.collect())
}

/// Checks that no one of several targets is empty. A field that is empty as a whole is one target, and `data.empty` decides
/// about it.
///
/// # Errors
/// An input error without a place: a target is empty.
pub(crate) fn check_alternatives(field: &str, between: Option<&str>) -> Result<()> {
    let (first, others) = split_alternatives(field, between);
    let is_empty = |target: &&str| target.trim().is_empty();
    if others.is_empty() || !std::iter::once(&first).chain(&others).any(is_empty) {
        return Ok(());
    }
    let (between, field) = (between.unwrap_or_default(), shorten(field));
    let message = format!("none of several targets may be empty, but one of these is\n  {field}");
    Err(Error::input(message).hint(format!(
        "remove the needless `{between}`, which separates the targets of a row (`data.target.alternatives`)"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_one_target_or_several_with_all_their_white_space() {
        assert_eq!(split_alternatives("a|b", None), ("a|b", vec![]));
        assert_eq!(split_alternatives("a b", Some("|")), ("a b", vec![]));
        assert_eq!(split_alternatives("", Some("|")), ("", vec![]));
        assert_eq!(split_alternatives("a | b|c", Some("|")), ("a ", vec![" b", "c"]));
        assert_eq!(split_alternatives("a | b|c", Some(" | ")), ("a", vec!["b|c"]));
        assert_eq!(split_alternatives("ab", Some("a")), ("", vec!["b"]));
    }

    #[test]
    fn one_of_several_must_not_be_empty() {
        for field in ["", " ", "a", "a|b", "a|b|a"] {
            assert!(check_alternatives(field, Some("|")).is_ok(), "{field}");
        }
        for field in ["a||b", "|a", "a|", "|", "a| \t|b"] {
            assert!(check_alternatives(field, Some("|")).is_err(), "{field}");
            assert!(check_alternatives(field, None).is_ok(), "{field}");
        }
        assert_eq!(
            check_alternatives("a||b", Some("|")).unwrap_err().to_string(),
            "error: none of several targets may be empty, but one of these is\n  a||b\nhint: remove the needless `|`, which \
             separates the targets of a row (`data.target.alternatives`)"
        );
    }
}
