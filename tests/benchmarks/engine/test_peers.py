"""Building the peers: once, whole or not at all, and with a say on what went wrong.

The real build takes minutes. Here pip and cmake do the same to a source release of a few lines.
"""

from __future__ import annotations

import importlib.metadata
import io
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import llama_cpp
import pytest

from benchmarks.engine.peers import PeerBuildFailed, build_peers

VERSION = importlib.metadata.version("llama-cpp-python")
TOP = f"llama_cpp_python-{VERSION}"
METADATA = f"Metadata-Version: 2.1\nName: llama-cpp-python\nVersion: {VERSION}\n"

BACKEND = f"""
from pathlib import Path

def prepare_metadata_for_build_wheel(directory, config_settings=None):
    info = Path(directory, "{TOP}.dist-info")
    info.mkdir()
    (info / "METADATA").write_text({METADATA!r})
    return info.name
"""
PROJECT = """
cmake_minimum_required(VERSION 3.14)
project(peers C)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
add_executable(llama-server server.c)
add_executable(llama-batched-bench server.c)
add_executable(llama-cli cli.c)
"""
PROGRAM = '#include <stdio.h>\nint main(void) { puts("served"); return 0; }\n'

needs_cmake = pytest.mark.skipif(shutil.which("cmake") is None, reason="cmake is not installed")


def publish(folder: Path, *, program: str = PROGRAM) -> None:
    """Put a source release of the installed version where pip is told to look."""
    files = {
        "PKG-INFO": METADATA,
        "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
        "backend.py": BACKEND,
        "vendor/llama.cpp/CMakeLists.txt": PROJECT,
        "vendor/llama.cpp/server.c": program,
        "vendor/llama.cpp/cli.c": "#error nobody asked for this one\n",
    }
    folder.mkdir(exist_ok=True)
    with tarfile.open(folder / f"{TOP}.tar.gz", "w:gz") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(f"{TOP}/{name}")
            entry.size = len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))


@pytest.fixture
def releases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "releases"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@needs_cmake
def test_the_peers_are_built_from_the_source_release_once(tmp_path, releases):
    publish(releases)
    reports: list[str] = []
    peers = build_peers(tmp_path / "peers", report=reports.append)
    assert peers.version == VERSION
    for program in (peers.llama_server, peers.batched_bench):
        assert subprocess.run([program], capture_output=True, check=True, text=True).stdout == "served\n"
    assert [report.split()[0] for report in reports] == ["downloading", "building"]

    (releases / f"{TOP}.tar.gz").unlink()
    assert build_peers(tmp_path / "peers", report=reports.append) == peers
    assert len(reports) == 2
    left = {path.name for path in (tmp_path / "peers").rglob("*")}
    assert left == {"build.log", f"llama-cpp-python-{VERSION}", "bin", "llama-server", "llama-batched-bench"}


@needs_cmake
def test_a_failed_build_shows_the_compilers_words_and_is_tried_again(tmp_path, releases):
    publish(releases, program="int main(void) { return undeclared_name; }\n")
    with pytest.raises(PeerBuildFailed, match=r"(?s)exit status .*build\.log.*undeclared_name"):
        build_peers(tmp_path / "peers", report=print)
    publish(releases)
    assert build_peers(tmp_path / "peers", report=print).llama_server.is_file()


@needs_cmake
def test_a_release_that_cannot_be_had_is_reported_with_pips_words(tmp_path, releases):
    assert not list(releases.iterdir())
    with pytest.raises(PeerBuildFailed, match=r"(?s)pip download.*No matching distribution"):
        build_peers(tmp_path / "peers", report=print)


def test_without_cmake_the_message_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PeerBuildFailed, match="pip install cmake"):
        build_peers(tmp_path / "peers", report=print)


def test_the_peers_load_the_installed_packages_libraries(tmp_path):
    programs = tmp_path / f"llama-cpp-python-{VERSION}" / "bin"
    programs.mkdir(parents=True)
    search_path = build_peers(tmp_path, report=print).environment["LD_LIBRARY_PATH"].split(os.pathsep)
    assert search_path == [str(Path(llama_cpp.__file__).parent / "lib"), str(programs)]
    assert (Path(search_path[0]) / "libllama.so").is_file()
