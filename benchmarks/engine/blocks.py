"""llama.cpp's quantized weight blocks: random ones, written directly, and real ones, quantized from floats.

Random blocks cost what real ones cost in every kernel (integer dot products take no shortcuts) and are made as fast as
random numbers are; quantizing billions of floats would take many minutes.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

type_of = GGMLQuantizationType

# Layouts are those of ggml-common.h. A K-quant super-block holds 256 weights in sub-blocks, each with its own scale
# and, in Q4_K and Q5_K, its own minimum: weight = d * scale * q - dmin * minimum.
_SUB_SCALE = 32
_PACKED_SUB_SCALES = bytes([160] * 8 + [0] * 4)
"""Eight 6-bit scales and eight 6-bit minimums, all 32, as Q4_K and Q5_K pack them into 12 bytes."""


def random_blocks(
    kind: GGMLQuantizationType, rows: int, columns: int, *, deviation: float, random: np.random.PCG64
) -> npt.NDArray[np.uint8]:
    """A rows × columns matrix of random weights around 0 with this standard deviation, as rows of bytes.

    Raises ValueError for a type other than Q8_0, Q4_K, Q5_K and Q6_K, or columns that are not whole blocks.
    """
    weights, size = GGML_QUANT_SIZES[kind]
    if columns % weights:
        raise ValueError(f"{columns} columns are no whole number of {kind.name} blocks of {weights} weights")
    count = rows * columns // weights
    words = random.random_raw(-(-count * size // 8))
    blocks = words.view(np.uint8)[: count * size].reshape(count, size)
    if kind is type_of.Q8_0:
        blocks[:, :2] = _half(deviation / _uniform_deviation(256))
    elif kind in (type_of.Q4_K, type_of.Q5_K):
        levels = 16 if kind is type_of.Q4_K else 32
        scale = deviation / _uniform_deviation(levels) / _SUB_SCALE
        blocks[:, :2] = _half(scale)
        blocks[:, 2:4] = _half(scale * (levels - 1) / 2)
        blocks[:, 4:16] = np.frombuffer(_PACKED_SUB_SCALES, np.uint8)
    elif kind is type_of.Q6_K:
        blocks[:, 192:208] = _SUB_SCALE
        blocks[:, 208:] = _half(deviation / _uniform_deviation(64) / _SUB_SCALE)
    else:
        raise ValueError(f"no random blocks of type {kind.name}")
    return blocks.reshape(rows, -1)


def quantize(weights: npt.NDArray[np.float32], kind: GGMLQuantizationType) -> npt.NDArray[np.uint8]:
    """The matrix as llama.cpp itself quantizes it, as rows of bytes.

    Raises ValueError for columns that are not whole blocks.
    """
    rows, columns = weights.shape
    block, size = GGML_QUANT_SIZES[kind]
    if columns % block:
        raise ValueError(f"{columns} columns are no whole number of {kind.name} blocks of {block} weights")
    source = np.ascontiguousarray(weights, np.float32)
    target = np.empty((rows, columns // block * size), np.uint8)
    _ggml().ggml_quantize_chunk(int(kind), source.ctypes.data, target.ctypes.data, 0, rows, columns, None)
    return target


@functools.cache
def _ggml() -> ctypes.CDLL:
    """The ggml library inside the installed llama-cpp-python."""
    package = importlib.util.find_spec("llama_cpp")
    if package is None or package.origin is None:
        raise RuntimeError("llama-cpp-python is not installed: run `make setup`")
    library = ctypes.CDLL(str(Path(package.origin).parent / "lib" / "libggml-base.so"))
    library.ggml_quantize_chunk.restype = ctypes.c_size_t
    library.ggml_quantize_chunk.argtypes = [
        ctypes.c_int,
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.c_int64,
        ctypes.c_int64,
        ctypes.c_int64,
        ctypes.c_void_p,
    ]
    return library


def _uniform_deviation(levels: int) -> float:
    """The standard deviation of whole numbers drawn evenly from this many neighbours."""
    return math.sqrt((levels**2 - 1) / 12)


def _half(value: float) -> npt.NDArray[np.uint8]:
    return np.frombuffer(np.float16(value).tobytes(), np.uint8)
