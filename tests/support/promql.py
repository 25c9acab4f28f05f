"""Which metrics PromQL names, by a real parser."""

from __future__ import annotations

import promql_parser


def metric_names(expression: str) -> set[str]:
    """The metrics that an expression reads. Raises ValueError where it is no PromQL."""
    # What Grafana puts in by itself.
    return _named(promql_parser.parse(expression.replace("$__rate_interval", "5m")))


def _named(node: object) -> set[str]:
    found: set[str] = set()
    if isinstance(node, promql_parser.VectorSelector):
        return {str(node.name)}
    for attribute in ("expr", "lhs", "rhs", "vector_selector", "param"):
        child = getattr(node, attribute, None)
        if child is not None:
            found |= _named(child)
    args = getattr(node, "args", None)
    for child in args if isinstance(args, list) else getattr(args, "args", None) or ():
        found |= _named(child)
    return found
