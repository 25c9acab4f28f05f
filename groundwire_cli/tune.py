"""`groundwire model tune`: finds the settings that suit this host.

The heavy imports are inside the functions, because `groundwire model` imports this module for its help.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from groundwire_cli.env_file import EnvFile
from groundwire_cli.errors import CommandError, Interrupted
from groundwire_cli.proto_json import plain_json_line
from groundwire_cli.terminal import error_console, write_output
from groundwire_cli.tune_progress import TuneProgress
from groundwire_cli.tune_text import Report, env_settings, report_json, report_lines
from groundwire_rpc.logs import configure_logs
from groundwire_rpc.settings import SettingsError
from inference_service.config import InferenceConfig, load_config
from inference_service.core.errors import EngineUnavailable, ModelError
from inference_service.core.options import KvType
from inference_service.core.tuning import Tuner

if TYPE_CHECKING:
    from inference_service.adapters.tuning import Bench

SECONDS: Final = 1.0
QUICK_SECONDS: Final = 0.1
"""For each of the three rates in a measurement."""

_STOPPED: Final = "Stopped. Nothing was written."


def tune(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME|PATH]",
            help="A name from `groundwire model list`, or a path. Default: GROUNDWIRE_MODEL.",
            show_default=False,
        ),
    ] = None,
    write: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Put the best settings into this .env file; all else in it stays.",
            dir_okay=False,
            show_default=False,
        ),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Measure more shortly, and only threads and flash attention.")
    ] = False,
    kv_type: Annotated[
        KvType | None,
        typer.Option(
            help="The type of KV cache to tune for. Default: GROUNDWIRE_INFERENCE_KV_TYPE.", show_default=False
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, and nothing else.")] = False,
) -> None:
    """Measure a few ways to run the model on this host, and print the best as lines of a .env file.

    Starts from the settings as they are. Another value must be better by more than 3 %. The host should be idle.

    Examples:

    groundwire model tune --write .env

    groundwire model tune phi-3-mini --quick
    """
    try:
        file = None if write is None else EnvFile(write)
        config = _config(model, kv_type)
        configure_logs("debug" if config.log_level == "debug" else "error")
        report = _measured(config, quick=quick)
    except KeyboardInterrupt:
        raise Interrupted(_STOPPED) from None
    except (ModelError, EngineUnavailable, SettingsError) as error:
        raise CommandError(str(error)) from None
    write_output(plain_json_line(report_json(report)) if as_json else "\n".join(report_lines(report)) + "\n")
    console = error_console()
    if report.unsteady:
        console.print(
            "The host was busy: measurements of the same settings differ widely. Run it again when it is idle."
        )
    if file is not None:
        file.set(report.settings)
        console.print(f"Written to {write}. The inference service reads it when it starts.")
    for name in report.settings:
        if os.environ.get(name):
            console.print(f"The environment sets {name}, which wins over a .env file.")


def _config(model: str | None, kv_type: KvType | None) -> InferenceConfig:
    config = load_config()
    given = {"model": model, "inference_kv_type": kv_type}
    return config.model_copy(update={name: value for name, value in given.items() if value is not None})


def _measured(config: InferenceConfig, *, quick: bool) -> Report:
    from inference_service.adapters.model_files import resolve_model
    from inference_service.adapters.tuning import Bench, Stopped, check_servable

    file = resolve_model(config.model, config.models_dir)
    check_servable(file.path)
    with _stop_flag() as stopped:
        try:
            with Bench(config, file.path, seconds=QUICK_SECONDS if quick else SECONDS, stopped=stopped) as bench:
                return _tuned(bench, file.name, quick=quick)
        except Stopped:
            raise Interrupted(_STOPPED) from None


def _tuned(bench: Bench, name: str, *, quick: bool) -> Report:
    from inference_service.adapters.tuning import kv_bytes_per_token

    kv_bytes = kv_bytes_per_token(bench.shape)
    compares_kv = len(kv_bytes) > 1
    shown = [] if bench.start == bench.default else [bench.default]
    dials = bench.dials(quick=quick)
    with TuneProgress() as progress:
        tuner = Tuner(bench.start, progress.counting(bench.measure), begin=progress.begin)
        measurements = tuner.most_measurements(dials, shown, compare_kv=compares_kv)
        progress.start(name, measurements, bench.seconds_for(measurements, dials))
        tuner.run(dials, shown, compare_kv=compares_kv)
    return Report(
        model=name,
        quantization=bench.shape.quantization,
        slots=bench.workload.slots,
        default=bench.default,
        start=tuner.start,
        best=tuner.best,
        rates=tuner.medians,
        failures=tuner.failures,
        kv_bytes=kv_bytes,
        unsteady=tuner.unsteady,
        settings=env_settings(tuner.best, has_gpu=bench.has_gpu),
    )


@contextmanager
def _stop_flag() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C was pressed. A flag and no exception: that could come up within a callback of llama.cpp.

    A second Ctrl-C ends the process at once.
    """
    flag = threading.Event()

    def stop(_number: int, _frame: object) -> None:
        flag.set()
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield flag.is_set
    finally:
        signal.signal(signal.SIGINT, before)
