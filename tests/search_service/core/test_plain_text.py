from __future__ import annotations

import re
import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_service.core.plain_text import MAX_RAW_CHARACTERS, one_line, plain_text


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("plain", "plain"),
        ("The <strong>quick</strong> fox", "The quick fox"),
        ("<p>One</p><p>Two<br/>Three</p>", "One Two Three"),
        ("it&#x27;s &amp; it&#39;s &quot;so&quot;", "it's & it's \"so\""),
        ("it&amp;#39;s AT&amp;amp;T", "it's AT&T"),
        ("use &lt;b&gt; for bold", "use <b> for bold"),
        ("List<String> and a < b, c > d", "List<String> and a < b, c > d"),
        ("if a<b and c>d: vector<int> x", "if a<b and c>d: vector<int> x"),
        ("i<p && p>q, a <b", "i<p && p>q, a <b"),
        ("<a title='x > y' class=big\n data-n=\"1\">link</a>", "link"),
        ("<input disabled><option selected value=1 />choice", "choice"),
        ("<script async src='x'>code</SCRIPT>text <!-- not closed", "text <!-- not closed"),
        ("<style>a</style><script>b <!-- c</script>d --> e", "d --> e"),
        ("?a=1&copy=2 &unknown; &amp", "?a=1&copy=2 &unknown; &amp"),
        ("<script>alert('x')</script>after<!-- hidden -->wards", "after wards"),
        ("<style>p{}</style >text", "text"),
        ("line\r\nbreaks\t and\u00a0\u3000wide\u2028spaces", "line breaks and wide spaces"),
        ("nul\x00 bell\x07 esc\x1b[31m", "nul bell esc[31m"),
        ("safe\u202eexe.txt\u202c \u2066iso\u2069 \u200emark\u200f", "safeexe.txt iso mark"),
        ("soft\u00adhyphen zero\u200bwidth \ufeffbom", "softhyphen zerowidth bom"),
        ("hid\U000e0041\U000e0042den", "hidden"),
        ("lone \ud800surrogate\udfff", "lone surrogate"),
        ("pass\u200dword \u200d end\u200c", "password end"),
        ("👨\u200d👩\u200d👧 🏳\ufe0f\u200d🌈", "👨\u200d👩\u200d👧 🏳\ufe0f\u200d🌈"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("می\u200c\u200d\u200cخواهم", "می\u200cخواهم"),
        ("क्\u200dष", "क्\u200dष"),
        ("&#0;&#xD800;&#x202E;x", "x"),
        ("한국어 검색 日本語 中文", "한국어 검색 日本語 中文"),
        ("", ""),
        ("&nbsp; <b></b>", ""),
    ],
)
def test_cleans(raw: str, clean: str) -> None:
    assert plain_text(raw) == clean


def test_is_cut_with_an_ellipsis() -> None:
    assert plain_text("word " * 100, max_characters=12) == "word word w…"
    assert len(plain_text("x" * 100_000)) == MAX_RAW_CHARACTERS


@pytest.mark.parametrize("piece", ["<script>", "<!--", "<style a", "<b x=1 ", "<b ' ", "<!-- <script> ", "&amp;amp"])
def test_hostile_text_takes_no_time(piece: str) -> None:
    began = time.process_time()
    plain_text(piece * (MAX_RAW_CHARACTERS // len(piece)))
    assert time.process_time() - began < 0.2


HOSTILE = st.text(
    st.one_of(
        st.characters(),
        st.sampled_from("<>&;#x/!-\u200c\u200d\u202e\u2066\x00\ud800é한 \n"),
        st.sampled_from(["<b>", "&lt;", "&amp;", "&#39;", "<script>", "</script>", "<!--", "-->"]).map(lambda s: s[0]),
    ),
    max_size=200,
)
PIECES = st.lists(
    st.sampled_from(
        [
            "<b>",
            "</b>",
            "&lt;",
            "&amp;",
            "amp;",
            "#39;",
            "<script>",
            "</script>",
            "<!--",
            "-->",
            "\u200d",
            "한",
            "a",
            " ",
        ]
    ),
    max_size=60,
).map("".join)


@given(st.one_of(HOSTILE, PIECES))
def test_whatever_comes_in_one_printable_line_comes_out(raw: str) -> None:
    text = plain_text(raw)
    text.encode()  # no lone surrogates
    assert text == " ".join(text.split())
    assert not [c for c in text if unicodedata.category(c) in ("Cc", "Cs")]
    assert not re.search("[\u202a-\u202e\u2066-\u2069\u200b\u200e\u200f\ufeff\U000e0000-\U000e007f]", text)
    for joiner in re.finditer("[\u200c\u200d]", text):
        before, after = text[joiner.start() - 1 : joiner.start()], text[joiner.end() : joiner.end() + 1]
        assert before > "\x7f"
        assert after > "\x7f"


@given(st.text(max_size=200))
def test_text_without_markup_only_loses_what_is_invisible(raw: str) -> None:
    text = raw.replace("<", "").replace("&", "")
    assert plain_text(text) == one_line(text)
    assert one_line(one_line(text)) == one_line(text)


@pytest.mark.parametrize(
    "raw", ["<" * 20_000, "<!--" * 5_000, "<script>" * 2_500, "&amp;" * 4_000, "<b " * 6_000, "\u200d" * 20_000]
)
@pytest.mark.timeout(2)
def test_takes_bounded_time(raw: str) -> None:
    plain_text(raw)
