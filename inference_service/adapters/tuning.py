"""Measures how fast a model runs on this host under given settings: forward passes, and nothing around them.

A `Bench` holds one model and makes a KV cache for each measurement. It belongs to one thread.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self

from inference_service.adapters.devices import gpu_devices
from inference_service.adapters.host import free_memory_bytes, usable_cores
from inference_service.adapters.llama import LlamaRunner
from inference_service.adapters.llama_model import LlamaModel, ModelShape
from inference_service.adapters.llama_options import engine_options, load_options
from inference_service.adapters.tokenizer import GgufTokenizer
from inference_service.config import InferenceConfig
from inference_service.core.chat_formats import detect_chat_format
from inference_service.core.errors import InferenceError, ModelError
from inference_service.core.options import ContextOptions, KvType, LoadOptions
from inference_service.core.ports import Chunk, SamplerSpec
from inference_service.core.tuning import (
    ROUNDS,
    Combination,
    Dial,
    Rates,
    Workload,
    batch_dial,
    best_rates,
    flash_attention_dial,
    gpu_dial,
    memory_map_dial,
    plan_workload,
    thread_dial,
)
from inference_service.core.types import Sampling

_WARM_UP_TOKENS = 32
"""A new context's first pass makes threads and touches memory for the first time."""

_GUESS = Rates(prompt=16.0, single=4.0, streams=8.0)
"""Where learning how fast this host is begins."""

_PROBES = 3
"""Measurements from which a workload is planned."""

_GREEDY = SamplerSpec(sampling=Sampling(temperature=0.0), seed=0, prompt_tail=())


class Stopped(Exception):
    """Somebody does not want to wait for the end."""


