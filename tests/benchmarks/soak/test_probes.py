from __future__ import annotations

from benchmarks.soak.probes import TIE_NATS, ProbeBook, Reference, reference
from groundwire.inference.v1 import inference_pb2 as pb

KNOWN = Reference("one two three", (1, 2, 3), (5.0, TIE_NATS / 2, 5.0))


def compared(text: str, token_ids: list[int]) -> ProbeBook:
    book = ProbeBook([KNOWN])
    book.compare(0, text, token_ids, where="call 7")
    return book


def test_the_same_answer_is_no_difference() -> None:
    book = compared("one two three", [1, 2, 3])

    assert (book.compared, book.differing, book.examples) == (1, 0, [])


def test_another_token_at_a_tie() -> None:
    book = compared("one 2 three", [1, 9, 3])

    assert (book.differing, book.differing_without_tie) == (1, 0)
    assert "probe 0, call 7: from token 1 on" in book.examples[0]


def test_another_token_where_there_was_no_tie() -> None:
    book = compared("1 two three", [9, 2, 3])

    assert (book.differing, book.differing_without_tie) == (1, 1)


def test_another_text_or_length_with_the_same_tokens_is_never_a_tie() -> None:
    assert compared("one two", [1, 2]).differing_without_tie == 1
    assert compared("one two Three", [1, 2, 3]).differing_without_tie == 1


def test_all_that_were_compared_are_counted() -> None:
    book = ProbeBook([KNOWN])

    for token in (2, 2, 2, 9):
        book.compare(0, KNOWN.text, [1, token, 3], where="")

    assert (book.compared, book.differing) == (4, 1)


def test_a_reference_knows_how_close_the_second_best_was() -> None:
    top = [pb.TokenLogprob(token_id=1, logprob=-0.25), pb.TokenLogprob(token_id=2, logprob=-2.0)]

    assert reference("a", [1], [pb.PositionLogprobs(top=top)]) == Reference("a", (1,), (1.75,))
