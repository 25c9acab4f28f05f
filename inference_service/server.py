"""The composition root: settings in, a running service out."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import structlog

from groundwire.inference.v1 import inference_pb2_grpc
from groundwire_rpc.running_telemetry import running_telemetry
from groundwire_rpc.security import backend_security
from groundwire_rpc.server import RpcServer, serve_until_stopped
from groundwire_rpc.telemetry import Telemetry
from inference_service.adapters.grammar import GrammarGate
from inference_service.adapters.llama import LlamaRunner
from inference_service.adapters.llama_model import LlamaModel
from inference_service.adapters.llama_options import EngineOptions, engine_options, load_options
from inference_service.adapters.model_files import ModelFile, resolve_model
from inference_service.adapters.observation import ObservedGeneration
from inference_service.adapters.tokenizer import GgufTokenizer
from inference_service.adapters.worker import EngineWorker
from inference_service.config import InferenceConfig
from inference_service.core.admission import Admission
from inference_service.core.chat_formats import ChatFormat, detect_chat_format
from inference_service.core.engine import Engine
from inference_service.core.errors import EngineStuck, EngineUnavailable
from inference_service.core.generation import Generation, LoadedModel
from inference_service.core.pacing import StepPacer
from inference_service.core.prompt import PromptBuilder
from inference_service.core.rendering import GROUNDING_INSTRUCTIONS
from inference_service.core.reuse import KvReuse
from inference_service.core.scheduler import Scheduler
from inference_service.core.types import ModelInfo
from inference_service.servicer import SERVICE_NAME, InferenceServicer

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Failure:
    """Why the engine broke, if it did."""

    happened: asyncio.Event = field(default_factory=asyncio.Event)
    reason: EngineUnavailable | None = None

    def report(self, reason: EngineUnavailable) -> None:
        """Note it, and wake who waits for it."""
        self.reason = reason
        self.happened.set()


async def serve(config: InferenceConfig, runner_type: type[LlamaRunner] = LlamaRunner) -> None:
    """Serve until a signal, with the model run by `runner_type`.

    Raises SettingsError, ModelError or AddressInUse; EngineFailed where the engine broke; and EngineStuck, where a
    thread of this process still uses the model: the process must end without freeing anything.
    """
    async with running_telemetry("inference", config, metrics_listen=config.inference_metrics_listen) as telemetry:
        await _serve(config, runner_type, telemetry)


async def _serve(config: InferenceConfig, runner_type: type[LlamaRunner], telemetry: Telemetry) -> None:
    generation = _observed_generation(telemetry)
    security = backend_security(
        config,
        "inference",
        config.inference_listen,
        token=config.backend_token,
        reflection=config.reflection,
        allow_insecure=config.allow_insecure_listen,
    )
    server = RpcServer(config.inference_listen, [SERVICE_NAME], security, telemetry, connections=config.connections)
    servicer = InferenceServicer(
        generation,
        default_timeout_seconds=config.inference_timeout_seconds,
        stall_seconds=config.inference_stream_stall_seconds,
    )
    inference_pb2_grpc.add_InferenceServiceServicer_to_server(servicer, server.grpc_server)
    async with AsyncExitStack() as resources:
        failure = Failure()

        async def load() -> None:
            generation.attach(await open_model(config, resources, failure.report, runner_type))

        await serve_until_stopped(
            "inference",
            server,
            grace_seconds=config.shutdown_grace_seconds,
            settle_seconds=config.shutdown_settle_seconds,
            work=load,
            failed=failure.happened,
        )
        if isinstance(failure.reason, EngineStuck):
            resources.pop_all()  # forgotten, not closed
    if failure.reason is not None:
        raise failure.reason


def _observed_generation(telemetry: Telemetry) -> Generation:
    generation = ObservedGeneration(clock=time.monotonic)
    if telemetry.registry is not None:
        from inference_service.adapters.metrics import GenerationMetrics, StatusCollector

        generation.counts = GenerationMetrics(telemetry.registry)
        telemetry.registry.register(StatusCollector(lambda: generation.status if generation.is_loaded else None))
    return generation


@dataclass(frozen=True, slots=True)
class _Weights:
    """What loading a file yields, in the order of its dependence."""

    model: LlamaModel
    runner: LlamaRunner
    tokenizer: GgufTokenizer
    chat_format: ChatFormat
    options: EngineOptions
    gpu_layers: int


async def open_model(
    config: InferenceConfig,
    resources: AsyncExitStack,
    on_failure: Callable[[EngineUnavailable], None],
    runner_type: type[LlamaRunner] = LlamaRunner,
) -> LoadedModel:
    """Load the model and start its engine; `resources` gives back all of it. Calls `on_failure` if the engine breaks
    later.

    Raises ModelError.
    """
    started = time.monotonic()
    file = resolve_model(config.model, config.models_dir)
    log.info("loading model", model=file.name)
    grammars = GrammarGate(file.path)
    resources.push_async_callback(grammars.close)
    given_up = threading.Event()
    try:
        weights = await asyncio.to_thread(_load_weights, config, file, grammars, given_up.is_set, runner_type)
    except asyncio.CancelledError:
        given_up.set()  # the process cannot end before its threads have
        raise
    resources.callback(weights.model.close)
    resources.callback(weights.runner.free)
    shape, options = weights.model.shape, weights.options
    info = ModelInfo(
        name=file.name,
        architecture=shape.architecture,
        chat_family=weights.chat_format.family,
        parameter_count=shape.weights.parameter_count,
        file_bytes=shape.weights.tensor_bytes,
        context_length=min(options.context.kv_cells, shape.training_context_length),
        training_context_length=shape.training_context_length,
        vocabulary_size=shape.weights.vocabulary_size,
        quantization=shape.quantization,
    )
    engine = _make_engine(config, weights.runner, options)
    worker = EngineWorker(
        engine,
        Admission(
            slots=config.inference_slots,
            queue=config.inference_queue,
            caller_queue=config.inference_caller_queue,
        ),
        on_failure=on_failure,
        stuck_seconds=config.inference_stuck_seconds,
        mailbox_bytes=config.inference_stream_buffer_bytes,
    )
    resources.push_async_callback(worker.close)
    prompts = PromptBuilder(
        weights.tokenizer,
        weights.chat_format,
        context_length=info.context_length,
        system_text=file.system_text or GROUNDING_INSTRUCTIONS,
    )
    log.info(
        "model loaded",
        model=info.name,
        kv_cells=options.context.kv_cells,
        kv_type=str(options.context.kv_type),
        threads=options.context.threads,
        gpu_layers=weights.gpu_layers,
        prefix_cache_mib=options.prefix_cache_bytes // 2**20,
        draft_tokens=options.draft_tokens,
        seconds=round(time.monotonic() - started, 2),
    )
    return LoadedModel(info, prompts, grammars, worker, weights.tokenizer.adds_space_prefix)


def _make_engine(config: InferenceConfig, runner: LlamaRunner, options: EngineOptions) -> Engine:
    context = options.context
    scheduler = Scheduler(slots=config.inference_slots, kv_cells=context.kv_cells, parking_slots=options.parking_slots)
    return Engine(
        runner,
        scheduler,
        StepPacer(
            target_seconds=config.inference_step_seconds,
            max_step_tokens=context.batch_tokens,
            attention_tile=context.attention_tile,
        ),
        KvReuse(runner, scheduler, limit_bytes=options.prefix_cache_bytes, clock=time.monotonic),
        draft_tokens=options.draft_tokens,
        queue_capacity=config.inference_queue,
        clock=time.monotonic,
    )


def _load_weights(
    config: InferenceConfig,
    file: ModelFile,
    grammars: GrammarGate,
    given_up: Callable[[], bool],
    runner_type: type[LlamaRunner],
) -> _Weights:
    # The tokenizer first: it refuses a file of an unknown chat family before gigabytes are read.
    tokenizer = GgufTokenizer.load(file.path)
    chat_format = detect_chat_format(
        tokenizer.template, tokenizer.architecture, tokenizer.control_id, tokenizer.bos_id, tokenizer.encode
    )
    loading = load_options(config, file.path)
    model = LlamaModel(file.path, loading, given_up=given_up)
    try:
        options = engine_options(config, model.shape, loading)
        runner = runner_type(model, options.context, open_grammar=grammars.open)
    except BaseException:
        model.close()
        raise
    return _Weights(model, runner, tokenizer, chat_format, options, loading.gpu_layers)
