#!/usr/bin/env python3
"""Makes data/dates: dates as people write them, English and Chinese, and the same dates as ISO 8601 (2024-03-05).

Every source has one reading, found from its text alone by these rules:

- A number of four digits is a year, and so are the first four of eight. Year first is year, month, day.
- Slashes with the year last are month/day/year, dots with the year last are day.month.year. Dashes with the year
  last are used only with the month's name.
- A year of two digits is 2000 to 2068 for 00 to 68 and 1969 to 1999 for 69 to 99 (the rule of POSIX's strptime).
- A weekday is always the right one, and never needed.
- Upper and lower case mean the same, and so do one space, two, or none after a comma.

A day of the calendar belongs to one split and one row, so what is tested has never been seen in any form.
"""

import random
from collections.abc import Iterable
from datetime import date, timedelta

from pairs import DataError, Pair, below, check_apart, maker_arguments, pick, run, shuffled, split_rows, write_set

SIZES = {"train": 30_000, "valid": 1_000, "test": 1_000}
FIRST_DAY = date(1900, 1, 1)
LAST_DAY = date(2099, 12, 31)
TWO_DIGIT_YEARS = range(1969, 2069)

MONTHS = "January February March April May June July August September October November December".split()
WEEKDAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
ORDINALS = (
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth fifteenth "
    "sixteenth seventeenth eighteenth nineteenth twentieth twenty-first twenty-second twenty-third twenty-fourth "
    "twenty-fifth twenty-sixth twenty-seventh twenty-eighth twenty-ninth thirtieth thirty-first"
).split()
CHINESE_DIGITS = "〇一二三四五六七八九"
CHINESE_WEEKDAYS = "一二三四五六日"

# In a template, `d` is the day and `dd` the day with two digits; so for months (`m`) and years (`yy`).
NUMERIC = """
{year}-{mm}-{dd}
{year}-{m}-{d}
{year}/{mm}/{dd}
{year}/{m}/{d}
{year}.{mm}.{dd}
{year}.{m}.{d}
{year} {mm} {dd}
{year}{mm}{dd}
{mm}/{dd}/{year}
{m}/{d}/{year}
{m}/{d}/{yy}
{dd}.{mm}.{year}
{d}.{m}.{year}
{d}. {m}. {year}
{d}.{m}.{yy}
"""
ENGLISH = """
{d} {month} {year}
{d} {mon} {year}
{dd}-{mon}-{year}
{dd}-{mon}-{yy}
{dd}{mon}{year}
{d} {mon} '{yy}
{month} {d}, {year}
{mon} {d}, {year}
{mon}. {d}, {year}
{mon} {d} {year}
{month} {d}, '{yy}
{month} {th}, {year}
{mon} {th}, {year}
{th} {month} {year}
{th} {mon} {year}
{th} of {month}, {year}
the {th} of {month} {year}
{month} the {th}, {year}
{ordinal} of {month} {year}
{month} {ordinal}, {year}
{weekday}, {month} {d}, {year}
{weekday}, {d} {month} {year}
{weekday}, {month} {th}, {year}
{weekday} the {th} of {month} {year}
{wkd}, {d} {mon} {year}
{wkd} {mon} {dd} {year}
{wkd}, {dd} {mon} {yy}
{wkd} {m}/{d}/{year}
{year} {month} {d}
{year}-{mon}-{dd}
"""
CHINESE = """
{year}年{m}月{d}日
{year}年{mm}月{dd}日
{year}年{m}月{d}号
{year} 年 {m} 月 {d} 日
{year}年{m}月{d}日星期{周}
{year}年{m}月{d}日 周{周}
{year}年{m}月{d}日（星期{周}）
星期{周}，{year}年{m}月{d}日
{yy}年{m}月{d}日
{年}年{月}月{日}日
{年}年{月}月{日}号
{年}年{月}月{日}日星期{周}
{零年}年{月}月{日}日
{两位年}年{月}月{日}日
"""
TEMPLATES = [line for block in (NUMERIC, ENGLISH, CHINESE) for line in block.strip().split("\n")]


def english_ordinal(number: int) -> str:
    """1st, 2nd, 3rd, 4th, 11th."""
    last = 0 if 10 <= number % 100 <= 19 else number % 10
    return str(number) + {1: "st", 2: "nd", 3: "rd"}.get(last, "th")


