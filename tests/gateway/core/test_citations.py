from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.core.citations import CitationParser
from gateway.core.events import Citation, CitationCounts

# What makes up answers, and what breaks parsers of them.
PIECES = st.sampled_from(
    [
        *[
            "[1]",
            "[2]",
            "[1, 2]",
            "[ 3 ]",
            "[0]",
            "[999]",
            "[1000]",
            "[1,]",
            "[٣]",
            "[",
            "]",
            "[1",
            "1]",
            ",",
            " ",
            "  ",
        ],
        *[
            "\n",
            "\r\n",
            "\n\n",
            "\u2028",
            ". ",
            ".",
            "! ",
            "? ",
            "。",
            "！",
            "...",
            "…",
            "`",
            "``",
            "```",
            "~~~",
            "`a[1]`",
        ],
        *["```py\n", "\n```\n", "Dr. ", "U.S. ", "e.g. ", "3.14", "v1.2.3", "example.org", "1. ", "- ", "**", '"', "”"],
        *[
            "The sky is blue",
            "word",
            "Vienna",
            "빈은",
            "수도",
            "東京",
            "です",
            "é",
            "e\u0301",
            "👩‍🚀",
            "नमस्ते",
            "مرحبا",
            "a",
        ],
    ]
)
ANSWERS = st.lists(PIECES, max_size=40).map("".join) | st.text(max_size=60)


def parse(text: str, *, used: tuple[int, ...] = (1, 2, 3)) -> tuple[list[Citation], CitationCounts]:
    parser = CitationParser(used)
    return [*parser.feed(text), *parser.finish()], parser.counts


def cited(text: str) -> list[tuple[int, str, str]]:
    """(number, marker, claim) of each citation."""
    encoded = text.encode()
    return [
        (
            citation.source_index,
            encoded[citation.marker_start : citation.marker_end].decode(),
            encoded[citation.claim_start : citation.claim_end].decode(),
        )
        for citation in parse(text)[0]
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It is blue. [1]", [(1, "[1]", "It is blue.")]),
        ("It is blue [1].", [(1, "[1]", "It is blue")]),
        ("It is blue.[1]", [(1, "[1]", "It is blue.")]),
        ("It is blue [1][2].", [(1, "[1]", "It is blue"), (2, "[2]", "It is blue")]),
        ("It is blue [1] [2].", [(1, "[1]", "It is blue"), (2, "[2]", "It is blue")]),
        ("It is blue [1, 2].", [(1, "[1, 2]", "It is blue"), (2, "[1, 2]", "It is blue")]),
        ("It is blue [ 1 ,2 ].", [(1, "[ 1 ,2 ]", "It is blue"), (2, "[ 1 ,2 ]", "It is blue")]),
        ("It is blue [2, 2].", [(2, "[2, 2]", "It is blue")]),
        ("It is blue [1]. It is wide [2].", [(1, "[1]", "It is blue"), (2, "[2]", "It is wide")]),
        ("It is blue [1]. [2]", [(1, "[1]", "It is blue"), (2, "[2]", "It is blue [1].")]),
        ("Blue [1], and wide [2].", [(1, "[1]", "Blue"), (2, "[2]", "Blue [1], and wide")]),
        ("One. Two! Three? [1]", [(1, "[1]", "Three?")]),
        ("Vienna is big [1].Graz is small [2].", [(1, "[1]", "Vienna is big"), (2, "[2]", "Graz is small")]),
        (
            "It runs on [1].net and [1]...so on [2].",
            [
                (1, "[1]", "It runs on"),
                (1, "[1]", "It runs on [1].net and"),
                (2, "[2]", "It runs on [1].net and [1]...so on"),
            ],
        ),
        (
            "He is from the U.S. [1] The law is old. [2]",
            [(1, "[1]", "He is from the U.S."), (2, "[2]", "The law is old.")],
        ),
        ("Smith et al. [1] found it. [2]", [(1, "[1]", "Smith et al."), (2, "[2]", "Smith et al. [1] found it.")]),
        ("Ask Dr. [1] so. [2]", [(1, "[1]", "Ask Dr."), (2, "[2]", "Ask Dr. [1] so.")]),
        ("[1]", [(1, "[1]", "")]),
        ("[1] says so.", [(1, "[1]", "")]),
        ("It is blue.\n\n[1]", [(1, "[1]", "It is blue.")]),
        ("Intro\n- blue [1]\n- wide. [2]\n", [(1, "[1]", "blue"), (2, "[2]", "wide.")]),
        ("1. Blue [1]\n2. Wide [2]", [(1, "[1]", "Blue"), (2, "[2]", "Wide")]),
        ("42. [1]", [(1, "[1]", "42.")]),
        ("## Colour\nBlue [1].", [(1, "[1]", "Blue")]),
        ("**Blue.** [1]", [(1, "[1]", "**Blue.**")]),
        ('He said "blue." [1]', [(1, "[1]", 'He said "blue."')]),
        ('"Blue?" he said [1].', [(1, "[1]", '"Blue?" he said')]),
        ("Dr. Kim of the U.S. paid $3.14. [1]", [(1, "[1]", "Dr. Kim of the U.S. paid $3.14.")]),
        ("See example.org and v1.2.3, e.g. Fig. 2. [1]", [(1, "[1]", "See example.org and v1.2.3, e.g. Fig. 2.")]),
        ("J. K. Rowling wrote it. [1]", [(1, "[1]", "J. K. Rowling wrote it.")]),
        ("Ask Acme Inc. about it. [1]", [(1, "[1]", "Ask Acme Inc. about it.")]),
        ("It is by Acme Inc. They sell it. [1]", [(1, "[1]", "They sell it.")]),
        ("Wait... it goes on. [1]", [(1, "[1]", "Wait... it goes on.")]),
        ("空は青い。[1]海は広い。[2]", [(1, "[1]", "空は青い。"), (2, "[2]", "海は広い。")]),
        ("空は青い[1]。海は広い[2]。", [(1, "[1]", "空は青い"), (2, "[2]", "海は広い")]),
        ("「はい。」と言った。[1]", [(1, "[1]", "「はい。」と言った。")]),
        ("하늘은 파랗다. 바다는 넓다 [1].", [(1, "[1]", "바다는 넓다")]),
        ("आकाश नीला है। समुद्र बड़ा है। [1]", [(1, "[1]", "समुद्र बड़ा है।")]),
        ("👍 [1]", [(1, "[1]", "👍")]),
        ("Blue [٣].", [(3, "[٣]", "Blue")]),
        ("Blue [1](https://example.org).", [(1, "[1]", "Blue")]),
        ("x[[1]]", [(1, "[1]", "x[")]),
        ("Blue [[1]", [(1, "[1]", "Blue [")]),
        ("Blue [a1] [1.5] [1-2] [1000] [] [1,] [,1] [1\n]", []),
        ("`a[1]` is [1]", [(1, "[1]", "`a[1]` is")]),
        ("`pip. Install` it [1]", [(1, "[1]", "`pip. Install` it")]),
        ("``a`[1]`` [2]", [(2, "[2]", "``a`[1]``")]),
        ("The ` key. Then [1] go.", [(1, "[1]", "Then")]),
        ("The ` key [1].\nNext [2].", [(1, "[1]", "The ` key"), (2, "[2]", "Next")]),
        ("`` a ` b [1] ` c [2]", [(2, "[2]", "a ` b [1] ` c")]),
        ("So: ```py\na[1]\n```\nb [1]", [(1, "[1]", "b")]),
        ("So.\n```py\na[1]\n```\n[1]", [(1, "[1]", "So.")]),
        ("So.\n  ~~~\na[1]\n```\n~~~\nb [1]", [(1, "[1]", "b")]),
        ("```\na[1]", []),
        ("```a[1]``` [2]", [(2, "[2]", "```a[1]```")]),
    ],
)
def test_citations_with_their_markers_and_claims(text: str, expected: list[tuple[int, str, str]]) -> None:
    assert cited(text) == expected


