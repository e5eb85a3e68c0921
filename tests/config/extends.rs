//! `extends`: a config on top of another one.

use std::path::PathBuf;

use seqloom::config::Experiment;
use tempfile::TempDir;

use super::{LEAST, refused};

/// A folder with configs.
struct Folder(TempDir);

impl Folder {
    fn of(files: &[(&str, &str)]) -> Folder {
        let folder = Folder(tempfile::tempdir().unwrap());
        for (name, text) in files {
            let path = folder.path(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn load(&self, name: &str, overrides: &[&str]) -> Experiment {
        let overrides: Vec<String> = overrides.iter().map(|one| (*one).to_owned()).collect();
        Experiment::load(&self.path(name), &overrides).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The message of an error, without the path of the folder.
    fn refused(&self, name: &str) -> String {
        let error = Experiment::load(&self.path(name), &[]).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{error}");
        error.to_string().replace(&format!("{}/", self.0.path().display()), "")
    }
}

#[test]
fn the_values_of_a_config_replace_those_of_its_base() {
    let base =
        format!("{LEAST}[training]\nsteps = 5\nlog_every = 2\n[training.adamw]\nbeta1 = 0.5\nbeta2 = 0.6\n");
    let folder = Folder::of(&[
        ("shared/base.toml", &base),
        ("shared/middle.toml", "extends = \"base.toml\"\n[training]\nsteps = 6\n"),
        ("top.toml", "extends = \"shared/middle.toml\"\nname = \"top\"\n[training.adamw]\nbeta2 = 0.7\n"),
        ("sgd.toml", "extends = \"top.toml\"\n[training.sgd]\nmomentum = 0.8\n[data.source.bytes]\n"),
        ("back.toml", "extends = \"sgd.toml\"\n[training.adamw]\n"),
    ]);
    let top = folder.load("top.toml", &[]);
    assert_eq!((top.name.as_str(), top.training.steps, top.training.log_every), ("top", 6, 2));
    let whole = format!("{}[training]\nsteps = 6\nlog_every = 2\n", LEAST.replace("\"a\"", "\"top\""));
    let parse = |more: &str| Experiment::parse(&format!("{whole}{more}"), "a.toml", &[]).unwrap();
    assert_eq!(top, parse("[training.adamw]\nbeta1 = 0.5\nbeta2 = 0.7\n"));
    // Another optimizer and tokenizer.
    let sgd = folder.load("sgd.toml", &[]);
    assert_eq!(sgd, parse("[training.sgd]\nmomentum = 0.8\n[data.source.bytes]\n"));
    // The base is read first: what it has replaced does not come back.
    assert_eq!(folder.load("back.toml", &[]), parse("[training.adamw]\n[data.source.bytes]\n"));
    assert_eq!(folder.load("top.toml", &["training.steps=9"]).training.steps, 9);
    assert!(!top.to_toml().contains("extends"), "a run keeps the whole config");
}

#[test]
fn an_error_names_the_file_with_the_value() {
    let folder = Folder::of(&[
        ("base.toml", &format!("{LEAST}[training]\nsteps = \"many\"\n")),
        ("top.toml", "extends = \"base.toml\"\n"),
        ("rule.toml", "extends = \"good.toml\"\n[model.transformer]\nwidth = 30\n"),
        ("good.toml", &format!("{LEAST}[model.transformer]\nheads = 4\nwidth = 32\n")),
        ("torn.toml", "extends = \"no.toml\"\n"),
        ("no.toml", "name = \n"),
        ("lost.toml", "\nextends = \"nowhere.toml\"\n"),
        ("number.toml", "extends = 5\n"),
        ("one.toml", "extends = \"two.toml\"\n"),
        ("two.toml", "# first\nextends = \"one.toml\"\n"),
    ]);
    for (name, start) in [
        ("top.toml", "error: base.toml:6:9: `steps` must be a whole number, but it is \"many\""),
        ("rule.toml", "error: good.toml:6:9: `heads` must divide `width`"),
        ("torn.toml", "error: no.toml:1:8: this is not TOML"),
        ("lost.toml", "error: lost.toml:2:11: cannot read nowhere.toml: no such file or directory"),
        (
            "number.toml",
            "error: number.toml:1:11: `extends` must be the name of a config in quotes, but it is 5",
        ),
        (
            "one.toml",
            "error: two.toml:2:11: a config must not extend itself, but one.toml extends two.toml extends one.toml",
        ),
    ] {
        let message = folder.refused(name);
        assert!(message.starts_with(start), "{message}\n{start}");
    }
}

#[test]
fn a_text_and_an_override_extend_nothing() {
    let error = refused(&format!("extends = \"b.toml\"\n{LEAST}"), &[]);
    assert!(error.starts_with("error: a.toml:1:1: `extends` must be at the top of a config file"), "{error}");
    let error = refused(LEAST, &["extends=b.toml"]);
    assert!(error.starts_with("error: --set extends=b.toml: `extends` must be at the top"), "{error}");
}
