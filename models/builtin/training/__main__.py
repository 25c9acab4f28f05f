import argparse
import os
import random
import sys
from pathlib import Path

import torch

from models.builtin.training import codes, corpus, facts, synonyms
from models.builtin.training.cases import CaseMaker
from models.builtin.training.examples import Encoder, examples
from models.builtin.training.marks import Marks
from models.builtin.training.shape import Shape
from models.builtin.training.training import State, stage_of, train
from models.builtin.training.vocabulary import Vocabulary

HERE = Path(__file__).parent
MODEL = HERE.parent / "groundwire-builtin.gguf"
MEANINGS = "meanings.npz"
_CHECKED_TOKENS = 512
LARGEST_LOGIT_DIFFERENCE = 0.02
"""Between the trainer's and llama.cpp's logits in f32, whose own range is about 40: sums in another order."""


def main() -> None:
    """Make the built-in model, stage by stage."""
    parser = argparse.ArgumentParser(prog="python -m models.builtin.training", description=main.__doc__)
    parser.add_argument(
        "--work", type=Path, default=Path(".groundwire/training"), help="folder of texts and checkpoints"
    )
    parser.add_argument("--threads", type=int, default=0, help="threads; 0: as many as torch thinks best")
    parser.add_argument("--vocabulary", type=Path, default=MODEL, help="GGUF file whose vocabulary is used")
    stages = parser.add_subparsers(dest="stage", required=True)
    stages.add_parser("corpus", help="bring the texts, part them into passages, and find what tokens mean")
    show = stages.add_parser("show", help="print examples")
    show.add_argument("count", type=int)
    show.add_argument("--tokens", type=float, default=0.0, help="at which point of the curriculum")
    trained = stages.add_parser("train", help="train from the checkpoint, or from the start where there is none")
    trained.add_argument("--minutes", type=float, required=True)
    trained.add_argument("--anneal", action="store_true", help="lower the learning rate to its end meanwhile")
    trained.add_argument("--checkpoint", default="checkpoint.pt", help="its name in the folder (checkpoint.pt)")
    trained.add_argument("--save-as", default="", help="another name to save as")
    trained.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    trained.add_argument("--workers", type=int, default=0, help="processes that make examples; 0: by the device")
    trained.add_argument("--seed", type=int, default=0, help="of the examples drawn; give another one each time")
    exported = stages.add_parser("export", help="write the checkpoint as a GGUF file and check it against llama.cpp")
    exported.add_argument("--checkpoint", default="checkpoint.pt")
    exported.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    # Processes that make examples are forked, which tokenizers' own threads would not survive.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    {"corpus": _corpus, "show": _show, "train": _train, "export": _export}[arguments.stage](arguments)


def _corpus(arguments: argparse.Namespace) -> None:
    corpus.download(arguments.work)
    path = corpus.build(arguments.work)
    print(f"{path}: passages by language: {corpus.by_language(corpus.load(path))}")
    vectors = codes.WordVectors.load(Shape().layout.meaning)
    codes.Meanings.of(Vocabulary.load(arguments.vocabulary), vectors).save(arguments.work / MEANINGS)


def _maker(arguments: argparse.Namespace, seed: int) -> CaseMaker:
    words = arguments.work / "text" / corpus.THESAURUS / "usr/share/wordnet"
    passages = corpus.load(arguments.work / "corpus.jsonl")
    return CaseMaker(passages, facts.load(HERE / "templates"), synonyms.load(words), random.Random(seed))


def _encoder(arguments: argparse.Namespace, vocabulary: Vocabulary, seed: int) -> Encoder:
    meanings = codes.Meanings.load(arguments.work / MEANINGS)
    return Encoder(vocabulary, random.Random(seed), meanings.neighbours(vocabulary))


def _show(arguments: argparse.Namespace) -> None:
    vocabulary = Vocabulary.load(arguments.vocabulary)
    maker, encoder = _maker(arguments, 1), _encoder(arguments, vocabulary, 1)
    stage = stage_of(arguments.tokens)
    maker.mixture = stage.mixture
    stream = examples(maker, encoder, lambda: stage.longest)
    for _ in range(arguments.count):
        example = next(stream)
        text = b"".join(vocabulary.texts[token_id] or b"|" for token_id in example.ids)
        print(text.decode(errors="replace").partition("question.||")[2] or text.decode(errors="replace"))
        print(f"--- {len(example.ids)} tokens")


def _train(arguments: argparse.Namespace) -> None:
    path = arguments.work / arguments.checkpoint
    vocabulary = Vocabulary.load(arguments.vocabulary)
    if path.exists():
        state = State.load(path)
        print(f"going on from {path}: {state.steps} steps, {state.tokens / 1e6:.2f} M tokens")
    else:
        shape = Shape(vocabulary=vocabulary.size)
        meanings = codes.Meanings.load(arguments.work / MEANINGS)
        embeddings = torch.from_numpy(codes.embeddings(vocabulary, shape.layout, meanings))
        state = State.new(shape, embeddings, Marks.of(vocabulary))
    count = sum(parameter.numel() for parameter in state.network.parameters())
    print(
        f"{count / 1e6:.2f} M trained parameters beside {state.network.embeddings.numel() / 1e6:.2f} M of fixed codes"
    )
    seed = arguments.seed + state.steps
    maker, encoder = _maker(arguments, seed), _encoder(arguments, vocabulary, seed)
    workers = arguments.workers or (1 if arguments.device == "cpu" else max(1, (os.cpu_count() or 2) - 2))
    saved = arguments.work / (arguments.save_as or arguments.checkpoint)
    try:
        train(
            state,
            maker,
            encoder,
            saved,
            seconds=arguments.minutes * 60,
            anneal=arguments.anneal,
            seed=seed,
            workers=workers,
            device=arguments.device,
        )
    except KeyboardInterrupt:
        sys.exit(f"stopped; the state is in {saved}")


def _export(arguments: argparse.Namespace) -> None:
    # Needs llama.cpp, which a machine that only trains may lack.
    from models.builtin.training import export

    network = State.load(arguments.work / arguments.checkpoint).network.eval()
    vocabulary = Vocabulary.load(arguments.vocabulary)
    maker, encoder = _maker(arguments, 2), _encoder(arguments, vocabulary, 2)
    stream = examples(maker, encoder, lambda: _CHECKED_TOKENS)
    prompts = [next(stream).ids for _ in range(5)]
    exact = arguments.work / "exact.gguf"
    export.export(network, arguments.vocabulary, exact, precision="f32")
    difference = export.largest_difference(network, exact, prompts)
    exact.unlink()
    print(f"largest difference of a logit to llama.cpp's, in f32: {difference:.5f}")
    if difference > LARGEST_LOGIT_DIFFERENCE:
        sys.exit(f"that is more than {LARGEST_LOGIT_DIFFERENCE}: llama.cpp does not compute this network")
    export.export(network, arguments.vocabulary, arguments.output)
    print(f"{arguments.output}: {arguments.output.stat().st_size:,} bytes")


main()
