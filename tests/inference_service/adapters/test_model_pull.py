"""Pulls from a real HTTP server that cuts, lies and refuses."""

import hashlib
import multiprocessing
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from inference_service.adapters.model_files import partial_path
from inference_service.adapters.model_manifest import HubSource, ModelEntry
from inference_service.adapters.model_pull import MAX_FRUITLESS_TRIES, Pulled, pull_model
from inference_service.core.errors import ModelError
from tests.support.model_hub_stand_in import HubState, model_hub

CONTENT = b"GGUF" + random.Random(1).randbytes(400_000)
REPO, FILE = "owner/name", "tiny.gguf"


def entry(content: bytes = CONTENT, **changes: object) -> ModelEntry:
    known = {
        "name": "tiny",
        "title": "Tiny",
        "licence": "MIT",
        "size_bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "context": 512,
        "source": HubSource(REPO, FILE),
    }
    return ModelEntry(**{**known, **changes})  # type: ignore[arg-type]


class Remarks:
    """A PullProgress that remembers."""

    def __init__(self) -> None:
        self.stages: list[tuple[str, int, int]] = []
        self.steps: list[int] = []
        self.notes: list[str] = []

    def stage(self, what: str, done_bytes: int, total_bytes: int) -> None:
        self.stages.append((what, done_bytes, total_bytes))

    def advance(self, done_bytes: int) -> None:
        self.steps.append(done_bytes)

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubState]:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with model_hub() as state:
        state.files[f"{REPO}/{FILE}"] = CONTENT
        yield state


def pull(hub: HubState, folder: Path, wanted: ModelEntry | None = None, progress: Remarks | None = None) -> Pulled:
    return pull_model(wanted or entry(), folder, progress or Remarks(), endpoint=hub.endpoint, pause_seconds=0.0)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


def test_a_pull_brings_the_whole_file(hub: HubState, tmp_path: Path) -> None:
    progress = Remarks()
    pulled = pull(hub, tmp_path / "new" / "folder", progress=progress)
    assert pulled == Pulled(tmp_path / "new" / "folder" / FILE, len(CONTENT))
    assert pulled.path.read_bytes() == CONTENT
    assert names(pulled.path.parent) == {FILE}
    size = len(CONTENT)
    assert progress.stages == [("downloading", 0, size), ("checking", 0, size)]
    assert progress.steps.count(size) == 2
    assert progress.notes == []


def test_a_second_pull_asks_nobody(hub: HubState, tmp_path: Path) -> None:
    pull(hub, tmp_path)
    asked = len(hub.served)
    progress = Remarks()
    assert pull(hub, tmp_path, progress=progress).downloaded_bytes == 0
    assert len(hub.served) == asked
    assert progress.stages == []


