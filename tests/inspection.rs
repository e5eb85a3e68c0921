//! Inspection: `decode --trace`, `attention` and `interactive` as a user runs them.

use std::io::Write;

use seqloom::data::vocabulary::{BOS, PAD};
use serde_json::{Value, json};

use crate::support::run::{Finished, Scene, binary, lines, listened_to, objects, unsure_lines, words};

fn numbers(list: &Value, key: &str) -> Vec<f64> {
    list.as_array().unwrap().iter().map(|one| one[key].as_f64().unwrap()).collect()
}

/// The floats of the trace have the fewest digits that identify them.
fn single(number: &Value) -> f32 {
    number.to_string().parse().unwrap()
}

/// Checks that a row is consistent.
#[track_caller]
fn check(row: &Value, top: usize) {
    let steps = row["steps"].as_array().unwrap();
    let tokens: Vec<&str> = steps.iter().map(|step| step["token"].as_str().unwrap()).collect();
    let end = if row["finished"] == true { "<eos>" } else { "" };
    assert_eq!(tokens.concat(), format!("{}{end}", row["output"].as_str().unwrap()));
    let seen = row["source_tokens"].as_array().unwrap();
    let source = row["source"].as_str().unwrap();
    assert_eq!(seen.len(), source.chars().count() + 1);
    assert_eq!((&seen[seen.len() - 1], &seen[0]), (&json!("<eos>"), &json!(source[..1])));
    let sum: f64 = steps.iter().map(|step| f64::from(single(&step["log_probability"]))).sum();
    assert_eq!(row["score"].as_f64().unwrap(), sum, "the very numbers that the search saw");
    for step in steps {
        let attention: Vec<f32> = step["attention"].as_array().unwrap().iter().map(single).collect();
        assert_eq!(attention.len(), seen.len());
        assert!(
            (attention.iter().sum::<f32>() - 1.0).abs() < 1e-4 && attention.iter().all(|&part| part >= 0.0)
        );
        let likeliest = step["top"].as_array().unwrap();
        assert_eq!(likeliest.len(), top);
        let log_p = numbers(&step["top"], "log_probability");
        assert!(log_p.is_sorted_by(|a, b| a >= b));
        let rank = step["rank"].as_u64().unwrap() as usize;
        let at_rank = likeliest.get(rank - 1);
        let chosen = |one: &Value| (one["id"].clone(), one["token"].clone(), one["log_probability"].clone());
        assert!(at_rank.is_none_or(|one| chosen(one) == chosen(step)), "{step}");
        assert!(![PAD, BOS].contains(&step["id"].as_i64().unwrap()));
    }
}

#[test]
fn a_trace_has_the_scores_of_the_search_for_every_search() {
    let scene = Scene::trained();
    scene.write("in.txt", unsure_lines(90));
    let searches: [&[&str]; 4] = [
        &[],
        &["--beam", "4"],
        &["--set", "decoding.sampling.temperature=1.5"],
        &[
            "--set",
            "decoding.no_repeat_ngram=1",
            "--set",
            "runtime.threads=2",
            "--set",
            "decoding.batch_size=7",
        ],
    ];
    for search in searches {
        let plain = [&["--input", "in.txt", "--format", "jsonl"], search].concat();
        let without = scene.decode(&plain, "").succeeded();
        let with = [&plain[..], &["--trace", "t.jsonl", "--trace-top", "3"]].concat();
        assert_eq!(scene.decode(&with, "").succeeded().stdout, without.stdout, "{search:?}");
        let (outputs, rows) = (objects(&without.stdout), objects(&scene.text("t.jsonl")));
        assert_eq!(rows.len(), 90);
        for ((row, output), number) in rows.iter().zip(&outputs).zip(1..) {
            assert_eq!(row["row"], number);
            for key in ["source", "output", "score", "finished"] {
                assert_eq!(row[key], output[key], "{search:?}");
            }
            check(row, 3);
        }
        let ranks: Vec<f64> = rows.iter().flat_map(|row| numbers(&row["steps"], "rank")).collect();
        assert!(
            ranks.iter().all(|&rank| rank == 1.0) == search.is_empty(),
            "only greedy search is always first"
        );
    }
}

