//! The result of a source does not depend on the rest of the batch or its order.

use super::*;

/// 56 requests of all lengths, some with a prefix.
fn all_requests() -> Vec<DecodeRequest> {
    let request = |(n, source): (usize, [i64; 1])| DecodeRequest {
        prefix: begins_with([&[][..], &[4], &[], &[5, 5, UNK]][n % 4]),
        ..DecodeRequest::new(&source, 1 + n * 5 % 12)
    };
    sources(56).into_iter().enumerate().map(request).collect()
}

/// Decodes the requests in this order; the result is in the order of [`all_requests`].
fn decode(
    decoder: &Scripted,
    order: &[usize],
    config: &DecodingConfig,
    batching: Batching,
) -> Vec<Vec<Hypothesis>> {
    let requests = all_requests();
    let mut all = vec![None; requests.len()];
    let queue = order.iter().map(|&n| &requests[n]);
    generate(decoder, queue, &options(config), batching, |number, list| {
        assert!(all[order[number]].replace(list).is_none(), "a request ends once");
        Ok(())
    })
    .unwrap();
    all.into_iter().map(Option::unwrap).collect()
}

#[test]
fn outputs_do_not_depend_on_the_batch_the_order_and_refilling() {
    let forwards: Vec<usize> = (0..56).collect();
    let shuffled: Vec<usize> = (0..56).map(|n| n * 23 % 56).collect();
    for config in all_kinds() {
        let alone =
            decode(&Scripted::new(random_looking), &forwards, &config, Batching { size: 1, refill: None });
        for size in [1, 2, 7, 64] {
            for refill in [None, Some(1), Some(3)] {
                for order in [&forwards, &shuffled] {
                    let decoder = Scripted { joins: refill.is_some(), ..Scripted::new(random_looking) };
                    let together = decode(&decoder, order, &config, Batching { size, refill });
                    assert_eq!(together, alone, "{size} {refill:?} {config:?}");
                    assert_eq!(decoder.most_sources.get(), size.min(56));
                    let mixes = refill.is_some_and(|least| least < size && size < 56);
                    assert_eq!(decoder.mixed.get(), mixes, "{size} {refill:?}");
                }
            }
        }
    }
}

#[test]
fn refilling_saves_steps() {
    let order: Vec<usize> = (0..56).collect();
    let steps = |refill| {
        let decoder = Scripted { joins: true, ..Scripted::new(random_looking) };
        decode(&decoder, &order, &DecodingConfig::default(), Batching { size: 8, refill });
        decoder.steps.get()
    };
    let (never, rarely, always) = (steps(None), steps(Some(4)), steps(Some(1)));
    assert!(always < rarely && rarely < never, "{always} {rarely} {never}");
}

#[test]
fn no_request_takes_no_step_and_an_error_of_the_receiver_ends_the_search() {
    let (decoder, config) = (Scripted::new(random_looking), DecodingConfig::default());
    assert!(found_by(&decoder, &[], &config).is_empty());
    assert_eq!(decoder.steps.get(), 0);
    let mut received = 0;
    let ended = generate(
        &decoder,
        all_requests().iter(),
        &options(&config),
        Batching { size: 1, refill: None },
        |_, _| {
            received += 1;
            Err(crate::error::Error::failure("enough"))
        },
    );
    assert_eq!((ended.unwrap_err().message(), received), ("enough", 1));
}

#[test]
fn the_simple_function_returns_the_best_of_each_source_in_order() {
    let config =
        DecodingConfig { beam: 4, n_best: 2, batch_size: 3, max_length: Some(9), ..Default::default() };
    let sources: Vec<Vec<i64>> = (0..9).map(|n| vec![4 + n % 5; 1 + (n as usize * 4) % 7]).collect();
    let rows: Vec<&[i64]> = sources.iter().map(Vec::as_slice).collect();
    for joins in [false, true] {
        let decoder = Scripted { joins, ..Scripted::new(random_looking) };
        let best = crate::decoding::parallel::decode(&decoder, &rows, &config).unwrap();
        for (row, best) in rows.iter().zip(best) {
            let request = request(*row, None, &options(&config));
            let alone =
                decode_n_best(&Scripted::new(random_looking), &[&request], &options(&config)).unwrap();
            assert_eq!(best, alone[0][0]);
        }
    }
    let banned = DecodingConfig { banned: vec!["4".into()], ..config };
    let refused =
        crate::decoding::parallel::decode(&Scripted::new(random_looking), &rows, &banned).unwrap_err();
    assert!(refused.message().contains("only the target's tokenizer"), "{refused}");
}
