//! `seqloom data`: what pairs are made of, with places, as text and as a page; nothing is trained.

use crate::support::run::Scene;

#[test]
fn a_report_finds_what_is_wrong_and_where() {
    let scene = Scene::new(20, 4);
    let train = "source,target\nab,ba\nab,ba\nab,xy\n\"fÃ¼r\",fur\nsame,same\n,empty\n學習,\u{5d0}\u{5d1}\nab\u{200b},z\n";
    scene.write("train.csv", train);
    scene.write("valid.csv", "source,target\nab,ba\nnew <b>,Ж\n");
    let report =
        scene.seqloom(&["data", "copy.toml", "--page", "page.html", "--set", "data.target.max_length=3"]);
    let text = report.succeeded().stdout;
    for part in [
        "== Training: 8 pairs in train.csv",
        "== Validation: 2 pairs in valid.csv",
        "! 1 pair that occurred before (`data.duplicate` = \"keep\")",
        "    train.csv:3: ab -> ba",
        "! 1 empty source (`data.empty` = \"error\")",
        "! 2 targets longer than max_length (`data.too_long` = \"error\")",
        "! 1 pair with equal sides (`data.copy` = \"keep\")",
        "! 1 source that occurred before with another target",
        "! 1 pair shared with the training set",
        "UTF-8 read as Latin-1 (mojibake): 1 text, first at train.csv:5: Ã¼",
        "characters without width: 1 text, first at train.csv:9: U+200B",
        "Han 2 (2 different)",
        "`Ж` 1 time, first at valid.csv:3",
    ] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
    let page = scene.text("page.html");
    assert!(
        page.starts_with("<!DOCTYPE html>")
            && page.contains("new &lt;b&gt;")
            && page.contains("dir=\"auto\"")
    );
    assert!(!page.contains("http"), "a page needs no network");
    assert!(!scene.path("runs").exists());
    scene.seqloom(&["data", "copy.toml", "--page", "train.csv"]).refused_naming(2, &["train.csv", "--page"]);
    scene.write("train.csv", "source,target\nab\n");
    scene.seqloom(&["data", "copy.toml"]).refused_naming(2, &["train.csv:2", "1 field"]);
}
