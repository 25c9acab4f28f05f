"""What tuning found: lines of a `.env` file with the measurements as comments above them, or JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from groundwire_rpc.settings import ENV_PREFIX
from inference_service.core.options import KvType
from inference_service.core.tuning import WIN_MARGIN, Combination, Rates


@dataclass(frozen=True, slots=True)
class Report:
    """A tuning's result."""

    model: str
    quantization: str
    slots: int
    default: Combination
    """What the service does where nothing is set."""
    start: Combination
    """The settings as they are."""
    best: Combination
    rates: Mapping[Combination, Rates]
    failures: Mapping[Combination, str]
    """Why the others did not run."""
    kv_bytes: Mapping[KvType, int]
    """Of a token in the KV cache, by type."""
    unsteady: bool
    """Measurements of the same settings differed widely."""
    settings: Mapping[str, str]
    """The best ones, as environment variables."""


def env_settings(best: Combination, *, has_gpu: bool) -> dict[str, str]:
    """The variables that make the inference service run so. GPU layers only where there is a GPU."""
    values = {name: value for name, value in asdict(best).items() if has_gpu or name != "gpu_layers"}
    return {f"{ENV_PREFIX}INFERENCE_{name.upper()}": _env_value(value) for name, value in values.items()}


def _env_value(value: object) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def report_lines(report: Report) -> list[str]:
    """All measurements, as comments, and the settings."""
    slots, together = ("1 slot", "") if report.slots == 1 else (f"{report.slots} slots", f", and for {report.slots}")
    heading = (
        f"{report.model}, {report.quantization}, {slots}. Tokens a second, medians: read of a prompt, generated for "
        f"one stream{together}."
    )
    rule = (
        "The gain is the geometric mean over the three rates. "
        f"A gain of more than {WIN_MARGIN:.0%} over the settings as they are is needed to win."
    )
    failures = [f"Did not run: {_named(combination)}: {reason}" for combination, reason in report.failures.items()]
    comments = [heading, *_table(report), rule, *_kv_lines(report), *failures]
    return [
        *(f"# {line}".rstrip() for line in comments),
        *(f"{name}={value}" for name, value in report.settings.items()),
    ]


def _table(report: Report) -> list[str]:
    rows = [
        [
            "threads",
            "batch",
            "flash",
            "KV",
            "mapped",
            "GPU",
            "prompt",
            "1 stream",
            f"{report.slots} streams",
            "gain",
            "",
        ],
        *(_row(report, combination) for combination in report.rates),
    ]
    if not any(name.endswith("GPU_LAYERS") for name in report.settings):
        for row in rows:
            del row[5]
    if report.slots == 1:
        for row in rows:
            del row[-3]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    widths[-1] = 0  # the last column's cells begin below one another
    return ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]


def _row(report: Report, combination: Combination) -> list[str]:
    rates = report.rates[combination]
    marks = {
        "default": combination == report.default,
        "as set": combination == report.start != report.default,
        "best": combination == report.best,
        "not asked for": combination.kv_type is not report.best.kv_type,
    }
    return [
        str(combination.threads),
        str(combination.batch_tokens),
        str(combination.flash_attention),
        str(combination.kv_type),
        "yes" if combination.memory_map else "no",
        "auto" if combination.gpu_layers is None else str(combination.gpu_layers),
        f"{rates.prompt:,.1f}",
        f"{rates.single:,.1f}",
        f"{rates.streams:,.1f}",
        f"{rates.gain_over(report.rates[report.start]):+.0%}",
        ", ".join(mark for mark, applies in marks.items() if applies),
    ]


def _kv_lines(report: Report) -> list[str]:
    sizes = ", ".join(f"{kv_type} {size / 1024:,.1f} KiB" for kv_type, size in report.kv_bytes.items())
    lines = [f"A token in the KV cache takes: {sizes}."]
    if KvType.Q8_0 in report.kv_bytes and report.best.kv_type is not KvType.Q8_0:
        lines.append("q8_0 changes the logits a little, so it is chosen only where it is asked for: --kv-type q8_0.")
    return lines


def _named(combination: Combination) -> str:
    return ", ".join(f"{name} {value}" for name, value in asdict(combination).items() if value is not None)


def report_json(report: Report) -> dict[str, object]:
    """The same for programs."""
    base = report.rates[report.start]
    return {
        "model": report.model,
        "quantization": report.quantization,
        "slots": report.slots,
        "settings": dict(report.settings),
        "best": asdict(report.best),
        "kv_bytes_per_token": {str(kv_type): size for kv_type, size in report.kv_bytes.items()},
        "unsteady": report.unsteady,
        "measured": [
            {
                **asdict(combination),
                "prompt_tokens_per_second": round(rates.prompt, 2),
                "generated_tokens_per_second_one_stream": round(rates.single, 2),
                "generated_tokens_per_second_all_slots": round(rates.streams, 2),
                "gain": round(rates.gain_over(base), 4),
                "default": combination == report.default,
                "as_set": combination == report.start,
                "best": combination == report.best,
            }
            for combination, rates in report.rates.items()
        ],
        "failed": [{**asdict(combination), "reason": reason} for combination, reason in report.failures.items()],
    }
