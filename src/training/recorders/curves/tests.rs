//! Pictures of made-up metrics, read back by an XML parser.

use std::fmt::Write as _;

use super::{Axis, MOST_POINTS, draw, svg};
use crate::svg::plot::across;

const HEADER: &str = "step,epoch,kind,learning_rate,loss,nll,perplexity,gradient_norm,target_tokens,token_accuracy,exact_match,character_error_rate,word_error_rate,unfinished\n";

/// A header and three rows as a run writes them.
fn short_run() -> String {
    let rows = "50,1,train,2.5e-4,3.5,3.1,22.2,4.5,51200,,,,,\n\
                100,2,train,5e-4,2.5,2.1,8.17,2.5,51200,,,,,\n\
                100,2,valid,,,1.9,6.69,,,0.61,0.12,0.9,,3\n";
    HEADER.to_owned() + rows
}

/// The `d` of each curve, by its name. Checks that the picture is complete and that everything lies on the page.
#[track_caller]
fn curves(picture: &str) -> Vec<(String, String)> {
    let document = roxmltree::Document::parse(picture).unwrap();
    let root = document.root_element();
    assert_eq!(
        (root.tag_name().name(), root.tag_name().namespace()),
        ("svg", Some("http://www.w3.org/2000/svg"))
    );
    assert!(
        !picture.contains("NaN") && !picture.contains("inf") && !picture.contains("<script"),
        "{picture}"
    );
    let named = |node: roxmltree::Node| {
        let name = node.children().find(|child| child.has_tag_name(("http://www.w3.org/2000/svg", "title")));
        (name.unwrap().text().unwrap().to_owned(), node.attribute("d").unwrap().to_owned())
    };
    document.descendants().filter(|node| node.attribute("class") == Some("curve")).map(named).collect()
}

fn names(picture: &str) -> Vec<String> {
    curves(picture).into_iter().map(|(name, _)| name).collect()
}

const ALL: [&str; 10] = [
    "training loss",
    "training nll",
    "validation nll",
    "training perplexity",
    "validation perplexity",
    "token accuracy",
    "exact match",
    "character error rate",
    "learning rate",
    "before clipping",
];

#[test]
fn a_run_has_a_curve_for_each_metric() {
    let picture = svg("dates", &short_run());
    assert_eq!(names(&picture), ALL);
    for text in [
        "Loss per token",
        "Perplexity",
        "Validation, %",
        "Validation error rates, %",
        "Learning rate",
        "Gradient norm",
        "updates",
        "update 100, epoch 2",
    ] {
        assert!(picture.contains(&format!(">{text}</text>")), "{text}");
    }
    // The legend has the last value of each.
    for text in [
        "training nll 2.100",
        "validation nll 1.900",
        "validation perplexity 6.690",
        "exact match 12.00 %",
        "learning rate 5.000e-4",
    ] {
        assert!(picture.contains(&format!(">{text}</text>")), "{text}: {picture}");
    }
}

#[test]
fn a_curve_goes_through_its_points() {
    let found = curves(&svg("dates", &short_run()));
    // Steps 50 and 100 of 100 lie in the middle and at the right edge; 5e-4 is 5/6 of 6e-4, the axis's end.
    assert_eq!(found[8].1, "M466.0 1024.3L866.0 982.7");
    // 61 % of a plot that is 170 high and begins at 546.
    assert_eq!(found[5].1, "M866.0 612.3");
}

#[test]
fn columns_are_found_by_name_and_unknown_ones_are_ignored() {
    let picture = svg("a", "kind,new,step,nll,newer\ntrain,x,1,2.0,\nvalid,y,2,1.0,9\ntrain,x,3,1.5,7\n");
    assert_eq!(names(&picture), ["training nll", "validation nll"]);
}

#[test]
fn the_picture_of_a_run_without_metrics_has_a_note() {
    for (metrics, panels) in [
        ("", 5),
        ("\n", 5),
        (HEADER, 6),
        (HEADER.trim_end(), 5),
        ("no,such,columns\n1,2,3\n", 5),
        ("\u{fffd}\u{0}\n,,\n", 5),
    ] {
        let picture = svg("a", metrics);
        assert_eq!(names(&picture), [""; 0], "{metrics:?}");
        assert_eq!(picture.matches("no values yet").count(), panels, "{metrics:?}");
    }
}

#[test]
fn one_row_is_a_dot() {
    let picture = svg("a", &(HEADER.to_owned() + "5,0,train,1e-4,3.5,3.1,22.2,4.5,51200,,,,,\n"));
    let with_a_value =
        ["training loss", "training nll", "training perplexity", "learning rate", "before clipping"];
    assert_eq!(names(&picture), with_a_value);
    assert_eq!(picture.matches("h0\"").count(), 5);
}

#[test]
fn nan_is_omitted_from_a_curve() {
    let rows = "10,0,train,NaN,inf,1e999,-inf,nan,1,,,,,\n\
                10,0,valid,,,0,,,,x,-,1e400,,\n\
                nan,0,train,1,1,1,1,1,1,,,,,\n\
                -5,0,train,1,1,1,1,1,1,,,,,\n\
                20,0,train,-1,-2.0,0,,0,1,,,,,\n";
    assert_eq!(names(&svg("a", &(HEADER.to_owned() + rows))), ["learning rate"]);
    let extremes = "18446744073709551615,0,train,1.7e308,5e-324,1.7e308,,2.3e-308,1,,,,,\n";
    curves(&svg("a", &(HEADER.to_owned() + extremes)));
}