#[test]
fn each_output_of_a_row_is_traced_also_with_an_ensemble_or_a_prefix() {
    let scene = Scene::two();
    scene.write("in.txt", [unsure_lines(30).as_bytes(), b"\n\xFF\nab\n"].concat());
    let beam = ["--beam", "4", "--set", "decoding.n_best=3"];
    let draws = ["--set", "decoding.sampling={}", "--set", "decoding.n_best=2"];
    let searches = [
        beam.to_vec(),
        [&beam[..], &["--with", "runs/other", "--prefix", "ab"]].concat(),
        [&draws[..], &["--with", "runs/other", "--set", "decoding.ensemble=probabilities"]].concat(),
    ];
    for search in &searches {
        let arguments = ["--input", "in.txt", "--on-error", "skip", "--format", "jsonl", "--shard", "1/1"];
        let plain = [&arguments[..], search].concat();
        let with = [&plain[..], &["--trace", "t.jsonl", "--trace-top", "3"]].concat();
        let stdout = scene.decode(&with, "").succeeded().stdout;
        assert_eq!(scene.decode(&plain, "").succeeded().stdout, stdout, "{search:?}");
        let (outputs, rows) = (objects(&stdout), objects(&scene.text("t.jsonl")));
        assert!(rows.len() == outputs.len() && rows.len() > 33, "{search:?}");
        for (row, output) in rows.iter().zip(&outputs) {
            for key in ["row", "rank", "source", "output", "score", "finished"] {
                assert_eq!(row[key], output[key], "{search:?}");
            }
            let silent = row["source"].is_null() || row["source"] == "";
            assert_eq!(row["steps"].as_array().unwrap().is_empty(), silent, "{row}");
            if !silent {
                check(row, 3);
            }
        }
    }
    scene
        .decode(
            &[
                &["--input", "in.txt", "--on-error", "skip", "--format", "csv", "--trace", "t.jsonl"],
                &beam[..],
            ]
            .concat(),
            "",
        )
        .succeeded();
    let traced = attention(&scene, &["--trace", "t.jsonl", "--row", "2"], "").succeeded().stdout;
    let drawn = [&["runs/copy", "--input", "in.txt", "--row", "2"], &beam[..]].concat();
    assert_eq!(attention(&scene, &drawn, "").succeeded().stdout, traced, "the best is drawn");
}

#[test]
fn each_row_has_its_line_even_if_it_has_no_steps() {
    let scene = Scene::trained();
    let input = b"abc\n\n\xFF\nabcdefgh\nab\0\n";
    let arguments = [
        "decode",
        "runs/copy",
        "--on-error",
        "skip",
        "--truncate",
        "--set",
        "data.source.max_length=5",
        "--set",
        "decoding.max_length=3",
        "--trace",
        "t.jsonl",
        "--trace-top",
        "0",
        "--shard",
        "1/1",
    ];
    scene.fed(&arguments, input).succeeded();
    let rows = objects(&scene.text("t.jsonl"));
    let steps: Vec<usize> = rows.iter().map(|row| row["steps"].as_array().unwrap().len()).collect();
    assert_eq!((rows.len(), &steps[..4]), (5, &[3, 0, 0, 3][..]));
    assert_eq!(rows[1]["source_tokens"], json!([]));
    assert_eq!((&rows[1]["score"], &rows[1]["finished"]), (&json!(0.0), &json!(true)));
    let error = "<stdin>:3: the text must be UTF-8, but byte 1 of the line is 0xFF";
    assert!(rows[2]["error"].as_str().unwrap().starts_with(error), "{}", rows[2]);
    assert_eq!((&rows[2]["source"], &rows[2]["score"]), (&Value::Null, &Value::Null));
    assert_eq!(rows[3]["truncated"], true);
    assert_eq!(rows[3]["source_tokens"], json!(["a", "b", "c", "d", "e", "<eos>"]));
    assert_eq!((&rows[0]["finished"], &rows[0]["error"]), (&json!(false), &Value::Null));
    assert_eq!(rows[0]["steps"][0]["top"], json!([]));
    assert_eq!(rows[4]["source_tokens"], json!(["a", "b", "<unk>", "<eos>"]));
}

