from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from inference_service.core.fitting import CountedDocument, plan_documents
from inference_service.core.sentences import cut_points


class Words:
    """Counts words, and what it was asked to count."""

    def __init__(self) -> None:
        self.bytes_counted = 0

    def __call__(self, text: str) -> int:
        self.bytes_counted += len(text.encode())
        return len(text.split())


def document(sentences: int, words: int = 5, heading: str = "[1] Title") -> CountedDocument:
    return CountedDocument(heading, text_of(sentences, words), Words())


def text_of(sentences: int, words: int = 5) -> str:
    return " ".join([" ".join(["Word"] * words) + "."] * sentences)


def shown_words(documents: list[CountedDocument], ends: tuple[int, ...]) -> list[int]:
    return [len(one.text[:end].split()) for one, end in zip(documents, ends, strict=False)]


def test_all_fit_whole() -> None:
    documents = [document(3), document(1)]
    plan = plan_documents(documents, 24)
    assert shown_words(documents, plan.ends) == [15, 5]
    assert plan.tokens == 24
    assert [end == len(one.text) for one, end in zip(documents, plan.ends, strict=True)] == [True, True]


def test_short_documents_stay_whole_and_long_ones_share_the_rest() -> None:
    documents = [document(100), document(2), document(100), document(1)]
    plan = plan_documents(documents, 8 + 15 + 100)
    assert shown_words(documents, plan.ends) == [50, 10, 50, 5]


def test_every_cut_is_at_the_end_of_a_sentence() -> None:
    documents = [document(50, words=words) for words in (3, 7, 11)]
    plan = plan_documents(documents, 100)
    for one, end in zip(documents, plan.ends, strict=True):
        assert end in set(cut_points(one.text))
        assert one.text[:end].endswith(".")


def test_the_last_documents_are_dropped_when_not_even_first_sentences_fit() -> None:
    documents = [document(10), document(10), document(10)]
    assert shown_words(documents, plan_documents(documents, 21).ends) == [5, 5, 5]
    assert shown_words(documents, plan_documents(documents, 20).ends) == [10, 5]
    assert shown_words(documents, plan_documents(documents, 13).ends) == [10]


def test_the_first_document_is_cut_at_words_before_it_could_be_dropped() -> None:
    documents = [document(3, words=40), document(1)]
    plan = plan_documents(documents, 30)
    assert len(plan.ends) == 1
    shown = documents[0].text[: plan.ends[0]]
    assert 10 < len(shown.split()) <= 28
    assert shown.endswith("Word")
    assert plan.tokens <= 30


def test_the_first_document_stays_even_where_nothing_fits() -> None:
    documents = [document(3, words=40), document(1)]
    for room in (3, 0, -1_000):
        plan = plan_documents(documents, room)
        assert documents[0].text[: plan.ends[0]] == "Word Word Word"
        assert plan.tokens == 5


def test_a_text_without_sentences_is_cut_at_words() -> None:
    documents = [CountedDocument("[1]", "word " * 10_000, Words())]
    plan = plan_documents(documents, 500)
    shown = documents[0].text[: plan.ends[0]]
    assert 470 <= len(shown.split()) <= 499
    assert shown.endswith("word")


def test_white_space_alone_is_a_document_too() -> None:
    assert plan_documents([CountedDocument("[1]", "   ", Words())], 10).ends == (3,)


def test_the_work_is_bounded_by_the_room() -> None:
    count = Words()
    documents = [CountedDocument("[1] Title", "word " * 13_000, count) for _ in range(32)]
    plan = plan_documents(documents, 2_000)
    assert len(plan.ends) == 32
    assert count.bytes_counted < 32 * 512 + 2_000 * 5 * 2


def test_planning_again_with_less_room_counts_nothing_again() -> None:
    count = Words()
    documents = [CountedDocument("[1]", text_of(100), count) for _ in range(5)]
    plan_documents(documents, 1_000)
    before = count.bytes_counted
    plan_documents(documents, 900)
    assert count.bytes_counted == before


@given(
    st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30)), min_size=1, max_size=8),
    st.integers(-5, 800),
)
def test_plans_keep_the_promises(shapes: list[tuple[int, int]], room: int) -> None:
    documents = [document(sentences, words) for sentences, words in shapes]
    plan = plan_documents(documents, room)
    shown = shown_words(documents, plan.ends)
    assert 1 <= len(plan.ends) <= len(documents)
    assert plan.tokens == sum(shown) + 2 * len(shown)
    if len(plan.ends) > 1:
        assert plan.tokens <= room
        assert all(words >= shapes[rank][1] for rank, words in enumerate(shown))  # a whole first sentence
    if len(plan.ends) < len(documents):  # one more would not have fitted, even with first sentences alone
        assert sum(2 + shapes[rank][1] for rank in range(len(plan.ends) + 1)) > room
    if len(plan.ends) == 1 and plan.tokens > room:
        return
    for words, (sentences, sentence) in zip(shown, shapes, strict=False):
        if words < sentences * sentence and words >= sentence:
            assert plan.tokens + sentence > room  # no room is left unused
            for other, (_, other_sentence) in zip(shown, shapes, strict=False):  # nobody is far ahead
                assert other <= words + other_sentence + sentence
