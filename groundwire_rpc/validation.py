"""Checks of request fields that gather every violation before they refuse.

check = FieldChecks()
check.text("question", request.question, max_characters=4000)
check.number("temperature", request.temperature, low=0, high=2)
check.done()  # raises InvalidFields with all of them
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from groundwire_rpc.status import FieldViolation


class InvalidFields(ValueError):
    """A request has offending fields. Every one of them is in `violations`."""

    def __init__(self, violations: Sequence[FieldViolation]) -> None:
        self.violations = tuple(violations)
        super().__init__("; ".join(f"{violation.field}: {violation.description}" for violation in violations))


class FieldChecks:
    """Collects violations; `done` raises them together."""

    def __init__(self, prefix: str = "") -> None:
        """`prefix` stands before every field's name, for a message inside another."""
        self._prefix = prefix
        self.violations: list[FieldViolation] = []

    def add(self, field: str, description: str) -> None:
        """Record a violation found elsewhere."""
        self.violations.append(FieldViolation(self._prefix + field, description))

    def done(self) -> None:
        """Raise InvalidFields if there was any violation."""
        if self.violations:
            raise InvalidFields(self.violations)

    def characters(self, field: str, value: str, *, low: int = 0, high: int) -> bool:
        """The text has low to high code points. With low above 0 it must not be all white space either."""
        if low and not value.strip():
            self.add(field, f"is required: {low} to {high:,} characters that are not all white space")
        elif not low <= len(value) <= high:
            self.add(field, f"has {len(value):,} characters; {low} to {high:,} are allowed")
        else:
            return True
        return False

    def utf8_bytes(self, field: str, value: str, *, low: int = 0, high: int) -> bool:
        """The text has low to high bytes as UTF-8."""
        size = len(value.encode())
        if low and not size:
            self.add(field, f"is required: {low} to {high:,} bytes")
        elif not low <= size <= high:
            self.add(field, f"has {size:,} bytes; {low} to {high:,} are allowed")
        else:
            return True
        return False

    def count(self, field: str, count: int, *, low: int = 0, high: int) -> bool:
        """A repeated field has low to high entries."""
        if not low <= count <= high:
            self.add(field, f"has {count:,} entries; {low} to {high:,} are allowed")
            return False
        return True

    def number(self, field: str, value: float, *, low: float, high: float, low_open: bool = False) -> bool:
        """The number is finite and in [low, high], or in (low, high] where low_open."""
        inside = math.isfinite(value) and value <= high and (value > low if low_open else value >= low)
        if not inside:
            wanted = f"above {low:g} and at most {high:g}" if low_open else f"{low:g} to {high:g}"
            self.add(field, f"is {value:g}; it must be {wanted}")
        return inside

    def known_enum(self, field: str, value: int, known: Sequence[int], *, required: bool = False) -> bool:
        """The enum number is one that this server knows; 0 (unspecified) is refused where it is required."""
        if value == 0 and required:
            self.add(field, "must be specified")
        elif value not in known:
            self.add(field, f"{value} is not a value this server knows")
        else:
            return True
        return False
