"""The GPUs that llama.cpp would use."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Final

# The binding wraps none of ggml's device functions; this is its handle of the library that has them.
from llama_cpp._ggml import libggml

_GPU: Final = 1
_INTEGRATED_GPU: Final = 2
"""GGML_BACKEND_DEVICE_TYPE_GPU and _IGPU in ggml-backend.h."""


@dataclass(frozen=True, slots=True)
class Device:
    """A GPU with what of its memory is free now."""

    name: str
    free_bytes: int
    """0 where the device does not say."""
    shares_host_memory: bool


def gpu_devices() -> list[Device]:
    """The GPUs over which llama.cpp spreads a model: all that have memory of their own, else the integrated ones."""
    found = [(_device_type(device), device) for device in map(_device, range(_device_count()))]
    own = [device for kind, device in found if kind == _GPU]
    integrated = [device for kind, device in found if kind == _INTEGRATED_GPU]
    return [_read(device, shares_host_memory=not own) for device in own or integrated]


def _read(device: int, *, shares_host_memory: bool) -> Device:
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    _device_memory(device, ctypes.byref(free), ctypes.byref(total))
    return Device(_device_name(device).decode(errors="replace"), free.value, shares_host_memory)


_device_count = libggml.ggml_backend_dev_count
_device_count.argtypes, _device_count.restype = [], ctypes.c_size_t
_device = libggml.ggml_backend_dev_get
_device.argtypes, _device.restype = [ctypes.c_size_t], ctypes.c_void_p
_device_type = libggml.ggml_backend_dev_type
_device_type.argtypes, _device_type.restype = [ctypes.c_void_p], ctypes.c_int
_device_name = libggml.ggml_backend_dev_name
_device_name.argtypes, _device_name.restype = [ctypes.c_void_p], ctypes.c_char_p
_device_memory = libggml.ggml_backend_dev_memory
_device_memory.argtypes = [ctypes.c_void_p, ctypes.POINTER(ctypes.c_size_t), ctypes.POINTER(ctypes.c_size_t)]
_device_memory.restype = None