#[test]
fn a_trace_that_would_destroy_something_is_refused() {
    let scene = Scene::trained();
    scene.write("in.txt", "ab\n");
    scene.decode(&["--trace", "-"], "ab\n").refused(
        2,
        "error: standard output cannot be both the output and the trace\nhint: name another file with --trace",
    );
    let same = ["--input", "in.txt", "--output", "out.txt", "--trace", "./out.txt"];
    scene.decode(&same, "").refused(
        2,
        "error: out.txt cannot be both the output and the trace\nhint: name another file with --trace",
    );
    scene.decode(&["--input", "in.txt", "--trace", "in.txt"], "").refused(
        2,
        "error: in.txt cannot be both the input and the trace\nhint: name another file with --trace",
    );
    assert_eq!(scene.text("in.txt"), "ab\n");
    let both = scene.decode(&["--resume", "--output", "out.txt", "--trace", "t.jsonl"], "ab\n");
    assert!(both.code == Some(2) && both.stderr.contains("cannot be used with"), "{}", both.stderr);
    let full = scene.decode(&["--trace", "/dev/full"], "ab\n");
    assert_eq!(full.code, Some(1));
    assert!(full.stderr.contains("error: cannot write /dev/full: "), "{}", full.stderr);
    // The trace may be written to standard output.
    let alone = scene.decode(&["--trace", "-", "--output", "out.txt"], "ab\n").succeeded();
    assert_eq!((objects(&alone.stdout).len(), scene.text("out.txt")), (1, "ab\n".to_owned()));
}

fn attention(scene: &Scene, arguments: &[&str], input: &str) -> Finished {
    scene.fed(&[&["attention"], arguments].concat(), input.as_bytes())
}

/// The texts of a group, and the number of cells.
fn drawn(picture: &str, class: &str) -> (Vec<String>, usize) {
    let document = roxmltree::Document::parse(picture).unwrap();
    let with = |class: &'static str| {
        document.descendants().filter(move |node| node.attribute("class") == Some(class)).count()
    };
    let group = document.descendants().find(|node| node.attribute("class") == Some(class)).unwrap();
    let texts = group.children().filter(|node| node.tag_name().name() == "text");
    (texts.map(|node| node.text().unwrap().to_owned()).collect(), with("cell"))
}

#[test]
fn a_row_from_a_text_a_file_a_pipe_or_a_trace_is_drawn_the_same() {
    let scene = Scene::trained();
    scene.write("in.csv", "word,source\nbad,abc\nbad,cafe\n");
    scene.decode(&["--input", "in.csv", "--trace", "t.jsonl"], "").succeeded();
    let by_text = attention(&scene, &["runs/copy", "--text", "cafe"], "").succeeded();
    assert_eq!(by_text.stderr, "");
    let picture = by_text.stdout;
    let (source, cells) = drawn(&picture, "source");
    let (output, _) = drawn(&picture, "output");
    assert_eq!(source, ["c", "a", "f", "e", "<eos>"]);
    assert_eq!(output, source);
    assert_eq!(cells, 25);
    let by_trace = attention(&scene, &["--trace", "t.jsonl", "--row", "2"], "").succeeded().stdout;
    assert_eq!(by_trace, picture);
    let by_file = ["runs/copy", "--input", "in.csv", "--row", "2", "--output", "a.svg"];
    assert_eq!(attention(&scene, &by_file, "").succeeded().stdout, "");
    assert_eq!(scene.text("a.svg"), picture);
    let piped = attention(&scene, &["runs/copy", "--row", "2", "--output", "-"], "abc\ncafe\n");
    assert_eq!(piped.succeeded().stdout, picture);
    let column = ["runs/copy", "--input", "in.csv", "--column", "word", "--beam", "3"];
    assert_eq!(drawn(&attention(&scene, &column, "").succeeded().stdout, "source").0[..3], ["b", "a", "d"]);
}

#[test]
fn a_trace_in_chinese_is_drawn_in_chinese() {
    let scene = Scene::new(2, 1);
    let step = |token: &str| json!({"token": token, "log_probability": -0.2, "attention": [0.9, 0.1, 0.0]});
    let row = json!({"row": 5, "source": "機器", "source_tokens": ["機", "器", "<eos>"], "output": "学习 <&>",
        "steps": [step("学"), step("习"), step(" "), step("<&>")]});
    scene.write("t.jsonl", format!("{{\"row\":4}}\n{row}\n"));
    let picture = attention(&scene, &["--trace", "t.jsonl", "--row", "5"], "").succeeded().stdout;
    assert_eq!(drawn(&picture, "source"), (vec!["機".into(), "器".into(), "<eos>".into()], 12));
    assert_eq!(drawn(&picture, "output").0, ["学", "习", "␣", "<&>"]);
}

