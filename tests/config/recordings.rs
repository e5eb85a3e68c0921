//! Invalid experiments with recordings: keys that need texts, and invalid features.

use super::{LEAST, accepted, refused};

#[track_caller]
fn check_messages(cases: &[(&str, &str)]) {
    for (appended, message) in cases {
        assert_eq!(refused(&format!("{LEAST}{appended}"), &[]), format!("error: a.toml:{message}"));
    }
}

#[test]
fn keys_that_need_texts_are_refused_with_recordings() {
    check_messages(&[
        (
            "[data.target.audio]",
            "5:1: a target must be a text, but [data.target] names `audio`\nhint: \
             `characters`, `words` and `bpe`, for example, cut texts",
        ),
        (
            "shared_vocabulary = true\n[data.source.audio]",
            "5:21: `shared_vocabulary` needs texts on both sides, but sources are `audio`",
        ),
        (
            "[data.source.audio]\n[model.recurrent]",
            "6:1: a recurrent network cannot read recordings\nhint: use [model.transformer]",
        ),
        (
            "[data.source.audio]\n[decoding]\nreplace_unknown = true",
            "7:19: `replace_unknown` copies symbols of texts, but the sources are recordings",
        ),
    ]);
}

#[test]
fn invalid_conformer_blocks_are_refused_by_name() {
    check_messages(&[
        (
            "[model.transformer]\nconvolution_kernel = 4",
            "6:22: `convolution_kernel` must be odd, but it is 4\nhint: a position sees as many before it as behind it",
        ),
        (
            "[model.transformer]\nencoder = \"conformer\"\nnorm_place = \"post\"",
            "7:14: `norm_place` must be \"pre\" for `encoder` = \"conformer\", but it is \"post\"",
        ),
        ("[model.transformer]\nfront_channels = 0", "6:18: `front_channels` must be at least 1, but it is 0"),
    ]);
}

#[test]
fn invalid_features_are_refused_by_name() {
    check_messages(&[
        (
            "[data.source.audio]\nmax_seconds = 0",
            "6:15: `max_seconds` must be above 0 and at most 86400, but it is 0.0",
        ),
        (
            "[data.source.audio.fbank]\nsample_rate = 100",
            "6:15: `sample_rate` must be from 4000 to 192000 Hz, but it is 100",
        ),
        (
            "[data.source.audio.augment]\nspeeds = [1.0, 3.0]",
            "6:10: each of `speeds` must be from 0.5 to 2 with at most 3 decimals, but one is 3.0",
        ),
    ]);
}

/// 40 s at a speed of 0.9 are 1112 positions of 40 ms.
#[test]
fn learned_positions_must_cover_the_longest_recording() {
    let learned = "[data.source.audio]\n[model.transformer]\npositions = \"learned\"\nmax_positions = ";
    let message = "8:17: `max_positions` must be at least 1113 for `learned` positions, but it is 1112\n\
                   hint: a recording of `max_seconds` has 1112 positions of 4 frames at its slowest speed";
    check_messages(&[(&format!("{learned}1112"), message)]);
    accepted(&format!("{LEAST}{learned}1113"), &[]);
    let short = "\n[data.source.audio.augment]\nspeeds = []\n";
    accepted(&format!("{LEAST}{learned}1001{short}"), &[]);
}

#[test]
fn a_network_for_recordings_has_a_ctc_head_unless_switched_off() {
    let ctc = |text: &str| accepted(&format!("{LEAST}{text}"), &[]).model.network().has_ctc();
    assert!(ctc("[data.source.audio]"));
    assert!(!ctc("[data.source.audio]\n[model.transformer]\nctc = false"));
    assert!(!ctc(""));
}