def chinese_number(number: int) -> str:
    """A number from 1 to 99 in Chinese: 五, 十, 十二, 二十, 三十一."""
    tens, ones = divmod(number, 10)
    ten = {0: "", 1: "十"}.get(tens, f"{CHINESE_DIGITS[tens]}十")
    return ten + (CHINESE_DIGITS[ones] if ones else "")


def chinese_digits(digits: str) -> str:
    """Digit by digit: 2024 is 二〇二四."""
    return "".join(CHINESE_DIGITS[int(digit)] for digit in digits)


def fields(day: date) -> dict[str, str]:
    """Every piece that a template can name, for this day."""
    year, month, weekday = f"{day.year:04}", MONTHS[day.month - 1], WEEKDAYS[day.weekday()]
    return {
        "year": year, "yy": year[2:],
        "m": str(day.month), "mm": f"{day.month:02}", "month": month, "mon": month[:3],
        "d": str(day.day), "dd": f"{day.day:02}", "th": english_ordinal(day.day), "ordinal": ORDINALS[day.day - 1],
        "weekday": weekday, "wkd": weekday[:3], "周": CHINESE_WEEKDAYS[day.weekday()],
        "年": chinese_digits(year), "零年": chinese_digits(year).replace("〇", "零"),
        "两位年": chinese_digits(year[2:]),
        "月": chinese_number(day.month), "日": chinese_number(day.day),
    }  # fmt: skip


def can_write(template: str, day: date) -> bool:
    """Whether the template's year can be this day's year."""
    has_two_digits = "{yy}" in template or "{两位年}" in template
    return day.year in TWO_DIGIT_YEARS or not has_two_digits


def change_case(generator: random.Random, text: str) -> str:
    """Three of five stay as they are, one is lower-case, one is upper-case."""
    return pick(generator, [text, text, text, text.lower(), text.upper()])


def change_spacing(generator: random.Random, text: str) -> str:
    """In one of ten, commas lose their space; in one of ten, a space is doubled."""
    choice = below(generator, 10)
    if choice == 0:
        return text.replace(", ", ",")
    words = text.split(" ")
    if choice == 1 and len(words) > 1:
        gap = below(generator, len(words) - 1)
        words[gap] += " "
    return " ".join(words)


def write_day(generator: random.Random, day: date) -> Pair:
    """The day in a random format, and in ISO 8601."""
    template = pick(generator, [template for template in TEMPLATES if can_write(template, day)])
    source = change_spacing(generator, change_case(generator, template.format(**fields(day))))
    return source, day.isoformat()


def every_day() -> list[date]:
    """All days from the first to the last."""
    return [FIRST_DAY + timedelta(days=number) for number in range((LAST_DAY - FIRST_DAY).days + 1)]


def plain(source: str) -> str:
    """The text without what must not matter: case, doubled spaces, the space after a comma."""
    return " ".join(source.lower().replace(",", ", ").split())


def prove_unambiguous(days: Iterable[date]) -> None:
    """Writes each day in each format and checks that no text means two days."""
    meaning: dict[str, date] = {}
    for day in days:
        pieces = fields(day)
        for template in (template for template in TEMPLATES if can_write(template, day)):
            source = plain(template.format(**pieces))
            if meaning.setdefault(source, day) != day:
                raise DataError(f"{source!r} is both {meaning[source]} and {day}")
    print(f"{len(TEMPLATES)} formats, {len(meaning)} texts, each with one reading")


def main() -> None:
    """Draws the days, writes each in some format, cuts them into splits, writes them."""
    parser = maker_arguments(__doc__.splitlines()[0], "dates", SIZES)
    parser.add_argument(
        "--prove", action="store_true", help="only check that no text has two readings (all days in all formats, 1 GB)"
    )
    options = parser.parse_args()
    if options.prove:
        prove_unambiguous(every_day())
        return
    generator = random.Random(options.seed)
    sizes = {name: getattr(options, name) for name in SIZES}
    days = split_rows(shuffled(generator, every_day()), sizes)
    pairs = {name: [write_day(generator, day) for day in part] for name, part in days.items()}
    check_apart(pairs)
    write_set(options.out, pairs)


if __name__ == "__main__":
    run(main)
