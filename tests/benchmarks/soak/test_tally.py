from __future__ import annotations

import json

from grpc import StatusCode

from benchmarks.soak.calls import request_id
from benchmarks.soak.outcome import Outcome, Received, Status
from benchmarks.soak.plan import End, Ending, PlannedCall
from benchmarks.soak.probes import ProbeBook, Reference
from benchmarks.soak.service import read_log
from benchmarks.soak.tally import Tally, describe
from groundwire.inference.v1 import inference_pb2 as pb


def planned(index: int = 0, *, ending: Ending = Ending.READ, probe: int | None = None) -> PlannedCall:
    request = pb.GenerateRequest(token_ids=pb.TokenIds(ids=[1, 2]), max_tokens=1)
    return PlannedCall(index, 1.5, request, End(ending, 0.25), probe=probe)


def answered() -> Outcome:
    usage = pb.Usage(prompt_tokens=2, completion_tokens=1)
    received = Received(
        events=["started", "delta", "finished"],
        text="a",
        token_ids=[5],
        started=pb.Started(prompt_tokens=2),
        finished=pb.Finished(reason=pb.FINISH_REASON_MAX_TOKENS, usage=usage),
    )
    return Outcome(Status(StatusCode.OK), received, 0.5)


def tally() -> Tally:
    return Tally(ProbeBook([Reference("b", (6,), (4.0,))]), seed=3)


def log_of(*calls: tuple[int, str]) -> list[str]:
    return [
        json.dumps({"event": "call", "level": "info", "request_id": request_id(3, index), "code": code})
        for index, code in calls
    ]


def test_ends_are_counted_by_status() -> None:
    counts = tally()
    counts.sent = 3
    counts.add(planned(0), answered())
    counts.add(planned(1, ending=Ending.CANCEL_TIMED), Outcome(Status(StatusCode.CANCELLED), Received(), 0.1))
    counts.add(planned(2), Outcome(Status(None, "it did not end"), Received(), 130.0))

    assert counts.by_status == {"OK": 1, "CANCELLED": 1, "NONE": 1}
    assert counts.by_ending[Ending.CANCEL_TIMED, "CANCELLED"] == 1
    assert counts.ended == 2
    assert counts.unsound == 1
    assert len(counts.problems) == 1
    assert counts.problems[0].startswith("call 2 at 1.50 s, Generate, token_ids 2 ids, max_tokens 1, read to the end")
    assert counts.problems[0].endswith("130.00 s: ended NONE (it did not end); allowed: OK, RESOURCE_EXHAUSTED")


def test_whole_answers_to_probes_are_compared() -> None:
    book = ProbeBook([Reference("b", (6,), (4.0,))])
    counts = Tally(book, seed=3)
    counts.add(planned(probe=0), answered())
    counts.add(
        planned(probe=0, ending=Ending.CANCEL_TIMED), Outcome(Status(StatusCode.CANCELLED), Received(text="a"), 0.1)
    )

    assert (book.compared, book.differing) == (1, 1)


def test_the_log_tells_of_each_call_once_and_the_same() -> None:
    counts = tally()
    counts.add(planned(0), answered())
    counts.add(planned(1, ending=Ending.CANCEL_EARLY), Outcome(Status(StatusCode.CANCELLED), Received(), 0.1))

    assert counts.log_problems(read_log(log_of((0, "OK"), (1, "CANCELLED")))) == []
    assert counts.log_problems(read_log(log_of((0, "OK")))) == [], "a call may be cancelled before it arrives"


def test_a_log_that_tells_otherwise() -> None:
    counts = tally()
    counts.add(planned(0), answered())

    assert counts.log_problems(read_log([])) == ["soak-3-0 ended OK for its caller, in the log: not at all"]
    assert counts.log_problems(read_log(log_of((0, "CANCELLED")))) == [
        "soak-3-0 ended OK for its caller, in the log: CANCELLED"
    ]
    assert counts.log_problems(read_log(log_of((0, "OK"), (0, "OK")))) == ["soak-3-0 ended 2 times in the log: OK, OK"]


def test_a_description_has_what_is_needed_to_find_the_call() -> None:
    chat = pb.Chat(messages=[pb.Message(content="a")], documents=[pb.Document(title="t")])
    call = PlannedCall(9, 2.0, pb.GenerateRequest(chat=chat), gathered=True, invalid="no input", probe=3)

    assert describe(call) == (
        "call 9 at 2.00 s, Complete, chat 1 messages, 1 documents, no max_tokens, read to the end "
        "(0.000 s, 0 messages), invalid: no input, probe 3"
    )


def test_log_lines_are_sorted() -> None:
    log = read_log(
        [
            json.dumps({"event": "serving", "level": "info"}),
            json.dumps({"event": "unexpected error", "level": "error"}),
            "Traceback (most recent call last):",
            "",
            json.dumps(["no", "log", "line"]),
            json.dumps({"event": "llama.cpp", "level": "warning"}),
        ]
    )

    assert log.errors == ('{"event": "unexpected error", "level": "error"}',)
    assert log.strangers == ("Traceback (most recent call last):", '["no", "log", "line"]')
    assert log.levels == {"info": 1, "error": 1, "warning": 1}
