from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference_service.core.prefixes import Match, PrefixTree, common_prefix_length

Text = tuple[int, ...]
Tree = PrefixTree[tuple[str, Text]]
"""The handles here are what a segment's cells stand for: a salt, and the text up to the segment's end."""

CELL = 10


def tokens(text: str) -> Text:
    return tuple(map(ord, text))


def keep(tree: Tree, text: Text, *, salt: str = "", segment: int = 4) -> bool:
    """Keep a text in segments, as far as there is room. Returns whether all of it is kept."""
    while True:
        match = tree.match(salt, text)
        part = text[match.length : match.length + segment]
        if not part:
            return True
        end = match.length + len(part)
        if tree.add(salt, match, part, (salt, text[:end]), CELL * len(part)) is None:
            return False


def check(match: Match[tuple[str, Text]], salt: str, text: Text) -> None:
    """The segments cover the match without a gap, and what they hold is the text."""
    starts = [segment.start for segment in match.segments]
    assert starts[:1] == [0] * (match.length > 0)
    for segment, start, end in zip(match.segments, starts, [*starts[1:], match.length], strict=False):
        kept_salt, kept = segment.handle
        assert start < end <= len(kept)
        assert (kept_salt, kept[:end]) == (salt, text[:end])


@dataclass
class Model:
    """The same by brute force: every kept segment with its whole text, and when it was used last."""

    limit_bytes: int
    kept: dict[tuple[str, Text], int] = field(default_factory=dict)
    """The use of each, by salt and text up to its end."""
    sizes: dict[tuple[str, Text], int] = field(default_factory=dict)
    now: int = 0

    def longest(self, salt: str, text: Text) -> int:
        return max((common_prefix_length(kept, text) for of, kept in self.kept if of == salt), default=0)

    def use(self, path: list[tuple[str, Text]]) -> None:
        """Deepest first: what hangs on another goes before it."""
        for entry in reversed(path):
            self.now += 1
            self.kept[entry] = self.now

    def add(self, path: list[tuple[str, Text]], entry: tuple[str, Text], size: int) -> bool:
        self.use(path)
        while sum(self.sizes[kept] for kept in self.kept) + size > self.limit_bytes:
            oldest = min(self.kept, key=self.kept.__getitem__, default=None)
            if oldest is None or oldest in path:
                return False
            del self.kept[oldest]
        self.sizes[entry] = size
        self.use([*path, entry])
        return True


texts = st.lists(st.integers(0, 1), min_size=1, max_size=10).map(tuple)


@settings(max_examples=300)
@given(
    actions=st.lists(
        st.tuples(st.sampled_from([0, 1, 100]), st.sampled_from(["", "a"]), texts, st.integers(1, 5)), max_size=30
    ),
    limit_cells=st.integers(0, 60),
)
def test_the_tree_keeps_what_a_search_through_everything_would_find(actions, limit_cells):
    tree: Tree = PrefixTree(limit_bytes=CELL * limit_cells)
    model = Model(CELL * limit_cells)
    for segments, salt, text, length in actions:
        for _ in range(max(1, segments)):
            match = tree.match(salt, text)
            path = [segment.handle for segment in match.segments]
            assert match.length == model.longest(salt, text)
            check(match, salt, text)
            model.use(path)
            part = text[match.length : match.length + length]
            if not segments or not part:
                break
            handle, size = (salt, text[: match.length + len(part)]), CELL * len(part)
            added = tree.add(salt, match, part, handle, size) is not None
            assert added == model.add(path, handle, size)
            assert len(tree) == len(model.kept)
            assert tree.size_bytes == sum(model.sizes[kept] for kept in model.kept) <= tree.limit_bytes
            if not added:
                break
    for salt, text in list(model.kept):
        assert tree.match(salt, text).length == len(text), "nothing is kept whose beginning has gone"


