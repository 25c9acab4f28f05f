"""llama.cpp's own log lines, in this process's log: warnings and errors as warnings, the rest at debug level."""

from __future__ import annotations

import ctypes
import logging
from collections import deque

import llama_cpp
import structlog

log = structlog.get_logger(__name__)

_ERROR_LEVEL = 4
"""GGML_LOG_LEVEL_ERROR in ggml.h."""
_WARNING_LEVEL = 3

_SHARED_CELLS = "n_ctx_seq"
"""In its warning that a context is longer than the model was trained for. Here the cells are shared by all sequences,
each of which is kept to what the model was trained for, so that warning would only mislead."""

_errors: deque[str] = deque(maxlen=4)


@llama_cpp.llama_log_callback  # type: ignore[untyped-decorator]  # a ctypes function type
def _receive(level: int, text: bytes, _user_data: ctypes.c_void_p) -> None:
    line = text.decode(errors="replace").strip()
    if not line or line.strip(".") == "":
        return
    if level == _ERROR_LEVEL:
        _errors.append(line)
    severe = _WARNING_LEVEL <= level <= _ERROR_LEVEL and _SHARED_CELLS not in line
    log.log(logging.WARNING if severe else logging.DEBUG, "llama.cpp", line=line)


def route_logs() -> None:
    """Take llama.cpp's log lines from now on, process-wide, and forget earlier errors."""
    _errors.clear()
    llama_cpp.llama_log_set(_receive, ctypes.c_void_p(0))


def recent_errors() -> str:
    """The last error lines, joined; empty where there were none."""
    return "; ".join(_errors)
