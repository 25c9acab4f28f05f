"""A picture of all ratios: one bar for each, from 1 to the ratio on a logarithmic axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby
from xml.sax.saxutils import escape

from benchmarks.engine.metrics import METRICS, SHOWN, amount
from benchmarks.engine.results import Results, Row

_WIDTH, _LEFT, _RIGHT = 1080, 500, 190
_LINE, _HEADING, _TOP, _BOTTOM = 18, 30, 64, 30
_BETTER, _WORSE, _INK, _GREY, _GRID = "#1a7f5a", "#b5442e", "#222222", "#666666", "#dddddd"
_TICKS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_LEAST_SPAN = 1.25
"""The axis reaches at least this far from 1 on both sides."""


def ratio_plot(results: Results) -> str:
    """An SVG of the rows that have a ratio. Bars to the right are in Groundwire's favour, whatever the metric."""
    rows = sorted(
        (row for row in results.rows if row.ratio is not None and row.metric in SHOWN),
        key=lambda row: (row.work, row.model, SHOWN.index(row.metric), row.role, row.streams),
    )
    groups = [(title, list(members)) for title, members in groupby(rows, key=lambda row: f"{row.work}, {row.model}")]
    axis = _Axis([advantage(row) for row in rows])
    height = _TOP + sum(_HEADING + _LINE * len(members) for _, members in groups) + _BOTTOM
    size = f'width="{_WIDTH}" height="{height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif">',
        "<title>Groundwire's inference service beside its peers</title>",
        f'<rect {size} fill="white"/>',
        _text(16, 24, "Groundwire's inference service beside its peers", size=16),
        _text(16, 42, "To the right of 1: better than the peer by that factor. To the left: worse.", colour=_GREY),
        *axis.drawn(_TOP, height - _BOTTOM),
    ]
    y = _TOP
    for title, members in groups:
        y += _HEADING
        parts.append(_text(16, y - 8, title, weight="bold"))
        for row in members:
            parts += _bar(row, axis, y)
            y += _LINE
    return "\n".join([*parts, "</svg>", ""])


def advantage(row: Row) -> float:
    """By what factor ours is better: the ratio, or one by it where less is better. Raises ValueError without one."""
    if row.ratio is None:
        raise ValueError(f"{row.work}/{row.model}/{row.streams} {row.metric} has no ratio")
    return row.ratio if METRICS[row.metric].higher_is_better else 1 / row.ratio


class _Axis:
    """The logarithmic axis, as wide as the ratios need."""

    def __init__(self, advantages: Sequence[float]) -> None:
        self._low = 0.9 * min([1 / _LEAST_SPAN, *advantages])
        self._high = 1.1 * max([_LEAST_SPAN, *advantages])

    def place(self, advantage: float) -> float:
        """The x of a factor."""
        share = math.log(advantage / self._low) / math.log(self._high / self._low)
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def drawn(self, top: int, bottom: int) -> list[str]:
        """The grid and its numbers."""
        parts = []
        for tick in _TICKS:
            if self._low <= tick <= self._high:
                x, colour = self.place(tick), _INK if tick == 1 else _GRID
                parts.append(f'<line x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{bottom}" stroke="{colour}"/>')
                parts.append(_text(x, bottom + 18, f"{tick:g}×", anchor="middle", colour=_GREY))
        return parts


def _bar(row: Row, axis: _Axis, y: int) -> list[str]:
    factor = advantage(row)
    start, end = sorted((axis.place(1.0), axis.place(factor)))
    width, colour = max(end - start, 1.0), _BETTER if factor >= 1 else _WORSE
    streams = f"{row.streams} stream{'' if row.streams == 1 else 's'}"
    label = f"{streams}: {METRICS[row.metric].title}, beside {row.role}"
    return [
        _text(_LEFT - 8, y + 12, label, anchor="end", size=11),
        f'<rect x="{start:.1f}" y="{y + 3}" width="{width:.1f}" height="{_LINE - 6}" fill="{colour}"/>',
        _text(_WIDTH - _RIGHT + 8, y + 12, f"{factor:.2f}×  ({amount(row.ours, row.unit)})", size=11, colour=_GREY),
    ]


def _text(
    x: float,
    y: float,
    content: str,
    *,
    anchor: str = "start",
    size: int = 12,
    weight: str = "normal",
    colour: str = _INK,
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" font-weight="{weight}" '
        f'fill="{colour}">{escape(content)}</text>'
    )
