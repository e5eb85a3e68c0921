//! Each kind of invalid experiment file, with its exact message.

use seqloom::metrics::METRICS;

use super::{LEAST, accepted, refused};

#[track_caller]
fn check_messages(cases: &[(&str, &str)]) {
    for (appended, message) in cases {
        assert_eq!(refused(&format!("{LEAST}{appended}"), &[]), format!("error: a.toml:{message}"));
    }
}

/// The scores that need no outputs, as a message lists them.
const OF_LIKELIHOOD: &str = "`nll`, `perplexity`, `token_accuracy`";

/// The names of all metrics, as a message lists them.
fn metrics() -> String {
    METRICS.iter().map(|kind| format!("`{}`", kind.name)).collect::<Vec<_>>().join(", ")
}

#[test]
fn an_unknown_key_is_named_with_its_position_and_the_nearest_known_one() {
    check_messages(&[
        (
            "[modle]\nx = 1",
            "5:2: unknown key `modle`\nhint: did you mean `model`? \
             Keys there: `name`, `seed`, `data`, `model`, `training`, `decoding`, `runtime`, `extends`",
        ),
        (
            "[data.source.charakters]",
            "5:14: unknown key `charakters` in [data.source]\nhint: did you mean `characters`? \
             Keys there: `column`, `alternatives`, `parts`, `set`, `normalize`, `whitespace`, `lowercase`, `max_length`, `characters`, \
             `graphemes`, `words`, `split`, `bytes`, `bpe`, `bpe_dropout`, `unigram`, `pretrained`, `audio`",
        ),
        (
            "[training.adamw]\nlr = 1e-3",
            "6:1: unknown key `lr` in [training.adamw]\nhint: keys there: `learning_rate`, `beta1`, `beta2`, \
             `epsilon`, `weight_decay`",
        ),
    ]);
    let message = refused(&format!("{LEAST}[model.transformer]\nhedas = 8"), &[]);
    let start = "error: a.toml:6:1: unknown key `hedas` in [model.transformer]\nhint: did you mean `heads`? Keys there: ";
    assert!(message.starts_with(start), "{message}");
}

#[test]
fn a_missing_key_is_named_with_its_table() {
    let data = "\nhint: write it there, or use `--set data.train=…`";
    assert_eq!(refused("", &[]), format!("error: a.toml: missing key `train` in [data]{data}"));
    assert_eq!(
        refused("name = \"a\"\n\n  [data]", &[]),
        format!("error: a.toml:3:3: missing key `train` in [data]{data}")
    );
    let name = "error: a.toml: missing key `name`\nhint: write it there, or use `--set name=…`";
    assert_eq!(refused(LEAST.trim_start_matches("name = \"a\"\n"), &[]), name);
    let half = "name = \"a\"\n[data]\nvalid = \"\"\ntrain = { source = \"a.en\" }";
    assert_eq!(
        refused(half, &[]),
        "error: a.toml:4:9: missing key `target` in [data.train]\nhint: write it there, or use `--set data.train.target=…`"
    );
}

