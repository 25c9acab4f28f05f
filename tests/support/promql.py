"""What PromQL reads, by a real parser."""

from __future__ import annotations

from dataclasses import dataclass

import promql_parser


@dataclass(frozen=True, slots=True)
class Selected:
    """One metric that an expression reads, and the labels that it chooses by."""

    name: str
    labels: frozenset[str]


def selected(expression: str) -> list[Selected]:
    """What an expression reads. Raises ValueError where it is no PromQL."""
    # What Grafana puts in by itself.
    return _walk(promql_parser.parse(expression.replace("$__rate_interval", "5m")))


def _walk(node: object) -> list[Selected]:
    if isinstance(node, promql_parser.VectorSelector):
        return [Selected(str(node.name), frozenset(matcher.name for matcher in node.matchers.matchers))]
    found: list[Selected] = []
    for attribute in ("expr", "lhs", "rhs", "vector_selector"):
        child = getattr(node, attribute, None)
        if child is not None:
            found += _walk(child)
    for child in getattr(node, "args", None) or ():
        found += _walk(child)
    return found
