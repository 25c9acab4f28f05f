"""What fills the slots of fact templates: names, numbers, dates and the like, drawn anew for each thing."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from models.builtin.training import words

FIRST_NAMES: Final = words.listed("first_names")
SURNAMES: Final = words.listed("surnames")
CITIES: Final = words.listed("cities")
COUNTRIES: Final = words.listed("countries")
RIVERS: Final = words.listed("rivers")
MONTHS: Final = words.listed("months")
WEEKDAYS: Final = words.listed("weekdays")
NUMBER_WORDS: Final = words.listed("numbers")
_ONSETS: Final = words.listed("onsets")
_VOWELS: Final = words.listed("vowels")
_MIDDLES: Final = words.listed("middles")
_ENDINGS: Final = words.listed("endings")
_PARTS_OF_ORGANISATIONS: Final = words.listed("parts_of_organisations")
_SYLLABLES: Final = 3


def invented(draw: random.Random) -> str:
    """A proper name that nothing bears, such as Velmora."""
    parts = [draw.choice(_ONSETS)]
    for _ in range(draw.randrange(1, _SYLLABLES)):
        parts += [draw.choice(_VOWELS), draw.choice(_MIDDLES)]
    return "".join([*parts, draw.choice(_VOWELS[:5]), draw.choice(_ENDINGS)])


def _person(draw: random.Random) -> str:
    surname = invented(draw) if draw.random() < 0.3 else draw.choice(SURNAMES)
    return f"{draw.choice(FIRST_NAMES)} {surname}"


def _clock(draw: random.Random) -> str:
    hour, minute = draw.randrange(1, 13), draw.choice(("00", "15", "30", "45"))
    styles = (f"{hour}:{minute} {draw.choice(('am', 'pm'))}", f"{hour + 11}:{minute}", f"{hour} {draw.choice('ap')}m")
    return draw.choice(styles)


def _price(draw: random.Random) -> str:
    amount = draw.choice((f"{draw.randrange(2, 900)}", f"{draw.randrange(1, 200)}.{draw.choice(('50', '90', '99'))}"))
    return draw.choice((f"€{amount}", f"${amount}", f"£{amount}", f"{amount} euros", f"{amount} dollars"))


def _percent(draw: random.Random) -> str:
    return f"{draw.randrange(2, 98)}{draw.choice(('%', ' percent', ' per cent'))}"


def _code(draw: random.Random) -> str:
    letters = "".join(draw.choice("ABCDEFGHKLMNPRSTVXZ") for _ in range(draw.randrange(1, 4)))
    return f"{letters}{draw.choice(('-', '', ' '))}{draw.randrange(2, 9900)}"


def _url(draw: random.Random) -> str:
    domain = f"{invented(draw).lower()}.example.{draw.choice(('com', 'org', 'net'))}"
    return f"https://{domain}/{draw.choice(('info', 'help', 'buy'))}"


def _date(draw: random.Random) -> str:
    day, month, year = draw.randrange(1, 29), draw.choice(MONTHS), draw.randrange(1700, 2027)
    return draw.choice((f"{day} {month} {year}", f"{month} {day}, {year}"))


_BUILT_IN: Final[Mapping[str, Callable[[random.Random], str]]] = {
    "person": _person,
    "surname": lambda draw: draw.choice(SURNAMES),
    "firstname": lambda draw: draw.choice(FIRST_NAMES),
    "city": lambda draw: invented(draw) if draw.random() < 0.3 else draw.choice(CITIES),
    "country": lambda draw: draw.choice(COUNTRIES),
    "river": lambda draw: draw.choice(RIVERS),
    "year": lambda draw: str(draw.randrange(1700, 2027)),
    "recent_year": lambda draw: str(draw.randrange(2015, 2027)),
    "date": _date,
    "day": lambda draw: f"{draw.randrange(1, 29)} {draw.choice(MONTHS)}",
    "month": lambda draw: draw.choice(MONTHS),
    "weekday": lambda draw: draw.choice(WEEKDAYS),
    "clock": _clock,
    "price": _price,
    "percent": _percent,
    "invented": invented,
    "org": lambda draw: f"{invented(draw)} {draw.choice(_PARTS_OF_ORGANISATIONS)}",
    "street": lambda draw: f"{invented(draw)} {draw.choice(('Street', 'Road', 'Lane', 'Avenue'))}",
    "url": _url,
    "code": _code,
}


class UnknownSlot(ValueError):
    """A template has a slot that neither its file nor the program knows."""


class Filling:
    """The values of one thing's slots: the same slot is filled the same way wherever it stands."""

    def __init__(self, draw: random.Random, lists: Mapping[str, Sequence[str]]) -> None:
        self._draw = draw
        self._lists = lists
        self._values: dict[str, str] = {}

    def value(self, slot: str) -> str:
        """The value of a slot such as `city`, `city.birth` or `n.rooms:2-90`. Raises UnknownSlot."""
        if slot not in self._values:
            self._values[slot] = self._make(slot)
        return self._values[slot]

    def _make(self, slot: str) -> str:
        head, _, bounds = slot.partition(":")
        name = head.partition(".")[0]
        if name in self._lists:
            return self._draw.choice(self._lists[name])
        if name in ("n", "words") and "-" in bounds:
            low, high = (int(bound) for bound in bounds.split("-"))
            number = self._draw.randint(low, high)
            return NUMBER_WORDS[min(number, len(NUMBER_WORDS) - 1)] if name == "words" else self._grouped(number)
        if name in _BUILT_IN:
            return _BUILT_IN[name](self._draw)
        raise UnknownSlot(f"{{{slot}}} is neither a list of the file nor built in")

    def _grouped(self, number: int) -> str:
        """Thousands apart as the web writes them."""
        return self._draw.choice((f"{number:,}", str(number))) if number > 2100 else str(number)
