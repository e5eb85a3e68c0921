//! CTC from outside, compared with PyTorch's loss.

use std::path::Path;
use std::sync::Arc;

use seqloom::data::source::required_frames;
use seqloom::decoding::ctc::alignment::align;
use seqloom::decoding::ctc::log_probs::CtcLogProbs;
use seqloom::decoding::ctc::prefix_score::CtcPrefix;
use serde_json::Value;

fn numbers<T>(list: &Value, of: impl Fn(&Value) -> Option<T>) -> Vec<T> {
    list.as_array().unwrap().iter().map(|one| of(one).unwrap()).collect()
}

/// Made by tests/golden/make_ctc.py.
#[test]
fn the_score_of_a_sequence_is_the_negative_ctc_loss_of_pytorch() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/ctc.json");
    let golden: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert_eq!(golden["torch"], "2.11.0");
    let cases = golden["cases"].as_array().unwrap();
    assert!(cases.len() > 10);
    for case in cases {
        let rows = numbers(&case["log_probs"], |row| Some(numbers(row, Value::as_f64)));
        let (symbols, frames) = (rows[0].len(), rows.len());
        let data = rows.concat().into_iter().map(|log_p| log_p as f32).collect();
        let target = numbers(&case["target"], Value::as_i64);
        let head = CtcLogProbs::new(data, symbols, case["blank"].as_i64().unwrap()).unwrap();
        assert_eq!(align(&head, &target).is_ok(), !case["loss"].is_null());
        assert_eq!(required_frames(&target) <= frames, !case["loss"].is_null());
        let ours = -CtcPrefix::new(Arc::new(head)).extend_all(&target).score_of_end();
        let theirs = case["loss"].as_f64().unwrap_or(f64::INFINITY);
        assert!(ours == theirs || (ours - theirs).abs() < 1e-6, "{ours} is not {theirs}: {target:?}");
    }
}
