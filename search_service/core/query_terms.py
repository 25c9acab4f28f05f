"""From a question to the terms worth looking for: function words, particles and verb endings fall away."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from search_service.core.stemming import stem
from search_service.core.terms import HAN, HANGUL, HIRAGANA, KATAKANA, run_pairs, tokens

MAX_QUERY_TERMS: Final = 64
"""Of a longer query the first terms are used: each costs a pass over the index."""

_ENGLISH: Final = frozenset(
    """a about am an and another any are aren as at be been being but by can could couldn d did didn do does doesn
    doing don explain find for from give had happen happens has hasn have haven having he her him his how i if
    in into is isn it its just ll many may me mean means might much must my of on or our please s shall she
    should shouldn show so some such t tell than that the their them then there these they this those to us use
    used using ve was wasn we were weren what when where whether which while who whom whose why will with won
    work works would wouldn you your""".split()  # noqa: SIM905 - words read better as text
)

_KOREAN_WORDS: Final = re.compile(
    r"(무엇|무슨|뭐|뭔|어디|어느|어떤|어떻|어때|언제|누구|누가|왜|얼마|몇|어찌|알려|말해|설명해|가르쳐|찾아|있나|있는가|있습|있어|"
    r"인가|입니|이란|그리고|하지만|그러나|또는|대해|대한$|관해|관한$|위해|위한$|때문).*"
    r"|것|것은|것이|수|등|및|좀|나요|까요|해요|하나요|합니까|됩니까|되나요|주세요|있는|하는|되는|한|할|된|될|해"
)
"""Question and function words, most with any ending."""

_KOREAN_ENDINGS: Final = sorted(
    """으로부터 에서부터 에게서 이라고 이라는 이란 입니까 인가요 일까요 이에요 입니다 인가 이며 이나
    이고 으로는 에서는 에게는 에서의 으로의 으로서 으로써 에서도 으로 에서 에게 께서 한테 부터 까지
    처럼 보다 마다 조차 밖에 라고 라는 란 하고 이랑 랑 하려면 하나요 합니까 합니다 하세요 했나요
    했습니다 할까요 한가요 하는 하면 하기 하고 하여 해야 해서 하지 한다 했다 되나요 됩니까 됩니다
    되는 되면 된다 습니까 습니다 나요 은 는 이 가 을 를 의 에 로 와 과 도 만 야""".split(),  # noqa: SIM905 - words read better as text
    key=len,
    reverse=True,
)
"""Particles, and endings of 하다 and 되다, the longest first."""

_JAPANESE_WORDS: Final = re.compile(
    rf"(?:とは|なに|なん|(?<![{HAN}])何|どこ|いつ|だれ|誰|どれ|どの|どうやって|どう|なぜ|いくら|いくつ|ください|教えて|について|"
    r"です|します|しました|しません|したい|したら|すれば|ます|ました|でした|ません|する|した|して|される|ある|いる|こと|もの|ため|"
    r"から|まで|より)+か?"
)
_CHINESE_WORDS: Final = re.compile(
    r"(?:什么|什麼|甚麼|怎么|怎麼|怎样|怎樣|为什么|為什麼|为何|為何|哪里|哪裡|哪个|哪個|哪些|哪|谁|誰|多少|几个|幾個|如何|是否|"
    r"请问|請問|可以|告诉|告訴)+"
)
_JAPANESE_PARTICLES: Final = frozenset("はがをにへとでのもやかねよて")
_CHINESE_PARTICLES: Final = frozenset("的了是吗嗎呢吧")
_SCRIPT_RUN: Final = re.compile(rf"[{HANGUL}]+|[{HAN}{HIRAGANA}{KATAKANA}]+|[^{HANGUL}{HAN}{HIRAGANA}{KATAKANA}]+")


def query_terms(query: str) -> tuple[str, ...]:
    """The terms to look for, each once, in order; empty where the query has no word.

    Function words count only where nothing else is left ("to be or not to be").
    """
    chosen: dict[str, None] = {}
    spare: dict[str, None] = {}
    for token, is_run in tokens(query):
        if not is_run:
            (spare if token in _ENGLISH else chosen)[stem(token)] = None
            continue
        for part in _SCRIPT_RUN.findall(token):
            wanted = list(_hangul_terms(part) if re.match(rf"[{HANGUL}]", part) else _run_terms(part))
            chosen.update(dict.fromkeys(wanted))
            spare.update(dict.fromkeys(run_pairs(part) if len(part) > 1 else part))
    return tuple(chosen or spare)[:MAX_QUERY_TERMS]


def _hangul_terms(word: str) -> Iterator[str]:
    if _KOREAN_WORDS.fullmatch(word) or word in _KOREAN_ENDINGS:
        return
    root = _korean_root(word)
    if _KOREAN_WORDS.fullmatch(root):
        return
    yield from run_pairs(root) if len(root) > 1 else root
    if len(word) == 2 and len(root) == 1:
        yield word  # 종이 is paper, or the bell with a particle


def _korean_root(word: str) -> str:
    """The word without up to two particles or endings: 서울에서는 gives 서울."""
    for _ in range(2):
        ending = next((e for e in _KOREAN_ENDINGS if len(e) < len(word) and word.endswith(e)), None)
        if ending is None:
            break
        word = word.removesuffix(ending)
        if len(word) < 3:  # what is left is rather a root that happens to end like this: 회의, 바다의
            break
    return word


def _run_terms(run: str) -> Iterator[str]:
    """Pairs of a Chinese, Japanese or other unspaced run that carry its sense."""
    for part in _CHINESE_WORDS.sub(" ", _JAPANESE_WORDS.sub(" ", run)).split():
        if len(part) == 1:
            if part not in _JAPANESE_PARTICLES and part not in _CHINESE_PARTICLES:
                yield part
            continue
        yield from (pair for pair in run_pairs(part) if not _is_grammar(pair))
        yield from _lone_characters(part)


def _is_grammar(pair: str) -> bool:
    """Whether a pair holds a particle: it says more about the sentence than about its subject."""
    return any(c in _JAPANESE_PARTICLES or c in _CHINESE_PARTICLES for c in pair)


_LONE: Final = re.compile(rf"(?<![{HAN}])[{HAN}](?![{HAN}])")


def _lone_characters(part: str) -> list[str]:
    """Words of one Han character between particles: 水の色 gives 水 and 色."""
    marks = "".join(_JAPANESE_PARTICLES | _CHINESE_PARTICLES)
    return [piece for piece in re.split(f"[{marks}]+", part) if len(piece) == 1 and _LONE.fullmatch(piece)]
