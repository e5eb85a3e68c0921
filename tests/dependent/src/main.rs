use seqloom::Decoder;

fn main() -> Result<(), seqloom::error::Error> {
    let mut arguments = std::env::args().skip(1);
    let decoder = Decoder::open(arguments.next().expect("the first argument is a run"))?;
    let texts: Vec<String> = arguments.collect();
    for (text, output) in texts.iter().zip(decoder.outputs(&texts)?) {
        println!("{text} -> {}, {} unknown", output.text, output.unknown);
    }
    Ok(())
}
