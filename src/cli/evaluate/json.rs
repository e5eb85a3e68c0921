//! The result as JSON: values as shares and rates, as in `decode --summary`.

use serde_json::{Map, Value, json};

use super::results::{Results, Score, SignificanceTest, StatisticsArgs};

/// One object, on one line.
pub(super) fn render(results: &Results, args: &StatisticsArgs) -> String {
    let compares = args.compares(results.systems.len());
    let test = match args.test {
        SignificanceTest::Bootstrap => "bootstrap",
        SignificanceTest::Randomization => "randomization",
    };
    let trials = compares && args.test == SignificanceTest::Randomization;
    let metrics = results.metrics.iter().map(|metric| {
        json!({
            "name": metric.kind.name,
            "higher_is_better": metric.kind.higher_is_better,
            "signature": metric.signature,
        })
    });
    let all = json!({
        "rows": results.rows,
        "resamples": args.resamples,
        "confidence": args.confidence,
        "seed": args.seed,
        "test": compares.then_some(test),
        "trials": trials.then_some(args.trials),
        "baseline": results.systems.first().filter(|_| compares),
        "metrics": metrics.collect::<Vec<Value>>(),
        "systems": (0..results.systems.len()).map(|at| system(results, at)).collect::<Vec<Value>>(),
    });
    format!("{all}\n")
}

fn system(results: &Results, at: usize) -> Value {
    let scores = results.metrics.iter().map(|metric| {
        let Score { value, interval, p, best } = metric.scores[at];
        let (errors, counts) = (metric.errors.get(at), metric.counts.get(at));
        let score = json!({
            "value": value, "interval": interval, "p": p, "best": best, "errors": errors, "verbose_score": counts,
        });
        (metric.kind.name.to_owned(), score)
    });
    json!({ "name": results.systems[at], "scores": scores.collect::<Map<String, Value>>() })
}