#[test]
fn invalid_rows_and_options_of_a_picture_are_refused() {
    let scene = Scene::trained();
    scene.write(
        "broken.jsonl",
        "{\"row\":1,\"error\":\"too long\"}\n{\"row\":2}\n{\"row\":3,\"steps\":[{\"attention\":[1]}]}\n\n",
    );
    let cases: [(&[&str], &str, &[&str]); 9] = [
        (
            &["runs/copy", "--row", "3"],
            "ab\ncd\n",
            &["--row must be a row of the input", "it ends after 2 rows"],
        ),
        (&["runs/copy", "--row", "0"], "ab\ncd\n", &["there is no row 0"]),
        (&["runs/copy", "--text", " "], "", &["an output must have a token to be drawn"]),
        (&["runs/copy"], "ab\n", &[]),
        (
            &["runs/copy", "--text", &"a".repeat(600)],
            "",
            &["--text: a source may have 512 tokens", "hint: allow more"],
        ),
        (&["--trace", "broken.jsonl"], "", &["row 1 was skipped and has no attention: too long"]),
        (&["--trace", "broken.jsonl", "--row", "2"], "", &["must have a token to be drawn"]),
        (
            &["--trace", "broken.jsonl", "--row", "3"],
            "",
            &["each step must attend to 0 tokens", "attends to 1"],
        ),
        (
            &["--trace", "broken.jsonl", "--row", "4"],
            "",
            &["broken.jsonl:4: a trace must have one JSON object per line"],
        ),
    ];
    for (arguments, input, parts) in cases {
        match parts.is_empty() {
            true => drop(attention(&scene, arguments, input).succeeded()),
            false => attention(&scene, arguments, input).refused_naming(2, parts),
        }
    }
    scene.write("in.txt", "ab\n");
    let same = ["runs/copy", "--input", "in.txt", "--output", "in.txt"];
    attention(&scene, &same, "").refused_naming(2, &["cannot be both the input and the output"]);
    let finished = attention(&scene, &[], "");
    assert!(finished.code == Some(2) && finished.stderr.contains("<RUN>"), "{}", finished.stderr);
}

/// A session whose pipe counts as a terminal.
fn session(scene: &Scene, more: &[&str], lines: &[u8]) -> Finished {
    let arguments = [&["interactive", "runs/copy"], more].concat();
    let mut child = listened_to(binary(&scene.path("")).args(arguments).env("SEQLOOM_TEST_TERMINAL", "1"));
    child.stdin.take().unwrap().write_all(lines).unwrap();
    Finished::of(child)
}

#[test]
fn at_a_terminal_an_output_grows_token_by_token_with_the_alternatives() {
    let scene = Scene::trained();
    let finished = session(&scene, &["--top", "3"], b"cafe\n:q\nbad\n").succeeded();
    assert_eq!(finished.stderr, "");
    let lines: Vec<&str> = finished.stdout.lines().collect();
    assert_eq!(lines.len(), 2 + 5 + 3, "{}", finished.stdout);
    for (line, (so_far, token)) in
        lines[2..].iter().zip([("c", "c"), ("ca", "a"), ("caf", "f"), ("cafe", "e"), ("cafe", "<eos>")])
    {
        let rest = line.trim_start_matches("> ").trim_start().strip_prefix(so_far).unwrap();
        assert!(rest.trim_start().starts_with(&format!("[{token} ")), "{line}");
        assert_eq!(
            line.split_whitespace().filter(|part| part.trim_end_matches(']').parse::<f64>().is_ok()).count(),
            3
        );
    }
    assert_eq!(lines[7], "cafe");
    assert!(lines[8].ends_with(" %), 5 tokens, including <eos>"));
    assert_eq!(lines[9], "> ");
    assert!(!finished.stdout.contains('\x1b'), "no colours in a pipe");
    let scored = scene.decode(&["--format", "jsonl"], "cafe\n").succeeded().stdout;
    let score = objects(&scored)[0]["score"].as_f64().unwrap();
    assert!(lines[8].starts_with(&format!("score {score:.4} (")), "{}", lines[8]);
}

