use seqloom::Predictor;

fn main() -> Result<(), seqloom::error::Error> {
    let mut arguments = std::env::args().skip(1);
    let predictor = Predictor::open(arguments.next().expect("the first argument is a run"))?;
    let texts: Vec<String> = arguments.collect();
    for (text, output) in texts.iter().zip(predictor.outputs(&texts)?) {
        println!("{text} -> {}, {} unknown", output.text, output.unknown);
    }
    Ok(())
}