def test_a_citation_comes_with_the_delta_that_completes_its_marker() -> None:
    parser = CitationParser({1})
    assert parser.feed("Blue [") == []
    assert parser.feed("1") == []
    assert [citation.source_index for citation in parser.feed("] and")] == [1]
    assert parser.feed(".") == []


def test_a_citation_behind_an_unclosed_backtick_comes_at_the_end_of_its_line() -> None:
    parser = CitationParser({1})
    assert parser.feed("The ` key [1]") == []
    assert len(parser.feed("\n")) == 1


def test_resolved_is_what_is_in_the_context() -> None:
    citations, counts = parse("A [1]. B [2, 9]. C [0].", used=(2,))
    assert [(c.source_index, c.resolved) for c in citations] == [(1, False), (2, True), (9, False), (0, False)]
    assert counts == CitationCounts(resolved=1, unresolved=3, uncited_sentences=2)


@pytest.mark.parametrize(
    ("text", "uncited"),
    [
        ("", 0),
        ("Blue.", 1),
        ("Blue. [1] Wide.", 1),
        ("Blue [1]. Wide. [2]", 0),
        ("Blue. Wide [1].", 1),
        ("Blue.\n\n[1]", 0),
        ("Blue [9].", 1),
        ("The sources do not answer this question.", 0),
        ("Blue [1]. The sources do not answer this question.", 0),
        ("```\ncode. More.\n```\n", 0),
        ("`code`\n`more`", 0),
        ("...\n- \n!", 0),
        ("1. Blue [1]\n2. Wide", 1),
    ],
)
def test_uncited_sentences_are_counted(text: str, uncited: int) -> None:
    assert parse(text)[1].uncited_sentences == uncited


@given(ANSWERS, st.data())
@example("The ` key [1].\n```\n[1]\n```\n`[1] [2]", None)
def test_the_citations_do_not_depend_on_where_the_deltas_are_cut(text: str, data: st.DataObject | None) -> None:
    whole, counts = parse(text)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=8))) if data else []
    for pieces in (list(text), [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]):
        parser = CitationParser((1, 2, 3))
        found = [citation for piece in pieces for citation in parser.feed(piece)]
        found += parser.finish()
        assert (found, parser.counts) == (whole, counts)


@given(ANSWERS)
def test_every_offset_is_right(text: str) -> None:
    encoded = text.encode()
    citations, counts = parse(text)
    for citation in citations:
        marker = encoded[citation.marker_start : citation.marker_end].decode()
        assert marker[0] + marker[-1] == "[]"
        assert citation.source_index in [int(number) for number in marker[1:-1].split(",")]
        claim = encoded[citation.claim_start : citation.claim_end].decode()
        assert citation.claim_end <= citation.marker_start
        assert claim == claim.strip()
        assert "\n" not in claim
    assert counts.resolved + counts.unresolved == len(citations)
    assert citations == sorted(citations, key=lambda citation: citation.marker_start)
