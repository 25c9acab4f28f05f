import os
from pathlib import Path

import pytest

from inference_service.adapters.model_files import (
    FileState,
    default_models_dir,
    file_state,
    manifest_path,
    model_path,
    resolve_model,
)
from inference_service.adapters.model_manifest import HubSource, Manifest, load_manifest
from inference_service.core.errors import ModelError

BYTES = b"GGUF" + b"\0" * 96
HEX = "0123456789abcdef" * 4
ENTRY = f'title = "T"\nlicence = "MIT"\nbytes = {len(BYTES)}\nsha256 = "{HEX}"\ncontext = 512\n'


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    path = tmp_path / "manifest.toml"
    path.write_text(
        f'[models.tiny]\n{ENTRY}repo = "owner/name"\nfile = "gguf/tiny.gguf"\nsystem_text = "Be brief."\n'
        f'[models.local]\n{ENTRY}path = "here/local.gguf"\n'
    )
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "local.gguf").write_bytes(BYTES)
    return load_manifest(path)


def test_the_manifest_that_comes_with_groundwire() -> None:
    manifest = load_manifest(manifest_path())
    phi = manifest.entry("phi-3-mini")
    assert phi.source == HubSource("microsoft/Phi-3-mini-4k-instruct-gguf", "Phi-3-mini-4k-instruct-q4.gguf")
    assert (phi.size_bytes, phi.context, phi.licence) == (2_393_231_072, 4096, "MIT")
    found = resolve_model("builtin")
    assert found.name == "builtin"
    assert found.path.stat().st_size == manifest.entry("builtin").size_bytes


def test_the_built_in_file_is_the_one_that_the_manifest_names() -> None:
    import hashlib

    digest = hashlib.sha256(resolve_model("builtin").path.read_bytes()).hexdigest()
    assert digest == load_manifest(manifest_path()).entry("builtin").sha256


def test_a_checkout_keeps_downloads_beside_the_manifest() -> None:
    assert default_models_dir() == manifest_path().parent / "downloads"


def test_a_name_means_a_file_in_the_models_folder(manifest: Manifest, tmp_path: Path) -> None:
    path = model_path(manifest.entry("tiny"), tmp_path / "models")
    assert path == tmp_path / "models" / "tiny.gguf"
    path.parent.mkdir()
    path.write_bytes(BYTES)
    found = resolve_model("tiny", tmp_path / "models", manifest=manifest)
    assert (found.path, found.name, found.system_text) == (path, "tiny", "Be brief.")


def test_a_path_is_taken_as_it_is(manifest: Manifest, tmp_path: Path) -> None:
    (tmp_path / "own model.gguf").write_bytes(BYTES)
    found = resolve_model(str(tmp_path / "own model.gguf"), manifest=manifest)
    assert (found.name, found.system_text) == ("own model", None)


def test_a_home_folder_is_understood(manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "own.gguf").write_bytes(BYTES)
    assert resolve_model("~/own.gguf", manifest=manifest).path == tmp_path / "own.gguf"


@pytest.mark.parametrize(
    ("wanted", "size", "state", "problem"),
    [
        ("tiny", None, FileState.MISSING, "is not here: there is no file .*Fetch it with `groundwire model pull tiny`"),
        ("tiny", -10, FileState.WRONG_SIZE, "is damaged: it has 90 bytes, and 100 are right. Fetch it"),
        ("tiny", 10, FileState.WRONG_SIZE, "is damaged: it has 110 bytes"),
        ("local", -10, FileState.WRONG_SIZE, "came with Groundwire: restore it, or install Groundwire again"),
    ],
)
def test_a_known_model_that_is_not_right(
    manifest: Manifest, tmp_path: Path, wanted: str, size: int | None, state: FileState, problem: str
) -> None:
    entry = manifest.entry(wanted)
    path = model_path(entry, tmp_path)
    if size is not None:
        path.write_bytes((BYTES + b"\0" * 10)[: len(BYTES) + size])
    assert file_state(entry, tmp_path) is state
    with pytest.raises(ModelError, match=problem):
        resolve_model(wanted, tmp_path, manifest=manifest)


