"""llama-server and llama-batched-bench, built from the source release of the llama-cpp-python that is installed.

So the peers are of the very version whose kernels the inference service runs. Started with `Peers.environment`, they
load its compiled libraries too: what is measured is the serving, not two builds of the arithmetic.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_PACKAGE = "llama-cpp-python"
_PROGRAMS = ("llama-server", "llama-batched-bench")
_CMAKE_OPTIONS = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DCMAKE_BUILD_RPATH_USE_ORIGIN=ON",  # the built folder is moved
    "-DBUILD_SHARED_LIBS=ON",  # so that the installed package's libraries can take the place of the built ones
    "-DLLAMA_BUILD_UI=OFF",
    "-DLLAMA_USE_PREBUILT_UI=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_OPENSSL=OFF",
)
_DOWNLOAD_TIMEOUT_SECONDS = 900.0
_BUILD_TIMEOUT_SECONDS = 3600.0
_LOG_TAIL_LINES = 20


class PeerBuildFailed(RuntimeError):
    """A peer could not be built; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Peers:
    """The programs that the service is measured against."""

    llama_server: Path
    batched_bench: Path
    version: str
    """The version of llama-cpp-python that they were built from."""
    environment: Mapping[str, str]
    """Variables to start them with, besides the caller's own: they make them load the installed package's libraries."""


def build_peers(directory: Path, *, report: Callable[[str], None]) -> Peers:
    """The peers, built in this folder where they are not there yet: minutes the first time, nothing after.

    Needs cmake, a C++ compiler and the package index that pip is set up with. An interrupted build leaves nothing that
    looks finished. Raises PeerBuildFailed.
    """
    version = importlib.metadata.version(_PACKAGE)
    home = directory.resolve() / f"{_PACKAGE}-{version}"
    if not home.is_dir():  # put there whole, so that it is finished if it is there
        cmake = shutil.which("cmake")
        if cmake is None:
            raise PeerBuildFailed("cmake is needed to build llama-server: install it (or `pip install cmake`)")
        work = home.with_name(home.name + ".part")
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        log = directory.resolve() / "build.log"
        log.unlink(missing_ok=True)
        source = fetch_source(version, work, log=log, report=report)
        compile_programs(cmake, source, work / "build", log=log, report=report)
        (work / "build" / "bin").rename(work / "bin")
        for leftover in (source.parents[1], work / "build"):
            shutil.rmtree(leftover)
        work.rename(home)
    server, bench = (home / "bin" / name for name in _PROGRAMS)
    return Peers(server, bench, version, library_environment(home / "bin"))


def fetch_source(version: str, work: Path, *, log: Path, report: Callable[[str], None]) -> Path:
    """The llama.cpp inside the source release of this version, downloaded and unpacked in `work`.

    Raises PeerBuildFailed.
    """
    report(f"downloading the source of {_PACKAGE} {version}")
    download = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", _PACKAGE, "--dest", str(work)]
    _run([*download, f"{_PACKAGE}=={version}"], log=log, timeout_seconds=_DOWNLOAD_TIMEOUT_SECONDS)
    for archive in work.glob("*.tar.gz"):
        with tarfile.open(archive) as opened:
            opened.extractall(work, filter="data")
        archive.unlink()
    source = next(work.glob("*/vendor/llama.cpp/CMakeLists.txt"), None)
    if source is None:
        raise PeerBuildFailed(f"the source release of {_PACKAGE} {version} holds no vendor/llama.cpp")
    return source.parent


def compile_programs(cmake: str, source: Path, build: Path, *, log: Path, report: Callable[[str], None]) -> None:
    """Compile the peers from llama.cpp's sources into `build`/bin. Raises PeerBuildFailed."""
    report(f"building {' and '.join(_PROGRAMS)}, which takes minutes; the output is in {log}")
    configure = [cmake, "-S", str(source), "-B", str(build), *_CMAKE_OPTIONS]
    _run(configure, log=log, timeout_seconds=_BUILD_TIMEOUT_SECONDS)
    make = [cmake, "--build", str(build), "--parallel", str(os.cpu_count() or 1), "--target", *_PROGRAMS]
    _run(make, log=log, timeout_seconds=_BUILD_TIMEOUT_SECONDS)


def library_environment(programs: Path) -> dict[str, str]:
    """The variables that put the installed package's llama.cpp before the one that was built beside the programs."""
    package = importlib.util.find_spec("llama_cpp")
    if package is None or package.origin is None:
        raise PeerBuildFailed(f"{_PACKAGE} is not installed: run `make setup`")
    return {"LD_LIBRARY_PATH": f"{Path(package.origin).parent / 'lib'}{os.pathsep}{programs}"}


def _run(command: Sequence[str], *, log: Path, timeout_seconds: float) -> None:
    """Run a command to its end, its output appended to the log. Raises PeerBuildFailed with the log's last lines."""
    with log.open("ab") as output:
        output.write(f"$ {' '.join(command)}\n".encode())
        output.flush()
        try:
            running = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        except OSError as error:
            raise PeerBuildFailed(f"{command[0]} could not be started: {error}") from error
        try:
            status = running.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            why = f"did not end within {timeout_seconds:g} s"
        else:
            if status == 0:
                return
            why = f"failed with exit status {status}"
        finally:
            if running.poll() is None:  # given up or interrupted: with it go the compilers that it started
                os.killpg(running.pid, signal.SIGKILL)
                running.wait()
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:])
    raise PeerBuildFailed(f"`{' '.join(command[:4])} …` {why}; the whole output is in {log}. Its end:\n{tail}")