#[test]
fn a_value_of_the_wrong_type_is_shown_with_the_expected_type() {
    check_messages(&[
        ("[model.transformer]\nwidth = \"big\"", "6:9: `width` must be a whole number, but it is \"big\""),
        ("[model.transformer]\nwidth = 256.0", "6:9: `width` must be a whole number, but it is 256.0"),
        ("[model.transformer]\nwidth = -1", "6:9: `width` must not be negative, but it is -1"),
        (
            "[model.transformer]\nwidth = 99999999999999999999",
            "6:9: a whole number must fit in 64 bits, but it is 99999999999999999999",
        ),
        ("[model.transformer]\nbias = 1", "6:8: `bias` must be true or false, but it is 1"),
        ("[model.transformer]\ndropout = [0.1]", "6:11: `dropout` must be a number, but it is a list"),
        ("[model.transformer]\ndropout = nan", "6:11: `dropout` must be a finite number, but it is nan"),
        ("[model.transformer]\ndropout = 1e999", "6:11: `dropout` must be a finite number, but it is inf"),
        ("[model]\ntransformer = 5", "6:15: `transformer` must be a table, but it is 5"),
        ("[[model]]", "5:1: `model` must be a table, but it is a list"),
        ("[runtime]\ndevice = {}", "6:10: `device` must be text in quotes, but it is a table"),
        (
            "[model.transformer]\npositions = \"sinusoid\"",
            "6:13: `positions` must be one of `sinusoidal`, `learned`, `rotary`, `none`, but it is \"sinusoid\"\
             \nhint: did you mean `sinusoidal`?",
        ),
        (
            "[training]\nbest_by = 3",
            &format!("6:11: `best_by` must be one of {OF_LIKELIHOOD}, {}, but it is 3", metrics()),
        ),
    ]);
    let files = "must be a file name, { file = \"…\", format = \"…\" }, { source = \"…\", target = \"…\" }, or a list of these";
    let text = "name = \"a\"\n[data]\nvalid = \"\"\ntrain = ";
    assert_eq!(refused(&format!("{text}5"), &[]), format!("error: a.toml:4:9: `train` {files}, but it is 5"));
    assert_eq!(
        refused(&format!("{text}[\"a\", 5]"), &[]),
        "error: a.toml:4:15: `train` must be a file name, { file = \"…\", format = \"…\" } or { source = \"…\", target = \"…\" }, but it is 5"
    );
}

#[test]
fn invalid_toml_is_refused_with_its_position() {
    check_messages(&[
        ("[training\nx = 1", "5:10: this is not TOML: unclosed table, expected `]`"),
        ("x = y", "5:5: this is not TOML: string values must be quoted"),
        ("x == 1", "5:4: this is not TOML: extra `=`"),
        ("x", "5:2: this is not TOML: key with no value, expected `=`"),
        (
            "[data]",
            "5:2: this is not TOML: duplicate key `data`\nhint: [data] already begins in line 2: put all its keys there",
        ),
        (
            "source.column = \"ä\"\nä = 1",
            "6:1: this is not TOML: invalid unquoted key, expected letters, numbers, `-`, `_`",
        ),
        (
            "source.column = \"ää\" 1",
            "5:22: this is not TOML: unexpected key or value, expected newline, `#`",
        ),
    ]);
}

#[test]
fn invalid_sizes_of_a_network_are_refused_at_their_position() {
    check_messages(&[
        (
            "[model.transformer]\nwidth = 500\nheads = 8",
            "7:9: `heads` must divide `width`, but they are 8 and 500\nhint: each head gets `width` / `heads` numbers",
        ),
        (
            "[model.transformer]\nwidth = 250",
            "6:9: `heads` must divide `width`, but they are 4 and 250\nhint: each head gets `width` / `heads` numbers",
        ),
        ("[model.transformer]\nheads = 0", "6:9: `heads` must be at least 1, but it is 0"),
        ("[model.transformer]\nencoder_layers = 0", "6:18: `encoder_layers` must be at least 1, but it is 0"),
        (
            "[model.transformer]\nwidth = 9999999999",
            "6:9: `width` must be at most 2147483647, but it is 9999999999",
        ),
        (
            "[model.transformer]\nwidth = 255\nheads = 1",
            "6:9: `width` must be even for `sinusoidal` positions, but it is 255",
        ),
        (
            "[model.transformer]\nwidth = 12\nheads = 4\npositions = \"rotary\"",
            "7:9: `width` / `heads` must be even for `rotary` positions, but it is 3",
        ),
        (
            "[model.recurrent]\nwidth = 25",
            "6:9: `width` must be even, but it is 25\nhint: each direction of the encoder gets half of it",
        ),
        ("[model.recurrent]\ndecoder_layers = 0", "6:18: `decoder_layers` must be at least 1, but it is 0"),
        (
            "[model.recurrent]\nwidth = 65536\nencoder_layers = 4096",
            "6:9: the layers must have at most 1099511627776 weights together, but have 79194901970944\
             \nhint: lower `width` or the layers",
        ),
    ]);
}

