from hypothesis import given
from hypothesis import strategies as st

from inference_service.core.grammar import CharacterSet, Choice, Literal, Sequence, one_of

points = st.integers(0, 60) | st.integers(0x10FFF0, 0x10FFFF)
sets = st.lists(st.tuples(points, points).map(sorted).map(tuple), max_size=6).map(
    lambda ranges: CharacterSet.of(*ranges)
)
WINDOW = [*range(62), *range(0x10FFEF, 0x110000)]


@given(sets, sets)
def test_sets_of_characters_behave_as_sets(one: CharacterSet, other: CharacterSet) -> None:
    for code_point in WINDOW:
        assert (code_point in one | other) == (code_point in one or code_point in other)
        assert (code_point in one - other) == (code_point in one and code_point not in other)
        assert (code_point in one.complement()) == (code_point not in one)


@given(sets)
def test_ranges_are_sorted_and_apart(characters: CharacterSet) -> None:
    for (_, high), (low, _) in zip(characters.ranges, characters.ranges[1:], strict=False):
        assert high + 1 < low


def words(node: object) -> list[str]:
    match node:
        case Literal(text):
            return [text]
        case Choice(alternatives):
            return [word for alternative in alternatives for word in words(alternative)]
        case Sequence((first, second)):
            return [a + b for a in words(first) for b in words(second)]
        case _:
            raise AssertionError(node)


@given(st.lists(st.text("abc", max_size=5), min_size=1))
def test_one_of_allows_each_text_once(texts: list[str]) -> None:
    assert sorted(words(one_of(texts))) == sorted(set(texts))


@given(st.lists(st.text("abc", max_size=5), min_size=1))
def test_one_of_never_offers_two_alternatives_with_one_first_character(texts: list[str]) -> None:
    todo: list[object] = [one_of(texts)]
    while todo:
        node = todo.pop()
        if isinstance(node, Choice):
            firsts = [words(alternative)[0][:1] for alternative in node.alternatives]
            assert len(set(firsts)) == len(firsts)
            todo += node.alternatives
        elif isinstance(node, Sequence):
            todo += node.items