#[test]
fn an_incomplete_row_is_ignored() {
    let whole = short_run();
    for (end, _) in whole.char_indices() {
        let found = names(&svg("a", &whole[..end]));
        assert!(found.iter().all(|name| ALL.contains(&name.as_str())));
    }
    // Cut within a number, the row would have another number.
    let cut = whole.clone() + "150,3,train,5e-4,2.25,1.8,6.0,2.5,5";
    assert_eq!(svg("a", &cut), svg("a", &whole));
}

/// Validations with these character error rates, 10 updates apart.
fn of_error_rates(rates: &[&str]) -> String {
    let row = |(n, rate): (usize, &&str)| format!("{},0,valid,,,1.0,2.7,,,0.1,0.0,{rate},,0\n", 10 * (n + 1));
    HEADER.to_owned() + &rates.iter().enumerate().map(row).collect::<String>()
}

/// The heights of the curve of error rates: 0 at the lower edge of its panel, 1 at the upper one.
#[track_caller]
fn heights(picture: &str) -> Vec<f64> {
    let line = curves(picture).into_iter().find(|(name, _)| name == "character error rate").unwrap().1;
    let y = |point: &str| point.rsplit(' ').next().unwrap().parse::<f64>().unwrap();
    line.trim_start_matches('M').split('L').map(|point| (926.0 - y(point)) / 170.0).collect()
}

#[test]
fn error_rates_have_a_separate_panel_with_a_logarithmic_axis() {
    let picture = svg("a", &of_error_rates(&["0.8", "0.4", "0.2", "0.1"]));
    let found = heights(&picture);
    let steps: Vec<f64> = found.windows(2).map(|two| two[0] - two[1]).collect();
    assert!(steps.iter().all(|step| *step > 0.25 && (step - steps[0]).abs() < 0.002), "{found:?}");
    assert!(picture.contains(">Validation error rates, %<"));
    for tick in ["10", "20", "50"] {
        assert!(picture.contains(&format!(">{tick}</text>")), "{tick}");
    }
    let without = HEADER.replace("character_error_rate,word_error_rate", "other,another");
    assert!(!svg("a", &without).contains("error rates"));
}

#[test]
fn the_curve_of_any_error_rates_is_inside_its_panel() {
    for rates in [&["0.5"][..], &["0.5", "0.5", "0.5"], &["3.5", "1.2"], &["1e-12", "1"], &["0.3", "", "0.2"]]
    {
        let picture = svg("a", &of_error_rates(rates));
        let found = heights(&picture);
        assert_eq!(found.len(), rates.iter().filter(|rate| !rate.is_empty()).count());
        assert!(found.iter().all(|height| (0.01..0.99).contains(height)), "{rates:?}: {found:?}");
        assert!(!picture.contains("lower edge"));
    }
}

#[test]
fn a_rate_of_zero_is_at_the_lower_edge_and_the_heading_states_it() {
    for (rates, zeros) in [(&["0.5", "0.1", "0", "0.0"][..], 2), (&["0", "0"], 2)] {
        let picture = svg("a", &of_error_rates(rates));
        let found = heights(&picture);
        assert_eq!(found.len(), rates.len());
        assert!(found[rates.len() - zeros..].iter().all(|height| *height == 0.0), "{found:?}");
        assert!(found[..rates.len() - zeros].iter().all(|height| *height > 0.01), "{found:?}");
        assert!(picture.contains(">Validation error rates, % (0 at the lower edge)<"));
        assert!(picture.contains(">character error rate 0.00 %<"));
    }
}

#[test]
fn the_word_error_rate_is_drawn_if_targets_are_words() {
    let picture = svg("a", &(HEADER.to_owned() + "1,0,valid,,,1.0,2.7,,,0.1,0.0,0.5,0.25,0\n"));
    assert!(picture.contains("word error rate 25.00 %") && !picture.contains("character error rate"));
}

#[test]
fn a_long_run_is_thinned_and_keeps_its_ends() {
    let mut metrics = HEADER.to_owned();
    for step in 1..=12_345 {
        writeln!(metrics, "{step},0,train,1e-3,{0},{0},,1.5,9,,,,,", 10.0 / f64::from(step)).unwrap();
    }
    let picture = svg("a", &metrics);
    let line = &curves(&picture)[0].1;
    assert_eq!(line.matches(['M', 'L']).count(), MOST_POINTS);
    let steps = Axis::exact(0.0, 12_345.0, 9);
    assert!(line.starts_with(&format!("M{:.1} ", across(&steps, 1.0))), "{}", &line[..20]);
    assert!(line.rsplit('L').next().unwrap().starts_with("866.0 "));
    assert!(picture.len() < 100_000, "{}", picture.len());
}

#[test]
fn any_name_of_a_run_can_be_written() {
    let picture = svg("a<b>&\"c\"\u{1}\u{ffff}機", HEADER);
    let document = roxmltree::Document::parse(&picture).unwrap();
    assert_eq!(
        document.root_element().first_element_child().unwrap().text(),
        Some("a<b>&\"c\"\u{fffd}\u{fffd}機")
    );
}

#[test]
fn the_picture_is_written_to_a_temporary_file_and_renamed() {
    let folder = tempfile::tempdir().unwrap();
    let missing = draw(folder.path()).unwrap_err();
    assert!(missing.message().contains("metrics.csv"), "{missing}");
    for metrics in [HEADER.to_owned(), short_run()] {
        std::fs::write(folder.path().join("metrics.csv"), &metrics).unwrap();
        draw(folder.path()).unwrap();
        let title = folder.path().file_name().unwrap().to_str().unwrap();
        assert_eq!(std::fs::read_to_string(folder.path().join("curves.svg")).unwrap(), svg(title, &metrics));
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
}