#[test]
fn sizes_that_no_machine_has_are_refused_by_name() {
    let most = |key: &str, most: u64, is: u64| format!("`{key}` must be at most {most}, but it is {is}");
    let cases = [
        ("model.transformer.width=65537", most("width", 65536, 65537)),
        ("model.transformer.feed_forward=2147483647", most("feed_forward", 65536, 2147483647)),
        ("model.transformer.encoder_layers=4097", most("encoder_layers", 4096, 4097)),
        ("model.transformer.decoder_layers=2147483647", most("decoder_layers", 4096, 2147483647)),
        ("model.transformer.max_positions=65537", most("max_positions", 65536, 65537)),
        ("data.source.max_length=2147483647", most("max_length", 1 << 24, 2147483647)),
        ("data.target.bpe.vocabulary=2147483647", most("vocabulary", 1 << 22, 2147483647)),
        ("decoding.min_length=2147483647", most("min_length", 1 << 25, 2147483647)),
        ("decoding.max_length=2147483647", most("max_length", 1 << 25, 2147483647)),
        ("decoding.max_length_offset=33554433", most("max_length_offset", 1 << 25, 33554433)),
        ("decoding.batch_size=1000001", most("batch_size", 1_000_000, 1000001)),
        ("training.tokens_per_batch=2147483647", most("tokens_per_batch", 1 << 28, 2147483647)),
        ("training.accumulate=65537", most("accumulate", 1 << 16, 65537)),
        ("decoding.min_length=2147483648", most("min_length", 2147483647, 2147483648)),
    ];
    for (set, message) in cases {
        assert_eq!(refused(LEAST, &[set]), format!("error: --set {set}: {message}"));
    }
    // Each of them is valid, but not all together.
    let all = ["width=65536", "feed_forward=65536", "encoder_layers=4096"];
    let all = all.map(|size| format!("model.transformer.{size}"));
    let message = refused(LEAST, &all.each_ref().map(String::as_str));
    assert!(
        message.contains("the layers must have at most 1099511627776 weights together, but have "),
        "{message}"
    );
}

