//! Fields with several right targets, in tables, parallel text and folders of recordings.

use super::*;

fn reading(recordings: Option<&dyn Recordings>) -> Reading<'_> {
    let columns = Columns::new(&["source"], "target");
    Reading { columns, alternatives: Some("|"), format: None, recordings, lossy: false }
}

/// A folder of three recordings.
struct Three;

impl Recordings for Three {
    fn folder(&self, _: &Path) -> Result<Vec<Pair>> {
        let pair = |target: &str| Pair { target: target.to_owned(), ..Pair::default() };
        Ok(["one|uno", "two|", "three"].map(pair).into())
    }

    fn complete(&self, _: &mut Pair, _: &[ExtraField]) -> Result<()> {
        Ok(())
    }
}

/// The targets of each pair of a file, and its broken rows without the folder.
fn read_all(
    recordings: Option<&dyn Recordings>,
    file: &PairFile,
    folder: &Path,
) -> (Vec<String>, Vec<String>) {
    let (mut found, mut broken) = (Vec::new(), Vec::new());
    let mut take = |pair: Pair, _: bool| {
        found.push(pair.targets().collect::<Vec<_>>().join("+"));
        Ok(ControlFlow::Continue(()))
    };
    let mut keep = |error: Error| {
        broken.push(error.message().replace(&format!("{}/", folder.display()), ""));
        Ok(())
    };
    reading(recordings).each_or_broken(file, &mut take, &mut keep).unwrap();
    (found, broken)
}

const MUST: &str = "none of several targets may be empty, but one of these is\n ";

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
         separates the targets of a row (`--alternatives`, `data.target.alternatives`)"
    );
}

#[test]
fn fields_are_cut_and_an_empty_target_has_its_place() {
    let (folder, path) = file("a.csv", "source,target\na,x|y z|x\nb,x||y\nc,\nd,\"w \"\n");
    let (found, broken) = read_all(None, &path.clone().into(), folder.path());
    assert_eq!(found, ["x+y z+x", "", "w "]);
    assert_eq!(broken, [format!("a.csv:3: {MUST} x||y")]);
    let whole = read_pairs(&Files(vec![path.into()]), ["source", "target"], true).unwrap().pairs;
    assert_eq!((whole[0].target.as_str(), whole[0].other_targets.len()), ("x|y z|x", 0));

    let [source, target] = ["a.en", "a.de"].map(|name| folder.path().join(name));
    std::fs::write(&source, "a\nb\n").unwrap();
    std::fs::write(&target, "x|y\n|\n").unwrap();
    let parallel = PairFile::Parallel { source, target, weight: None };
    let (found, broken) = read_all(None, &parallel, folder.path());
    assert_eq!((found, broken), (vec!["x+y".to_owned()], vec![format!("a.de:2: {MUST} |")]));
}

#[test]
fn texts_of_recordings_are_cut_too() {
    let folder = tempfile::tempdir().unwrap();
    let (found, broken) = read_all(Some(&Three), &folder.path().to_path_buf().into(), folder.path());
    assert_eq!(found, ["one+uno", "three"]);
    assert_eq!(broken, [format!(":0: {MUST} two|")]);
}

#[test]
fn a_pair_has_no_room_for_what_few_sets_have() {
    // Two texts, a list, a pointer, a place and a number.
    assert_eq!(size_of::<Pair>(), 3 * 24 + 8 + 24 + 8);
}