#[test]
fn an_error_in_a_line_is_reported_and_the_next_line_is_read() {
    let scene = Scene::trained();
    let lines = [b"\n\xFF\xFE\nzzz\n".as_slice(), &[b'a'; 600], b"\nab\n"].concat();
    let stdout = session(&scene, &["--set", "decoding.max_length=2"], &lines).succeeded().stdout;
    for part in [
        "> note: the source is empty, and so is its output\n",
        "> error: the text must be UTF-8, but this line is not\n",
        "> note: symbols that are not in the vocabulary: 3 of 3\n",
        "> error: a source may have 512 tokens (`data.source.max_length`), but this row's has 600\nhint: cut it",
        "\nab\nscore ",
        " 2 tokens, unfinished\n> \n",
    ] {
        assert!(stdout.contains(part), "no {part:?} in\n{stdout}");
    }
    let cut =
        session(&scene, &["--truncate", "--set", "data.source.max_length=3"], b"abcde\n").succeeded().stdout;
    assert!(cut.contains("> note: the source was truncated to 3 of its 5 tokens\n"), "{cut}");
    assert!(cut.contains("\nabc\nscore "), "{cut}");
}

#[test]
fn a_sampled_token_shows_its_rank_and_is_that_of_decode() {
    let scene = Scene::trained();
    let hot = ["--set", "decoding.sampling.temperature=4"];
    let input = lines(&words(5));
    let stdout = session(&scene, &[&hot[..], &["--top", "1"]].concat(), input.as_bytes()).succeeded().stdout;
    assert!(stdout.contains("] at rank "), "{stdout}");
    for output in scene.decode(&hot, &input).succeeded().stdout.lines() {
        assert!(stdout.contains(&format!("\n{output}\nscore ")), "no {output} in\n{stdout}");
    }
}

#[test]
fn a_session_without_a_terminal_or_with_a_beam_is_refused() {
    let scene = Scene::trained();
    scene.seqloom(&["interactive", "runs/copy"]).refused(
        2,
        "error: `seqloom interactive` needs a terminal, but standard input is not one\n\
         hint: decode a pipe or a file with `seqloom decode`; --trace writes each step",
    );
    session(&scene, &["--beam", "4"], b"ab\n")
        .refused_naming(2, &["needs `decoding.beam` = 1, but it is 4", "--beam 1"]);
    let samples = ["--set", "decoding.sampling.temperature=1", "--set", "decoding.n_best=3"];
    session(&scene, &samples, b"ab\n").refused_naming(2, &["needs `decoding.n_best` = 1, but it is 3"]);
    let both = session(&scene, &["--output", "x.txt"], b"ab\n");
    assert!(both.code == Some(2) && both.stderr.contains("unexpected argument"), "{}", both.stderr);
}

#[test]
fn a_session_works_with_an_ensemble_and_a_prefix() {
    let scene = Scene::two();
    let together = ["--with", "runs/other", "--prefix", "ca"];
    let stdout = session(&scene, &together, b"abc\nfed\n").succeeded().stdout;
    let scored = scene.decode(&[&["--format", "jsonl"], &together[..]].concat(), "abc\nfed\n");
    for row in objects(&scored.succeeded().stdout) {
        let (output, score) = (row["output"].as_str().unwrap(), row["score"].as_f64().unwrap());
        assert!(stdout.contains(&format!("\n{output}\nscore {score:.4} (")), "no {row} in\n{stdout}");
    }
    let steps: Vec<&str> = stdout.lines().filter(|line| line.contains('[')).skip(1).collect();
    assert!(steps[0].contains("[c ") && steps[1].contains("[a "), "the prefix is shown:\n{stdout}");
    session(&scene, &["--prefix", "xcy"], b"ab\n").refused(
        2,
        "error: a prefix must consist of symbols of the target's vocabulary, but it lacks 2 of `xcy`",
    );
    let long = ["--prefix", "ab", "--set", "decoding.max_length=1"];
    let stdout = session(&scene, &long, b"ab\n").succeeded().stdout;
    assert!(stdout.contains("> error: a prefix must not be longer than its output"), "{stdout}");
    let column = session(&scene, &["--prefix-column", "begin"], b"ab\n");
    assert!(column.code == Some(2) && column.stderr.contains("unexpected argument"), "{}", column.stderr);
}