#[test]
fn a_number_out_of_range_is_refused_at_its_position() {
    let share = "must be at least 0 and below 1, but it is";
    check_messages(&[
        ("[model.transformer]\ndropout = 1", &format!("6:11: `dropout` {share} 1.0")),
        ("[training]\nlabel_smoothing = -0.1", &format!("6:19: `label_smoothing` {share} -0.1")),
        ("[training]\nkeep_last = 0", "6:13: `keep_last` must be at least 1, but it is 0"),
        ("[training]\nclip_norm = -1", "6:13: `clip_norm` must be at least 0, but it is -1.0"),
        ("[training.adamw]\nlearning_rate = 0", "6:17: `learning_rate` must be above 0, but it is 0.0"),
        ("[training.adamw]\nbeta2 = 1.0", &format!("6:9: `beta2` {share} 1.0")),
        ("[training.noam]\nwarmup = 0", "6:10: `warmup` must be at least 1, but it is 0"),
        ("[training.cosine]\nfinal_share = 2", "6:15: `final_share` must be from 0 to 1, but it is 2.0"),
        ("[data.source.bpe]\nvocabulary = 4", "6:14: `vocabulary` must be at least 5, but it is 4"),
        (
            "[data.source.unigram]\nbyte_fallback = true\nvocabulary = 260",
            "7:14: `vocabulary` must be at least 261, but it is 260",
        ),
        (
            "[data.target.graphemes]\nminimum_count = 0",
            "6:17: `minimum_count` must be at least 1, but it is 0",
        ),
        ("[data.target]\nmax_length = 0", "6:14: `max_length` must be at least 1, but it is 0"),
        ("[decoding]\nbatch_size = 0", "6:14: `batch_size` must be at least 1, but it is 0"),
        ("[decoding]\nbeam = 100000", "6:8: `beam` must be at most 10000, but it is 100000"),
        ("[decoding]\nbeam = 0", "6:8: `beam` must be at least 1, but it is 0"),
        ("[decoding]\nn_best = 0", "6:10: `n_best` must be at least 1, but it is 0"),
        ("[decoding]\nbeam_groups = 0", "6:15: `beam_groups` must be at least 1, but it is 0"),
        ("[decoding]\npatience = 0", "6:12: `patience` must be above 0, but it is 0.0"),
        ("[decoding]\ncoverage_penalty = -1", "6:20: `coverage_penalty` must be at least 0, but it is -1.0"),
        ("[decoding]\nrepetition_penalty = 0", "6:22: `repetition_penalty` must be above 0, but it is 0.0"),
        ("[decoding]\nbanned = [\"a\", \" \"]", "6:10: a text in `banned` must not be empty"),
        ("[decoding.sampling]\ntemperature = 0", "6:15: `temperature` must be above 0, but it is 0.0"),
        ("[decoding.sampling]\ntop_p = 1.1", "6:9: `top_p` must be above 0 and at most 1, but it is 1.1"),
        ("[decoding.sampling]\nmin_p = -0.1", "6:9: `min_p` must be from 0 to 1, but it is -0.1"),
        (
            "[decoding]\nlength_penalty_alpha = -0.5",
            "6:24: `length_penalty_alpha` must be at least 0, but it is -0.5",
        ),
        (
            "[decoding]\nmax_length_offset = 0\nmax_length_factor = 0",
            "7:21: `max_length_factor` and `max_length_offset` must not both be 0: no output would have a token",
        ),
        (
            "[runtime]\ndevice = \"gpu\"",
            "6:10: `device` must be auto, cpu, cuda or cuda:N, but it is \"gpu\"",
        ),
        ("[runtime]\nthreads = 5000", "6:11: `threads` must be at most 4096, but it is 5000"),
    ]);
}

#[test]
fn an_unknown_or_inapplicable_metric_is_refused_at_its_position() {
    let known = metrics();
    let usual = "`exact_match`, `character_error_rate`, `word_error_rate`";
    let must = format!(
        "`best_by` must be {OF_LIKELIHOOD}, `exact_match`, `error_rate` or a metric of `training.metrics`"
    );
    let add = "\nhint: add \"chrf\" to `training.metrics`";
    check_messages(&[
        (
            "[training]\nmetrics = [\"chrf\",\n  \"charater_error_rate\"]",
            &format!(
                "7:3: `metrics` must be one of {known}, but it is \"charater_error_rate\"\nhint: did you mean `character_error_rate`?"
            ),
        ),
        (
            "[training]\nmetrics = [\"chrf\", \"chrf\"]",
            "6:11: `metrics` must name each metric once, but `chrf` occurs twice",
        ),
        (
            "[training]\nbest_by = \"chrF\"",
            &format!(
                "6:11: `best_by` must be one of {OF_LIKELIHOOD}, {known}, but it is \"chrF\"\nhint: did you mean `chrf`?"
            ),
        ),
        ("[training]\nbest_by = \"chrf\"", &format!("6:11: {must} ({usual}), but it is \"chrf\"{add}")),
        (
            "[training]\nmetrics = [\"exact_match\"]\nbest_by = \"chrf\"",
            &format!("7:11: {must} (`exact_match`), but it is \"chrf\"{add}"),
        ),
        ("[training]\nmetrics = \"chrf\"", "6:11: `metrics` must be a list, but it is \"chrf\""),
    ]);
    let without_a_metric = ["nll", "perplexity", "token_accuracy"];
    let usual = ["exact_match", "error_rate", "character_error_rate", "word_error_rate"];
    for by in without_a_metric.into_iter().chain(usual) {
        let experiment = accepted(LEAST, &[&format!("training.best_by={by}")]);
        assert_eq!(experiment.to_json()["training"]["best_by"], by);
        assert!(experiment.to_json()["training"].get("metrics").is_none());
    }
    accepted(LEAST, &["training.best_by=error_rate", "training.metrics=[]"]);
    accepted(LEAST, &["training.best_by=chrf", "training.metrics=[\"chrf\"]"]);
}