@pytest.mark.parametrize(
    ("asked", "length"),
    [("abcdefgh", 8), ("abcdefghij", 8), ("abcdef", 6), ("abcX", 3), ("abcdX", 4), ("X", 0), ("", 0)],
)
def test_the_longest_kept_beginning_is_found(asked, length):
    tree: Tree = PrefixTree(limit_bytes=1000)
    assert keep(tree, tokens("abcdefgh"))
    match = tree.match("", tokens(asked))
    assert match.length == length
    check(match, "", tokens(asked))


def test_texts_that_part_within_a_segment_share_what_is_before():
    tree: Tree = PrefixTree(limit_bytes=1000)
    for text in ("abcdef", "abcXYZ", "abc123", "abcX99"):
        assert keep(tree, tokens(text), segment=6)
    assert tree.size_bytes == CELL * (6 + 3 + 3 + 2), "the beginning is kept once"
    for text, segments in (("abcdef", 1), ("abcXYZ", 2), ("abc123", 2), ("abcX99", 3)):
        match = tree.match("", tokens(text))
        assert (match.length, len(match.segments)) == (6, segments)
        check(match, "", tokens(text))


def test_salts_are_kept_apart():
    tree: Tree = PrefixTree(limit_bytes=1000)
    assert keep(tree, tokens("abcd"), salt="one")
    assert tree.match("two", tokens("abcd")).length == 0
    assert tree.match("", tokens("abcd")).length == 0
    assert keep(tree, tokens("abcd"), salt="two")
    assert tree.size_bytes == 2 * 4 * CELL, "nothing is shared between them"


def test_the_least_recently_used_goes_first():
    tree: Tree = PrefixTree(limit_bytes=12 * CELL)
    for text in ("aaaa", "bbbb", "cccc"):
        assert keep(tree, tokens(text))
    tree.match("", tokens("aaaa"))
    assert keep(tree, tokens("dddd"))
    assert [tree.match("", tokens(4 * letter)).length for letter in "abcd"] == [4, 0, 4, 4]


def test_a_long_text_goes_from_its_end():
    tree: Tree = PrefixTree(limit_bytes=12 * CELL)
    assert keep(tree, tokens("abcdefghijkl"))
    assert keep(tree, tokens("zzzz"))
    assert tree.match("", tokens("abcdefghijkl")).length == 8


def test_what_was_kept_last_goes_before_what_it_hangs_on():
    tree: Tree = PrefixTree(limit_bytes=12 * CELL)
    text = tokens("abcdefgh")
    assert keep(tree, text[:4])
    assert tree.add("", tree.match("", text), text[4:], ("", text), 4 * CELL) is not None
    assert keep(tree, tokens("yyyy"))
    assert keep(tree, tokens("zzzz"))
    assert tree.match("", text).length == 4


def test_what_a_segment_hangs_on_does_not_go_to_make_room_for_it():
    tree: Tree = PrefixTree(limit_bytes=8 * CELL)
    assert not keep(tree, tokens("abcdefghijkl"))
    assert tree.match("", tokens("abcdefghijkl")).length == 8


@pytest.mark.parametrize(("limit", "length"), [(0, 0), (39, 0), (40, 4), (79, 4), (80, 8)])
def test_the_limit_of_bytes_holds(limit, length):
    tree: Tree = PrefixTree(limit_bytes=limit)
    keep(tree, tokens("abcdefgh"))
    assert tree.match("", tokens("abcdefgh")).length == length
    assert tree.size_bytes <= limit


def test_everything_can_be_forgotten():
    tree: Tree = PrefixTree(limit_bytes=1000)
    assert keep(tree, tokens("abcdefgh"))
    tree.clear()
    assert (len(tree), tree.size_bytes, tree.match("", tokens("abcdefgh")).length) == (0, 0, 0)
    assert keep(tree, tokens("abcdefgh"))


@given(st.lists(st.integers(0, 2)), st.lists(st.integers(0, 2)))
def test_a_common_prefix_is_counted_token_by_token(left, right):
    length = common_prefix_length(left, right)
    assert left[:length] == right[:length]
    assert length == min(len(left), len(right)) or left[length] != right[length]
