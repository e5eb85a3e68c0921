"""The recipes of scripts/recipe.py: which config on which public sets, and what is published for them.

A number is here only if it is of the same test set, by the same count. This module runs nothing. docs/recipes.md says
what the sets are.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Metric:
    """A column in percent: its heading, the metric of seqloom, and whether it shows what that lacks to 100 %."""

    heading: str
    name: str
    complement: bool = False

    def percent(self, share: float) -> float:
        """The number in the column."""
        return 100 * (1 - share if self.complement else share)


# Edits over the symbols of the references are an error rate; a word is wrong or right. Papers on spelling and phones
# call the share of wrong words a word error rate, which of speech is another number.
WORDS_WRONG = Metric("words wrong %", "exact_match", complement=True)
PHONE_ERRORS = Metric("phone error rate %", "word_error_rate")
WORD_ERRORS = Metric("word error rate %", "word_error_rate")
EXACT = Metric("exact match %", "exact_match")
CHARACTER_ERRORS = Metric("character error rate %", "character_error_rate")
BLEU = Metric("BLEU", "bleu")
BLEU_TOKENIZED = Metric("BLEU (tokenized)", "bleu_none")
CHRF = Metric("chrF", "chrf")


@dataclass(frozen=True)
class Recipe:
    """What is trained on what.

    `get` is the script in data/ and its arguments; `{sets}` stands for the folders. Each of the `folders`, below data/,
    is a set: `train.csv`, the file `valid` (None: the config holds a share out), and the files `tests`, without `.csv`.
    `published` has for a column the value of each set, and as `mean` that over all sets; `source` is who published it.
    """

    about: str
    config: str
    get: str
    folders: tuple[str, ...]
    metrics: tuple[Metric, ...]
    valid: str | None = "valid"
    tests: tuple[str, ...] = ("test",)
    published: dict[Metric, dict[str, float]] = field(default_factory=dict)
    source: str = "none that is comparable"

    def sets(self) -> dict[str, str]:
        """The folder of each set, by its name."""
        return {folder.rpartition("/")[2]: folder for folder in self.folders}


def folders(parent: str, names: str) -> tuple[str, ...]:
    """Folders below one."""
    return tuple(f"{parent}{name}" for name in names.split())


def g2p2021(size: str, about: str, published: dict[str, float]) -> Recipe:
    """A part of SIGMORPHON 2021, whose folders are named after its size and a language."""
    mean = {name: value for name, value in published.items() if name == "mean"}
    by_set = {f"{size}_{name}": value for name, value in published.items() if name != "mean"}
    return Recipe(
        about=about,
        config=f"g2p2021_{size}",
        get="get_sigmorphon.py {sets}",
        folders=folders("g2p2021/", " ".join(by_set)),
        metrics=(WORDS_WRONG, PHONE_ERRORS),
        published={WORDS_WRONG: by_set | mean},
        source="the task's baseline, an ensemble of ten transition systems (github.com/sigmorphon/2021-task1)",
    )


def captions(config: str, folder: str, about: str, bleu: Metric = BLEU) -> Recipe:
    """A direction or a form of Multi30k."""
    return Recipe(
        about=f"{about} (Multi30k)",
        config=config,
        get="get_multi30k.py {sets}",
        folders=(folder,),
        tests=("test_2016",),
        metrics=(bleu, CHRF),
    )


RECIPES = {
    "g2p2020": Recipe(
        about="words to phones, 15 languages of 3,600 words (SIGMORPHON 2020)",
        config="g2p2020",
        get="get_sigmorphon.py {sets}",
        folders=folders("g2p2020/", "ady arm bul dut fre geo gre hin hun ice jpn kor lit rum vie"),
        metrics=(WORDS_WRONG, PHONE_ERRORS),
        published={
            WORDS_WRONG: {
                "ady": 28.44, "arm": 14.22, "bul": 34.00, "dut": 15.78, "fre": 6.89, "geo": 28.00, "gre": 18.89,
                "hin": 9.56, "hun": 5.33, "ice": 10.22, "jpn": 7.33, "kor": 43.78, "lit": 20.67, "rum": 12.00,
                "vie": 7.56, "mean": 17.51,
            },
            PHONE_ERRORS: {"mean": 4.30},
        },
        source=(
            "a Transformer, tuned for each language (Gorman et al. 2020, tables 2 to 4); means of 15 of words wrong: "
            "16.34 single models of the best kind (Makarov and Clematide 2020), 13.81 the best ensemble (Yu et al. 2020)"
        ),
    ),
    "g2p2021_low": g2p2021(
        "low", "words to phones, ten languages of 800 words (SIGMORPHON 2021)",
        {"ady": 22.0, "gre": 21.0, "ice": 12.0, "ita": 19.0, "khm": 34.0, "lav": 55.0, "mlt_latn": 19.0, "rum": 10.0,
         "slv": 49.0, "wel_sw": 10.0, "mean": 25.10},
    ),
    "g2p2021_medium": g2p2021(
        "medium", "words to phones, ten languages of 8,000 words (SIGMORPHON 2021)",
        {"arm_e": 7.0, "bul": 18.3, "dut": 14.7, "fre": 8.5, "geo": 0.0, "hbs_latn": 32.1, "hun": 1.8, "jpn_hira": 5.2,
         "kor": 16.3, "vie_hanoi": 2.5, "mean": 10.64},
    ),
    "g2p2021_high": g2p2021("high", "words to phones, English, 33,344 words (SIGMORPHON 2021)", {"eng_us": 41.94}),
    "cmudict": Recipe(
        about="English words to phones, 104,167 words (CMUdict)",
        config="cmudict",
        get="get_cmudict.py",
        folders=("cmudict",),
        valid="valid_multiref",
        metrics=(WORDS_WRONG, PHONE_ERRORS),
        published={WORDS_WRONG: {"cmudict": 20.87}, PHONE_ERRORS: {"cmudict": 4.59}},
        source="a Transformer (github.com/OlivierDehaene/GPA4.0)",
    ),
    "inflection2023": Recipe(
        about="lemma and tags to the inflected form, 27 languages (SIGMORPHON 2023)",
        config="inflection",
        get="get_inflection.py {sets}",
        folders=folders(
            "inflection2023/",
            "afb amh arz bel dan deu eng fin fra grc heb heb_unvoc hun hye ita jap kat klr mkd nav rus san sme spa sqi "
            "swa tur",
        ),
        metrics=(EXACT, CHARACTER_ERRORS),
    ),
    "scan": Recipe(
        about="commands to actions, three splits (SCAN)",
        config="scan",
        get="get_scan.py {sets}",
        folders=folders("scan/", "simple length addprim_jump"),
        valid=None,
        metrics=(EXACT,),
        published={EXACT: {"simple": 99.8, "length": 20.8, "addprim_jump": 1.2}},
        source="the best recurrent network for each split (Lake and Baroni 2018)",
    ),
    "histnorm": Recipe(
        about="old German spelling to modern spelling (RIDGES)",
        config="histnorm",
        get="get_histnorm.py",
        folders=("histnorm",),
        metrics=(EXACT, CHARACTER_ERRORS),
        published={EXACT: {"histnorm": 84.24}},
        source="a network trained on 25,000 of the 41,868 words (Bollmann 2019, table 6: NMT-2)",
    ),
    "tatoeba_zh": Recipe(
        about="English to Chinese sentences (Tatoeba; you download the file)",
        config="tatoeba_zh",
        get="get_tatoeba.py",
        folders=("tatoeba_en_cmn",),
        metrics=(Metric("BLEU (zh)", "bleu_zh"), CHRF),
    ),
    "multi30k": captions("multi30k", "multi30k", "English to German captions"),
    "multi30k_de_en": captions("multi30k_de_en", "multi30k", "German to English captions"),
    "multi30k_tokenized": replace(
        captions(
            "multi30k_tokenized", "multi30k_tokenized_lowercase",
            "English to German captions, tokenized and in lower case", BLEU_TOKENIZED,
        ),
        published={BLEU_TOKENIZED: {"multi30k_tokenized_lowercase": 41.02}},
        source='Transformer-tiny (Wu et al. 2021, "Good for Misconceived Reasons")',
    ),
    "fsdd": Recipe(
        about="spoken English digits; `test_lucas` is a speaker that nobody trained on (FSDD)",
        config="fsdd",
        get="get_fsdd.py",
        folders=("fsdd",),
        tests=("test", "test_lucas"),
        metrics=(WORD_ERRORS,),
    ),
    "dspspeech": Recipe(
        about="spoken Mandarin words of speakers that nobody trained on (DSPSpeech-20)",
        config="dspspeech",
        get="get_dspspeech.py",
        folders=("dspspeech",),
        metrics=(CHARACTER_ERRORS, WORDS_WRONG),
    ),
}