#[test]
fn incompatible_keys_of_decoding_are_refused() {
    check_messages(&[
        (
            "[decoding]\nbeam = 6\nbeam_groups = 4",
            "7:15: `beam_groups` must divide `beam`, but they are 4 and 6",
        ),
        (
            "[decoding]\nbeam = 2\nn_best = 3",
            "7:10: `n_best` must be at most `beam`, but they are 3 and 2\n\
             hint: widen `beam` to 3 or more",
        ),
        (
            "[decoding]\nmin_length = 5\nmax_length = 4",
            "6:14: `min_length` must be at most `max_length`, but they are 5 and 4",
        ),
        (
            "[decoding]\nbeam = 2\n[decoding.sampling]",
            "6:8: `beam` must be 1 with `sampling`, but it is 2\n\
             hint: `n_best` sets the number of samples",
        ),
    ]);
    accepted(LEAST, &["decoding.sampling={}", "decoding.n_best=9"]);
}

#[test]
fn incompatible_tables_are_refused() {
    let one = "hint: keep one of them";
    check_messages(&[
        (
            "[data.source.words]\n[data.source.bpe]",
            &format!("6:1: [data.source] must name one tokenizer, but it names `words` and `bpe`\n{one}"),
        ),
        (
            "[training.constant]\n[training.noam]",
            &format!("6:1: [training] must name one schedule, but it names `constant` and `noam`\n{one}"),
        ),
        (
            "header = false\n[data.source]\ncolumn = \"from\"",
            "7:10: without a header (`data.header` = false) `column` must be a number from 1, but it is `from`",
        ),
        (
            "[data.source]\nalternatives = \"|\"",
            "6:16: `alternatives` must be in [data.target], but [data.source] has it",
        ),
        (
            "[data.source]\nparts = [{ column = \"a\", alternatives = \"|\" }]",
            "6:9: `alternatives` must be in [data.target], but [data.source] has it",
        ),
        (
            "[data.target]\nalternatives = \"\"",
            "6:16: `alternatives` must be a separator of targets, such as \"|\", but it is empty",
        ),
        (
            "[data.target]\nwhitespace = \"keep\"\n[data.target.words]",
            "6:14: `whitespace` must be \"trim\" for `words`, which are joined by one space, but it is \"keep\"\n\
             hint: use `characters` or `bpe` to keep white space",
        ),
        (
            "shared_vocabulary = true\n[data.source]\nnormalize = \"nfd\"",
            "5:21: `shared_vocabulary` needs the same `normalize`, `whitespace` and `lowercase` on both sides, but they \
             differ\n\
             hint: use the same ones on both sides",
        ),
        (
            "shared_vocabulary = true\n[data.source.bpe]",
            "5:21: `shared_vocabulary` needs the same tokenizer on both sides, but [data.source] has `bpe` with vocabulary = \
             8000 and [data.target] has `characters` with minimum_count = 1\nhint: use the same one on both sides, with the \
             same settings",
        ),
        (
            "shared_vocabulary = true\n[data.source.bytes]\n[data.target.unigram]\nbyte_fallback = true",
            "5:21: `shared_vocabulary` needs the same tokenizer on both sides, but [data.source] has `bytes` and [data.target] has \
             `unigram` with vocabulary = 8000, byte_fallback = true\nhint: use the same one on both sides, with the same \
             settings",
        ),
        (
            "[model.transformer]\nheads = 4\n[model.recurrent]",
            &format!("7:1: [model] must name one network, but it names `transformer` and `recurrent`\n{one}"),
        ),
        (
            "[model.recurrent]\ntied_embeddings = \"all\"",
            "6:19: `tied_embeddings` = \"all\" needs `data.shared_vocabulary` = true, but it is false\
             \nhint: \"target_output\" ties two of the three and needs no shared vocabulary",
        ),
        (
            "[model.transformer]\ntied_embeddings = \"all\"",
            "6:19: `tied_embeddings` = \"all\" needs `data.shared_vocabulary` = true, but it is false\
             \nhint: \"target_output\" ties two of the three and needs no shared vocabulary",
        ),
        (
            "[model.transformer]\npositions = \"learned\"\nmax_positions = 512",
            "7:17: `max_positions` must be at least 513 for `learned` positions, but it is 512\nhint: the longer side has \
             `max_length` 512, and BOS or EOS adds one",
        ),
    ]);
}