class Bench:
    """A model on this host, to be run in many ways. A context manager."""

    def __init__(
        self, config: InferenceConfig, path: Path, *, seconds: float, stopped: Callable[[], bool] = lambda: False
    ) -> None:
        """Load the model and find out what can be measured in about `seconds` for each rate.

        Raises ModelError as the service would, and Stopped soon after `stopped` says so.
        """
        self._config = config
        self._path = path
        self._stopped = stopped
        self._model: LlamaModel | None = None
        self._loaded_as: tuple[int | None, bool] | None = None
        self._loading = LoadOptions()
        self._load_seconds = 0.0
        """What loading the model took the last time."""
        self._spare_seconds = 0.0
        """What the last measurement took beside its workload."""
        try:
            self.default = _combination(InferenceConfig.model_construct())
            """What the service does where nothing is set."""
            self.start = _combination(config)
            """The settings as they are."""
            self.shape = self._loaded(self.start).shape
            self._known = _GUESS
            self.workload = self._plan(seconds)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free the model."""
        self._loaded_as = None
        if self._model is not None:
            self._model.close()
            self._model = None

    @property
    def has_gpu(self) -> bool:
        """Whether llama.cpp sees a GPU."""
        return bool(gpu_devices())

    def _plan(self, seconds: float) -> Workload:
        # The first time is slower: the file comes from the disk, a GPU's kernels are loaded. Later ones know more.
        known = _GUESS
        for _ in range(_PROBES):
            known = best_rates([known, self.measure(self.start, self._workload(known, seconds=seconds / 4))])
        self._known = known
        return self._workload(known, seconds=seconds)

    def _workload(self, rates: Rates, *, seconds: float) -> Workload:
        options = self._context_options(self.start)
        return plan_workload(
            rates,
            seconds=seconds,
            slots=self._config.inference_slots,
            kv_cells=options.kv_cells,
            context_length=self.shape.training_context_length,
            step_seconds=self._config.inference_step_seconds,
        )

    def dials(self, *, quick: bool) -> list[Dial]:
        """What is worth turning here. `quick` leaves out what needs the model to be loaded anew, and the batch size."""
        dials = [thread_dial(physical=usable_cores(), logical=len(os.sched_getaffinity(0))), flash_attention_dial()]
        if quick:
            return dials
        if self._loading.gpu_layers and self.has_gpu:
            dials.insert(0, gpu_dial())
        dials.append(batch_dial(self.workload))
        if not self.start.memory_map or self._fits_unmapped():
            dials.append(memory_map_dial())
        return dials

    def _fits_unmapped(self) -> bool:
        cells = self.workload.kv_cells * self.shape.kv.bytes_per_cell(self.start.kv_type)
        return self.shape.weights.tensor_bytes + cells < free_memory_bytes()

    def seconds_for(self, measurements: int, dials: Sequence[Dial]) -> float:
        """About how long so many measurements take, going by the last one."""
        loads = 2 * ROUNDS * sum(dial.reloads for dial in dials)
        return measurements * (self.workload.seconds_at(self._known) + self._spare_seconds) + loads * self._load_seconds

    def measure(self, combination: Combination, workload: Workload | None = None) -> Rates:
        """Run the workload once. Raises ModelError or EngineUnavailable where it does not run here, and Stopped."""
        workload = workload or self.workload
        model = self._loaded(combination)
        started = time.perf_counter()
        options = replace(self._context_options(combination), slots=workload.slots, kv_cells=workload.kv_cells)
        runner = LlamaRunner(model, options, open_grammar=_no_grammar)
        try:
            rates = _Measurement(runner, workload, options, model.shape, self._check).run()
        finally:
            runner.free()
        self._spare_seconds = max(0.0, time.perf_counter() - started - workload.seconds_at(rates))
        return rates

    def _check(self) -> None:
        if self._stopped():
            raise Stopped

    def _loaded(self, combination: Combination) -> LlamaModel:
        """The model, loaded as the combination wants it."""
        wanted = (combination.gpu_layers, combination.memory_map)
        if self._model is not None and self._loaded_as == wanted:
            return self._model
        self.close()  # first: two of them may be more than there is memory
        self._check()
        started = time.perf_counter()
        self._loading = load_options(self._configured(combination), self._path)
        try:
            self._model = LlamaModel(self._path, self._loading, given_up=self._stopped)
        except ModelError:
            self._check()  # llama.cpp says so too where it was told to give up
            raise
        self._loaded_as = wanted
        self._load_seconds = time.perf_counter() - started
        return self._model

    def _context_options(self, combination: Combination) -> ContextOptions:
        model = self._loaded(combination)
        return engine_options(self._configured(combination), model.shape, self._loading).context

    def _configured(self, combination: Combination) -> InferenceConfig:
        return self._config.model_copy(
            update={f"inference_{name}": value for name, value in asdict(combination).items()}
        )


def _combination(config: InferenceConfig) -> Combination:
    return Combination(
        threads=config.inference_threads or usable_cores(),
        batch_tokens=config.inference_batch_tokens,
        flash_attention=config.inference_flash_attention,
        kv_type=config.inference_kv_type,
        memory_map=config.inference_memory_map,
        gpu_layers=config.inference_gpu_layers,
    )


def check_servable(path: Path) -> None:
    """Raise the ModelError with which the service would refuse this file before it loads the weights."""
    tokenizer = GgufTokenizer.load(path)
    detect_chat_format(
        tokenizer.template, tokenizer.architecture, tokenizer.control_id, tokenizer.bos_id, tokenizer.encode
    )


def kv_bytes_per_token(shape: ModelShape) -> dict[KvType, int]:
    """What a token takes in a KV cache of each type that suits the model."""
    sizes = {}
    for kv_type in KvType:
        try:
            sizes[kv_type] = shape.kv.bytes_per_cell(kv_type)
        except ModelError:
            continue
    return sizes


class _Measurement:
    """One run of a workload on a fresh context."""

    def __init__(
        self,
        runner: LlamaRunner,
        workload: Workload,
        options: ContextOptions,
        shape: ModelShape,
        check: Callable[[], None],
    ) -> None:
        self._runner = runner
        self._workload = workload
        self._pass_tokens = min(workload.pass_tokens, options.batch_tokens)
        # Any ids do: which tokens they are makes no pass faster.
        self._tokens = [index * 37 % shape.weights.vocabulary_size for index in range(workload.prompt_tokens)]
        self._can_copy = shape.cells_can_be_moved
        self._check = check

    def run(self) -> Rates:
        """The three rates."""
        workload, runner = self._workload, self._runner
        runner.open(0, _GREEDY)
        self._pass([Chunk(0, self._tokens[:_WARM_UP_TOKENS], 0, wants_token=True)])
        runner.close(0)
        read, prompt_rate = self._read(0, workload.prompt_tokens)
        runner.open(0, _GREEDY)
        single_rate = self._generate([0], read, workload.single_steps)
        if workload.slots == 1:
            return Rates(prompt_rate, single_rate, single_rate)
        depth = min(workload.stream_depth, read)
        # Each stream has cells of its own, as those of different callers do: passes attend to all of them.
        kept = runner.save(0, 0, depth) if depth and self._can_copy else None
        runner.close(0)
        slots = range(workload.slots)
        for slot in slots:
            if depth and (kept is None or not runner.restore(slot, kept, 0, depth)):
                self._read(slot, depth, to_the_end=True)
            runner.open(slot, _GREEDY)
        return Rates(prompt_rate, single_rate, self._generate(slots, depth, workload.stream_steps))

    def _read(self, slot: int, count: int, *, to_the_end: bool = False) -> tuple[int, float]:
        """Read so many prompt tokens into an empty slot. Returns how many it were, and the rate."""
        started, done = time.perf_counter(), 0
        while done < count and (to_the_end or not done or self._in_time(started)):
            tokens = self._tokens[done : min(count, done + self._pass_tokens)]
            self._pass([Chunk(slot, tokens, done, wants_token=False)])
            done += len(tokens)
        return done, done / (time.perf_counter() - started)

    def _generate(self, slots: Sequence[int], position: int, steps: int) -> float:
        """Generate in these slots, whose next token has this position. Returns the rate of all together."""
        tokens = [self._tokens[0]] * len(slots)
        started, done = time.perf_counter(), 0
        while done < steps and (not done or self._in_time(started)):
            tokens = self._pass(
                [
                    Chunk(slot, (token,), position + done, wants_token=True)
                    for slot, token in zip(slots, tokens, strict=True)
                ]
            )
            done += 1
        return done * len(slots) / (time.perf_counter() - started)

    def _in_time(self, started: float) -> bool:
        return time.perf_counter() - started < self._workload.limit_seconds

    def _pass(self, chunks: list[Chunk]) -> list[int]:
        """One forward pass. Returns the tokens sampled."""
        self._check()
        sampled: list[int] = []
        for (result,) in self._runner.run(chunks):
            if isinstance(result, InferenceError):
                raise result
            sampled.append(result.token_id)
        return sampled


def _no_grammar(_gbnf: str) -> NoReturn:
    raise AssertionError("no grammar is measured")
