"""Downloads a model of the manifest from a Hugging Face hub: resumed, checked, and put in place only when whole.

huggingface_hub finds the address, sends the token and knows HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE. The transfer
itself is done here: `hf_hub_download` (2.4) throws the partial file away when a download fails.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import httpx2
from huggingface_hub import get_hf_file_metadata, get_session, get_token, hf_hub_url
from huggingface_hub.errors import FileMetadataError, HfHubHTTPError, OfflineModeIsEnabled

from inference_service.adapters.model_files import model_path, partial_path
from inference_service.adapters.model_manifest import HubSource, ModelEntry
from inference_service.core.errors import ModelError

MAX_FRUITLESS_TRIES: Final = 5
"""Tries one after the other that bring no byte."""
MAX_TRIES: Final = 200
SPARE_BYTES: Final = 64 * 2**20
"""Disk space that must stay free."""
CONNECT_SECONDS: Final = 15.0
READ_SECONDS: Final = 30.0
"""Without a byte, a connection counts as dead."""

_PIECE_BYTES: Final = 1 << 20
_TRANSIENT: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_MAX_PAUSE_SECONDS: Final = 30.0


class PullProgress(Protocol):
    """Hears how a pull goes."""

    def stage(self, what: str, done_bytes: int, total_bytes: int) -> None:
        """A stage begins: "downloading" or "checking"."""

    def advance(self, done_bytes: int) -> None:
        """So much of the stage is done, from its beginning."""

    def note(self, text: str) -> None:
        """Something a person may want to know, such as a connection that was cut."""


@dataclass(frozen=True, slots=True)
class Pulled:
    """A model that is here, whole and checked."""

    path: Path
    downloaded_bytes: int
    """What this pull transferred; 0 where the file was here already."""


def pull_model(
    entry: ModelEntry,
    models_dir: Path | None,
    progress: PullProgress,
    *,
    endpoint: str | None = None,
    pause_seconds: float = 1.0,
) -> Pulled:
    """Make sure that a model is here, whole and checked; download what is missing.

    `endpoint` is the hub's address, by default HF_ENDPOINT. `pause_seconds` is the first wait before another try; it
    doubles. Raises ModelError, one sentence that says what to do. KeyboardInterrupt leaves the partial file, from
    which the next pull goes on.
    """
    path = model_path(entry, models_dir)
    if not isinstance(entry.source, HubSource):
        _check_present(path, entry, progress)
        return Pulled(path, 0)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _only_one(path):
            if _is_whole(path, entry, progress):
                return Pulled(path, 0)
            download = _Download(entry, entry.source, path, progress, endpoint, pause_seconds)
            download.run()
            return Pulled(path, download.transferred_bytes)
    except OSError as error:
        raise ModelError(
            f"The model {entry.name} cannot be stored in {path.parent}: {error.strerror or error}."
        ) from None


def _check_present(path: Path, entry: ModelEntry, progress: PullProgress) -> None:
    if not path.is_file() or path.stat().st_size != entry.size_bytes or _sha256(path, progress) != entry.sha256:
        raise ModelError(
            f"The model {entry.name} comes with Groundwire and cannot be pulled, but its file {path} is missing or "
            "damaged: restore it, or install Groundwire again."
        )


@contextmanager
def _only_one(path: Path) -> Iterator[None]:
    # The lock file stays: taking it away would let a second process lock a file that a third no longer sees.
    with path.with_name(f".{path.name}.lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ModelError(f"Another process is downloading {path.name}; wait until it is done.") from None
        yield


def _is_whole(path: Path, entry: ModelEntry, progress: PullProgress) -> bool:
    if not path.is_file() or path.stat().st_size != entry.size_bytes:
        return False
    if _checked_mark(path) == _mark(path, entry.sha256):
        return True
    if _sha256(path, progress) != entry.sha256:
        progress.note(f"{path.name} is damaged; it is downloaded again.")
        return False
    _write_mark(path, entry.sha256)
    return True


def _mark_path(path: Path) -> Path:
    return path.with_name(f".{path.name}.checked")


def _mark(path: Path, sha256: str) -> dict[str, object]:
    status = path.stat()
    return {"sha256": sha256, "bytes": status.st_size, "mtime_ns": status.st_mtime_ns}


def _checked_mark(path: Path) -> object:
    """What was found when the file was last read through. A file that changed since has another time."""
    try:
        return json.loads(_mark_path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _write_mark(path: Path, sha256: str) -> None:
    _mark_path(path).write_text(json.dumps(_mark(path, sha256)), encoding="utf-8")


def _sha256(path: Path, progress: PullProgress) -> str:
    digest = hashlib.sha256()
    progress.stage("checking", 0, path.stat().st_size)
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            digest.update(piece)
            progress.advance(file.tell())
    return digest.hexdigest()


class _TryAgain(Exception):
    """The transfer stopped for a reason that may pass."""

    def __init__(self, reason: str, *, after_seconds: float = 0.0) -> None:
        super().__init__(reason)
        self.after_seconds = after_seconds


class _Download:
    def __init__(
        self,
        entry: ModelEntry,
        source: HubSource,
        path: Path,
        progress: PullProgress,
        endpoint: str | None,
        pause_seconds: float,
    ) -> None:
        self._entry = entry
        self._source = source
        self._path = path
        self._partial = partial_path(path)
        self._progress = progress
        self._endpoint = endpoint
        self._pause_seconds = pause_seconds
        self._url = hf_hub_url(source.repo, source.file, revision=source.revision, endpoint=endpoint)
        self.transferred_bytes = 0

    def run(self) -> None:
        if self._done() > self._entry.size_bytes:
            self._partial.unlink()
        self._check_space()
        self._transfer()
        if _sha256(self._partial, self._progress) != self._entry.sha256:
            self._partial.unlink()
            raise ModelError(
                f"The downloaded {self._source.file} is not the file that the manifest names (its SHA-256 differs), so "
                "it was deleted; pull it again, and if that fails too, check HF_ENDPOINT and the manifest."
            )
        self._partial.replace(self._path)
        _write_mark(self._path, self._entry.sha256)

    def _done(self) -> int:
        return self._partial.stat().st_size if self._partial.is_file() else 0

    def _check_space(self) -> None:
        missing = self._entry.size_bytes - self._done()
        free = shutil.disk_usage(self._path.parent).free
        if free < missing + SPARE_BYTES:
            raise ModelError(
                f"There is not enough room in {self._path.parent}: {missing / 1e9:.1f} GB are still to come and "
                f"{free / 1e9:.1f} GB are free; make room, or set GROUNDWIRE_MODELS_DIR to another disk."
            )

    def _transfer(self) -> None:
        fruitless = 0
        self._progress.stage("downloading", self._done(), self._entry.size_bytes)
        for _ in range(MAX_TRIES):
            before = self.transferred_bytes
            try:
                self._try()
            except _TryAgain as stop:
                reason, wanted = str(stop), stop.after_seconds
            else:
                return
            fruitless = 0 if self.transferred_bytes > before else fruitless + 1
            if fruitless >= MAX_FRUITLESS_TRIES:
                break
            pause = max(min(self._pause_seconds * 2**fruitless, _MAX_PAUSE_SECONDS), min(wanted, _MAX_PAUSE_SECONDS))
            self._progress.note(f"{reason}; trying again in {pause:.0f} s.")
            time.sleep(pause)
        raise ModelError(
            f"The download of {self._entry.name} from {self._host()} does not get on: {reason}. Check the network, or "
            f"HF_ENDPOINT; {self._done():,} of {self._entry.size_bytes:,} bytes are kept, and the next pull goes on "
            "from there."
        )

    def _try(self) -> None:
        try:
            self._check_offer()
            if self._done() < self._entry.size_bytes:
                self._receive()
        except OfflineModeIsEnabled:
            raise ModelError(
                f"HF_HUB_OFFLINE is set, so nothing is downloaded: unset it, or put the file at {self._path} yourself."
            ) from None
        except HfHubHTTPError as error:
            raise self._refusal(error.response) from None
        except FileMetadataError:
            raise ModelError(f"{self._host()} does not answer like a Hugging Face hub; check HF_ENDPOINT.") from None
        except httpx2.InvalidURL:
            raise ModelError(f"{self._url} is no valid address; check HF_ENDPOINT.") from None
        except httpx2.TimeoutException:
            raise _TryAgain(f"{self._host()} did not answer in time") from None
        except httpx2.UnsupportedProtocol:
            raise ModelError(f"{self._url} is no address of http or https; check HF_ENDPOINT.") from None
        except httpx2.ConnectError:
            raise _TryAgain(f"{self._host()} cannot be reached") from None
        except httpx2.TransportError:
            raise _TryAgain("the connection was cut") from None

    def _check_offer(self) -> None:
        """Ask what the hub has before gigabytes are fetched. Large files are offered with their SHA-256."""
        offer = get_hf_file_metadata(self._url, timeout=CONNECT_SECONDS, token=get_token(), endpoint=self._endpoint)
        etag = (offer.etag or "").strip('"')
        size_differs = offer.size is not None and offer.size != self._entry.size_bytes
        if size_differs or (len(etag) == len(self._entry.sha256) and etag != self._entry.sha256):
            what = "its size" if size_differs else "its SHA-256"
            raise ModelError(
                f"{self._host()} offers another {self._source.file} than the manifest names ({what} differs), so "
                "nothing was downloaded: update Groundwire, or check HF_ENDPOINT and the manifest."
            )

    def _receive(self) -> None:
        done = self._done()
        headers = {"Accept-Encoding": "identity"}
        if token := get_token():
            headers["Authorization"] = f"Bearer {token}"
        if done:
            headers["Range"] = f"bytes={done}-"
        timeout = httpx2.Timeout(READ_SECONDS, connect=CONNECT_SECONDS)
        # On a redirect to another host the client leaves the token out.
        with get_session().stream(
            "GET", self._url, headers=headers, timeout=timeout, follow_redirects=True
        ) as response:
            if response.status_code == 416:
                self._partial.unlink(missing_ok=True)
                raise _TryAgain("the hub does not know the place to go on from")
            if response.status_code not in (200, 206):
                raise self._refusal(response)
            if response.status_code == 206 and not response.headers.get("Content-Range", "").startswith(
                f"bytes {done}-"
            ):
                raise _TryAgain("the hub sent another part than the one asked for")
            if done and response.status_code == 200:
                self._progress.note("The hub cannot go on where the last download stopped; starting over.")
            self._write(response, 0 if response.status_code == 200 else done)
        if self._done() < self._entry.size_bytes:
            raise _TryAgain("the connection was cut")

    def _write(self, response: httpx2.Response, start: int) -> None:
        position = start
        with self._partial.open("r+b" if self._partial.exists() else "wb") as file:
            file.truncate(start)
            file.seek(start)
            try:
                for piece in response.iter_bytes():
                    position += len(piece)
                    if position > self._entry.size_bytes:
                        raise ModelError(
                            f"{self._host()} sends more than the {self._entry.size_bytes:,} bytes that the manifest "
                            "names; check HF_ENDPOINT and the manifest."
                        )
                    file.write(piece)
                    self.transferred_bytes += len(piece)
                    self._progress.advance(position)
            finally:
                file.flush()
                os.fsync(file.fileno())

    def _refusal(self, response: httpx2.Response) -> ModelError | _TryAgain:
        status = response.status_code
        if status in _TRANSIENT:
            after = response.headers.get("Retry-After", "")
            return _TryAgain(
                f"{self._host()} answers {status}", after_seconds=float(after) if after.isdecimal() else 0.0
            )
        if status in (401, 403):
            return ModelError(
                f"{self._host()} refuses access to {self._source.repo} ({status}): set HF_TOKEN to a token that may "
                "read it; for a gated model, its terms must be accepted on the hub first."
            )
        if status == 404:
            return ModelError(
                f"{self._host()} has no {self._source.file} in {self._source.repo} at {self._source.revision} (404): "
                "update Groundwire, or check HF_ENDPOINT and the manifest."
            )
        return ModelError(f"{self._host()} refuses the download of {self._source.file} with status {status}.")

    def _host(self) -> str:
        return httpx2.URL(self._url).host or self._url