#[test]
fn a_name_that_cannot_be_a_folder_name_is_refused() {
    let hint = "hint: the run's folder is runs/NAME: letters, digits, `-`, `_` and `.` are safe";
    for name in ["a/b", "..", ".", " a", "a\\b", "a\nb"] {
        let text = LEAST.replace("\"a\"", &format!("{name:?}"));
        let message =
            format!("error: a.toml:1:8: `name` must be a plain folder name, but it is {name:?}\n{hint}");
        assert_eq!(refused(&text, &[]), message);
    }
    assert_eq!(refused(LEAST, &["name="]), format!("error: --set name=: `name` must not be empty\n{hint}"));
}

#[test]
fn an_error_in_an_override_names_the_override() {
    let text = format!("{LEAST}[data.source.characters]\n[model.transformer]\nheads = 4");
    let divide = "hint: each head gets `width` / `heads` numbers";
    for (argument, message) in [
        ("steps", "it must have the form key.path=value"),
        ("a..b=1", "it must have the form key.path=value"),
        ("name.x=1", "`name` is a value, not a table"),
        ("data.train=[\"a", "the value is not TOML: unclosed array, expected `]`"),
        ("training.steps=many", "`steps` must be a whole number, but it is \"many\""),
        ("seed=-1", "`seed` must not be negative, but it is -1"),
        // The other half of the rule is in the file, but this key was just changed.
        (
            "model.transformer.width=250",
            &format!("`heads` must divide `width`, but they are 4 and 250\n{divide}"),
        ),
        (
            "training.learning_rate=0.1",
            "unknown key `learning_rate` in [training]\nhint: it is `training.adamw.learning_rate` here",
        ),
        (
            "modle.x=1",
            "unknown key `modle`\nhint: did you mean `model`? \
             Keys there: `name`, `seed`, `data`, `model`, `training`, `decoding`, `runtime`, `extends`",
        ),
    ] {
        assert_eq!(refused(&text, &[argument]), format!("error: --set {argument}: {message}"));
    }
    // An override that names another optimizer would replace the file's.
    let adam = format!("{LEAST}[training.adam]");
    assert!(refused(&adam, &["training.lr=1"]).ends_with("\nhint: it is `training.adam.learning_rate` here"));
    assert_eq!(
        refused(LEAST, &["training.noam.warmup=2", "training.cosine.warmup=3"]),
        "error: --set training.noam.warmup=2: [training] must name one schedule, but it names `cosine` and `noam`\nhint: \
         keep one of them"
    );
}

#[test]
fn a_key_in_a_wrong_table_is_found_by_its_name() {
    for (argument, hint) in [
        ("training.seed=2", "did you mean `seed`, outside of all tables?"),
        ("decoding.seed=2", "did you mean `decoding.sampling.seed`? Keys there: `method`, "),
        ("data.beam=2", "did you mean `decoding.beam`? Keys there: `train`, "),
        // Also if a key of that table is nearly of the same name.
        ("data.source.min_length=2", "did you mean `decoding.min_length`? Keys there: `column`, "),
        ("training.in_memory_limit=2", "did you mean `data.in_memory_limit`? Keys there: `steps`, "),
        ("training.seeed=2", "did you mean `seed`, outside of all tables?"),
    ] {
        let message = refused(LEAST, &[argument]);
        assert!(message.contains(&format!("\nhint: {hint}")), "{argument}: {message}");
    }
}