def test_a_file_put_there_by_hand_is_read_through_once(hub: HubState, tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(CONTENT)
    first, second = Remarks(), Remarks()
    assert pull(hub, tmp_path, progress=first).downloaded_bytes == 0
    assert pull(hub, tmp_path, progress=second).downloaded_bytes == 0
    assert [stage[0] for stage in first.stages] == ["checking"]
    assert second.stages == []
    assert hub.served == []


def test_a_file_that_was_changed_is_pulled_again(hub: HubState, tmp_path: Path) -> None:
    path = pull(hub, tmp_path).path
    path.write_bytes(CONTENT[:-1] + b"!")
    progress = Remarks()
    assert pull(hub, tmp_path, progress=progress).downloaded_bytes == len(CONTENT)
    assert progress.notes == [f"{FILE} is damaged; it is downloaded again."]
    assert path.read_bytes() == CONTENT


def test_cut_connections_are_taken_up_where_they_ended(hub: HubState, tmp_path: Path) -> None:
    hub.cuts = [100_000, 1, 50_000, 0, 120_000]
    progress = Remarks()
    pulled = pull(hub, tmp_path, progress=progress)
    assert pulled.path.read_bytes() == CONTENT
    ranges = [request.range for request in hub.content_requests]
    assert ranges == [None, *(f"bytes={at}-" for at in (100_000, 100_001, 150_001, 150_001, 270_001))]
    assert hub.content_bytes == len(CONTENT) == pulled.downloaded_bytes
    assert progress.notes[0] == "the connection was cut; trying again in 0 s."


def test_a_later_pull_goes_on_from_the_partial_file(hub: HubState, tmp_path: Path) -> None:
    hub.cuts = [150_000, *[0] * 20]
    with pytest.raises(ModelError, match=r"does not get on: the connection was cut.*150,000 of 400,004 bytes are kept"):
        pull(hub, tmp_path)
    assert names(tmp_path) == {FILE + ".part"}
    hub.cuts = []
    progress = Remarks()
    assert pull(hub, tmp_path, progress=progress).downloaded_bytes == len(CONTENT) - 150_000
    assert progress.stages[0] == ("downloading", 150_000, len(CONTENT))
    assert hub.content_bytes == len(CONTENT)
    assert names(tmp_path) == {FILE}


def test_tries_without_a_byte_are_bounded(hub: HubState, tmp_path: Path) -> None:
    hub.cuts = [0] * 50
    with pytest.raises(ModelError, match="does not get on"):
        pull(hub, tmp_path)
    assert len(hub.content_requests) == MAX_FRUITLESS_TRIES


def _pull_slowly(endpoint: str, folder: Path) -> None:
    pull_model(entry(), folder, Remarks(), endpoint=endpoint, pause_seconds=0.0)


def _started(hub: HubState, folder: Path, at_least: int) -> multiprocessing.process.BaseProcess:
    process = multiprocessing.get_context("spawn").Process(target=_pull_slowly, args=(hub.endpoint, folder))
    process.start()
    until = time.monotonic() + 20
    part = partial_path(folder / FILE)
    while not (part.is_file() and part.stat().st_size >= at_least):
        assert time.monotonic() < until
        time.sleep(0.01)
    return process


def test_a_killed_process_leaves_what_it_had(hub: HubState, tmp_path: Path) -> None:
    hub.piece_pause_seconds = 0.05
    process = _started(hub, tmp_path, 60_000)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    hub.piece_pause_seconds = 0.0
    kept = partial_path(tmp_path / FILE).stat().st_size
    assert pull(hub, tmp_path).downloaded_bytes == len(CONTENT) - kept
    assert (tmp_path / FILE).read_bytes() == CONTENT


def test_a_second_pull_at_the_same_time_is_told_so(hub: HubState, tmp_path: Path) -> None:
    hub.piece_pause_seconds = 0.03
    process = _started(hub, tmp_path, 30_000)
    with pytest.raises(ModelError, match=f"Another process is downloading {FILE}; wait until it is done."):
        pull(hub, tmp_path)
    process.join()
    assert (tmp_path / FILE).read_bytes() == CONTENT
    assert hub.content_bytes == len(CONTENT)


def test_ctrl_c_keeps_the_partial_file(hub: HubState, tmp_path: Path) -> None:
    hub.piece_pause_seconds = 0.02

    class Interrupting(Remarks):
        def advance(self, done_bytes: int) -> None:
            if done_bytes > 100_000:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pull(hub, tmp_path, progress=Interrupting())
    hub.piece_pause_seconds = 0.0
    kept = partial_path(tmp_path / FILE).stat().st_size
    assert kept > 100_000
    assert pull(hub, tmp_path).downloaded_bytes == len(CONTENT) - kept


def test_a_server_without_ranges_starts_over(hub: HubState, tmp_path: Path) -> None:
    partial_path(tmp_path / FILE).write_bytes(b"something else")
    hub.ignores_ranges = True
    progress = Remarks()
    assert pull(hub, tmp_path, progress=progress).downloaded_bytes == len(CONTENT)
    assert progress.notes == ["The hub cannot go on where the last download stopped; starting over."]


def test_a_partial_file_that_is_too_long_is_thrown_away(hub: HubState, tmp_path: Path) -> None:
    partial_path(tmp_path / FILE).write_bytes(CONTENT + b"more")
    assert pull(hub, tmp_path).downloaded_bytes == len(CONTENT)


def test_a_partial_file_that_only_lacks_its_check_needs_no_transfer(hub: HubState, tmp_path: Path) -> None:
    partial_path(tmp_path / FILE).write_bytes(CONTENT)
    assert pull(hub, tmp_path).downloaded_bytes == 0
    assert (tmp_path / FILE).read_bytes() == CONTENT
    assert hub.content_requests == []


def test_wrong_content_is_deleted(hub: HubState, tmp_path: Path) -> None:
    hub.sends_instead = CONTENT[:-1] + b"!"
    with pytest.raises(ModelError, match=r"SHA-256 differs\), so it was deleted"):
        pull(hub, tmp_path)
    assert names(tmp_path) == set()


def test_a_wrong_beginning_is_found_at_the_end(hub: HubState, tmp_path: Path) -> None:
    partial_path(tmp_path / FILE).write_bytes(b"x" * 1000)
    with pytest.raises(ModelError, match="SHA-256 differs"):
        pull(hub, tmp_path)
    assert pull(hub, tmp_path).path.read_bytes() == CONTENT


def test_a_whole_file_stays_until_a_better_one_is_here(hub: HubState, tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"GGUF, an older one")
    hub.sends_instead = CONTENT[:-1] + b"!"
    with pytest.raises(ModelError):
        pull(hub, tmp_path)
    assert (tmp_path / FILE).read_bytes() == b"GGUF, an older one"


def test_more_than_the_named_size_is_not_taken(hub: HubState, tmp_path: Path) -> None:
    hub.sends_instead = CONTENT + b"\0" * 100_000
    with pytest.raises(ModelError, match="sends more than the 400,004 bytes"):
        pull(hub, tmp_path)
    assert FILE not in names(tmp_path)


@pytest.mark.parametrize(("other", "what"), [(CONTENT + b"x", "its size"), (CONTENT[:-1] + b"x", "its SHA-256")])
def test_another_file_on_the_hub_is_not_even_begun(hub: HubState, tmp_path: Path, other: bytes, what: str) -> None:
    hub.files[f"{REPO}/{FILE}"] = other
    with pytest.raises(ModelError, match=rf"offers another tiny.gguf than the manifest names \({what} differs\)"):
        pull(hub, tmp_path)
    assert hub.content_requests == []


def test_a_hub_that_does_not_tell_the_hash_is_checked_at_the_end(hub: HubState, tmp_path: Path) -> None:
    hub.hides_sha256 = True
    assert pull(hub, tmp_path).path.read_bytes() == CONTENT


def test_a_token_goes_to_the_hub_and_no_further(hub: HubState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.token = "hf_secret"
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    pull(hub, tmp_path)
    assert {request.authorization for request in hub.content_requests} == {None}
    assert {r.authorization for r in hub.served if not r.path.startswith("/cdn/")} == {"Bearer hf_secret"}


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("token", [None, "hf_wrong"])
def test_refused_access_names_the_setting(
    hub: HubState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gated: bool, token: str | None
) -> None:
    hub.token, hub.gated = "hf_secret", gated
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(ModelError, match=r"refuses access to owner/name \(401\): set HF_TOKEN") as refusal:
        pull(hub, tmp_path)
    assert "hf_" not in str(refusal.value)


def test_a_file_that_the_hub_has_not(hub: HubState, tmp_path: Path) -> None:
    hub.files.clear()
    with pytest.raises(ModelError, match=r"has no tiny.gguf in owner/name at main \(404\)"):
        pull(hub, tmp_path)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_hub_is_asked_again(hub: HubState, tmp_path: Path, status: int) -> None:
    hub.statuses = [status, status, 0]
    progress = Remarks()
    assert pull(hub, tmp_path, progress=progress).downloaded_bytes == len(CONTENT)
    assert progress.notes == [f"127.0.0.1 answers {status}; trying again in 0 s."] * 2


def test_other_refusals_are_final(hub: HubState, tmp_path: Path) -> None:
    hub.statuses = [451]
    with pytest.raises(ModelError, match=r"refuses the download of tiny.gguf with status 451"):
        pull(hub, tmp_path)


def test_a_hub_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"does not get on: 127.0.0.1 cannot be reached. Check the network"):
        pull_model(entry(), tmp_path, Remarks(), endpoint="http://127.0.0.1:1", pause_seconds=0.0)


def test_an_endpoint_that_is_no_address(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="check HF_ENDPOINT"):
        pull_model(entry(), tmp_path, Remarks(), endpoint="ftp://example.org", pause_seconds=0.0)


def test_a_disk_that_is_too_small(hub: HubState, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"not enough room in .*set GROUNDWIRE_MODELS_DIR to another disk"):
        pull(hub, tmp_path, entry(size_bytes=10**18))
    assert hub.served == []


def test_a_folder_that_cannot_be_made(hub: HubState, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ModelError, match="cannot be stored in"):
        pull(hub, tmp_path / "file" / "models")


def test_two_threads_of_one_process_exclude_each_other_too(hub: HubState, tmp_path: Path) -> None:
    hub.piece_pause_seconds = 0.02
    ends: list[str] = []

    def run() -> None:
        try:
            pull(hub, tmp_path)
            ends.append("pulled")
        except ModelError:
            ends.append("refused")

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ends) == ["pulled", "refused"]


def test_a_model_that_came_along_is_checked_and_not_pulled(tmp_path: Path) -> None:
    path = tmp_path / "local.gguf"
    path.write_bytes(CONTENT)
    assert pull_model(entry(source=path), None, Remarks()) == Pulled(path, 0)
    path.write_bytes(CONTENT[:-1] + b"!")
    with pytest.raises(ModelError, match="comes with Groundwire and cannot be pulled"):
        pull_model(entry(source=path), None, Remarks())