def test_a_partial_download_says_how_far_it_is(manifest: Manifest, tmp_path: Path) -> None:
    (tmp_path / "tiny.gguf.part").write_bytes(BYTES[:30])
    assert file_state(manifest.entry("tiny"), tmp_path) is FileState.PARTIAL
    with pytest.raises(
        ModelError, match=r"partly downloaded: 30 of 100 bytes. Go on with `groundwire model pull tiny`"
    ):
        resolve_model("tiny", tmp_path, manifest=manifest)


@pytest.mark.parametrize("content", [b"", b"GG", b"PK\3\4" + b"\0" * 96, b"version https://git-lfs"])
def test_a_file_that_is_no_gguf(manifest: Manifest, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.gguf").write_bytes(content)
    with pytest.raises(ModelError, match=r"is no GGUF file: it does not begin with GGUF. Set GROUNDWIRE_MODEL"):
        resolve_model(str(tmp_path / "x.gguf"), manifest=manifest)


@pytest.mark.parametrize(
    ("wanted", "problem"),
    [
        ("phi-9", "There is no model named 'phi-9', and no file of that name. .*one of these names: tiny, local"),
        ("/no/such.gguf", "There is no model file /no/such.gguf. .*one of these names: tiny, local"),
        ("{}", "a folder. Give the path of a GGUF file in it"),
        ("{}/file/below.gguf", "There is no model file"),
        ("{}/pipe", "which is no regular file. Set it to a GGUF file"),
        ("a" * 5000, "cannot be looked up: File name too long. It must be the path of a GGUF file"),
        ("~nobody-of-that-name/x.gguf", "cannot be looked up: Could not determine home directory"),
    ],
)
def test_what_means_nothing(manifest: Manifest, tmp_path: Path, wanted: str, problem: str) -> None:
    (tmp_path / "file").write_bytes(BYTES)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ModelError, match=problem) as refusal:
        resolve_model(wanted.format(tmp_path), manifest=manifest)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "must hold tables"),
        ("x = 1\n[models.a]", "must hold tables"),
        ("models = 3", "must hold tables"),
        ("[models.a", "is not valid TOML"),
        ("[models.a]\n", r"\[models.a\] lacks title, licence, bytes, sha256, context"),
        ("[models.A]\n", "needs a name of lower-case"),
        ("models.a = 3", "must be a table"),
        (f"[models.a]\n{ENTRY}", "needs either a path, or a repo and a file"),
        (f'[models.a]\n{ENTRY}repo = "o/n"', "needs either a path, or a repo and a file"),
        (f'[models.a]\n{ENTRY}path = "x"\nrepo = "o/n"\nfile = "f"', "needs either"),
        (f'[models.a]\n{ENTRY}path = "../x"', "must be relative and stay below"),
        (f'[models.a]\n{ENTRY}repo = "o/n"\nfile = "/f"', "file must be relative"),
        (f'[models.a]\n{ENTRY}repo = "name"\nfile = "f"', "repo must be OWNER/NAME"),
        (f'[models.a]\n{ENTRY}path = "x"\ncolour = "red"', "unknown key 'colour'"),
        (f'[models.a]\n{ENTRY}path = ""', "path must not be empty"),
        (f'[models.a]\n{ENTRY.replace("= 100", "= -1")}path = "x"', "bytes must not be empty"),
        (f'[models.a]\n{ENTRY.replace("= 100", "= true")}path = "x"', "bytes must be a number"),
        (f'[models.a]\n{ENTRY.replace(HEX, "abc")}path = "x"', "sha256 must be 64"),
        (
            "".join(f'[models.{name}]\n{ENTRY}repo = "o/{name}"\nfile = "same.gguf"\n' for name in "ab"),
            "two models with a file named same.gguf",
        ),
    ],
)
def test_a_manifest_that_is_not_valid(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "manifest.toml"
    path.write_text(text)
    with pytest.raises(ModelError, match=problem):
        load_manifest(path)


def test_a_manifest_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read: No such file"):
        load_manifest(tmp_path / "manifest.toml")
