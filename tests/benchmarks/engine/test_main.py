"""The command: what it refuses, before anything is built or started."""

from __future__ import annotations

import pytest

from benchmarks.engine import table
from benchmarks.engine.__main__ import main
from benchmarks.engine.machine import current_commit, describe_machine
from tests.benchmarks.engine.rows import results


def test_what_selects_nothing_is_told_with_what_there_is(capsys, tmp_path):
    assert main(["--work", "plan", "--cache-dir", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert "nothing can be measured that is plan" in said
    assert "plain/60m\n" in said
    assert "conversations/3.8b (only where its model is named)" in said
    assert main(["--only", "plain/60m/1/2", "--cache-dir", str(tmp_path)]) == 1
    assert "is not WORK" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["--models", "70b"], "invalid choice: '70b'"), (["--rounds", "0"], "'0' is not a whole number above 0")],
)
def test_a_wrong_option_is_told(capsys, arguments, said):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_results_of_another_machine_are_refused_before_the_work(capsys, tmp_path):
    path = tmp_path / "engine.json"
    results().save(path)
    assert main(["--work", "plain", "--output", str(path), "--cache-dir", str(tmp_path / "cache")]) == 1
    assert "is of another machine (" in capsys.readouterr().err
    assert not (tmp_path / "cache").exists()


def test_the_machine_and_the_commit_are_named():
    machine = describe_machine()
    assert set(machine) == {"cpu", "cores", "memory_gib", "os", "python", "llama_cpp_python"}
    assert all(machine.values())
    assert current_commit()


def test_the_table_without_results_says_what_is_missing(capsys, tmp_path):
    assert table.main(tmp_path / "none.json") == 1
    assert "run `make bench-engine`" in capsys.readouterr().err
