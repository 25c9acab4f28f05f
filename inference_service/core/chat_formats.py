"""How a chat becomes token ids, for each known family of chat templates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from inference_service.core.errors import UnknownChatFamily
from inference_service.core.types import Role

ControlId = Callable[[str], int | None]
"""The id of a control token by its text, such as <|end|>; None where the vocabulary has none."""
Encode = Callable[[str], list[int]]
"""Text to token ids, control tokens off."""


@dataclass(frozen=True, slots=True)
class ChatFormat:
    """The token ids around the texts of a chat: `bos`, then each turn between its opening and its closing."""

    family: str
    """phi3, chatml or llama3."""
    bos: tuple[int, ...]
    """Begins every sequence; empty where the model has none."""
    system: tuple[int, ...]
    user: tuple[int, ...]
    assistant: tuple[int, ...]
    """Opens the model's turn: of the history, and of the answer to be generated."""
    end: tuple[int, ...]
    """Closes every turn. Its first id is the one by which the model ends its own."""
    trims_content: bool = False
    """White space around a turn's text is dropped, as the family's published template does."""

    def opening(self, role: Role) -> tuple[int, ...]:
        """Return the ids before a turn's text."""
        match role:
            case Role.SYSTEM:
                return self.system
            case Role.USER:
                return self.user
            case Role.ASSISTANT:
                return self.assistant

    def closing(self, role: Role) -> tuple[int, ...]:  # noqa: ARG002 - the known families close all turns alike
        """Return the ids behind a turn's text."""
        return self.end

    @property
    def generation_prompt(self) -> tuple[int, ...]:
        """The ids at the prompt's end, behind which the model answers."""
        return self.assistant

    @property
    def end_of_turn(self) -> int:
        """The id by which the model ends its turn."""
        return self.end[0]

    def content(self, text: str) -> str:
        """Return a turn's text as the family's template takes it."""
        return text.strip() if self.trims_content else text


def detect_chat_format(
    template: str | None, architecture: str, control_id: ControlId, bos_id: int | None, encode: Encode
) -> ChatFormat:
    """Return the chat format of a model.

    The family is recognised by the control tokens that its template names. The template itself is never run: the one
    in Microsoft's Phi-3 file drops system messages, and text rendered by a template could forge control tokens.
    A file without a template is taken by its architecture, where that is phi3. `bos_id` is None for a model whose
    sequences begin with no such token.

    Raises UnknownChatFamily where the family is none of these, or the vocabulary lacks one of its control tokens.
    """
    family = _family(template, architecture)
    ids = _ControlIds(family, control_id)
    bos = () if bos_id is None else (bos_id,)
    match family:
        case "phi3":
            return _phi3(ids, bos)
        case "chatml":
            return _chatml(ids, bos, encode)
        case _:
            return _llama3(ids, bos or (ids["<|begin_of_text|>"],), encode)


def _family(template: str | None, architecture: str) -> str:
    if template is None:
        if architecture == "phi3":
            return "phi3"
        raise UnknownChatFamily(
            f"The model file holds no chat template, and its architecture {architecture!r} does not tell the format. "
            f"{_WHAT_TO_DO}"
        )
    # Phi-4 writes <|im_sep|> where ChatML has a line end.
    for family, named, unlike in _SIGNS:
        if all(token in template for token in named) and not any(token in template for token in unlike):
            return family
    raise UnknownChatFamily(f"The model's chat template is of no known family. {_WHAT_TO_DO}")


_SIGNS = (
    ("llama3", ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"), ()),
    ("chatml", ("<|im_start|>", "<|im_end|>"), ("<|im_sep|>",)),
    ("phi3", ("<|user|>", "<|assistant|>", "<|end|>"), ()),
)
_WHAT_TO_DO = (
    f"Known are {', '.join(sorted(family for family, _, _ in _SIGNS))}. Set GROUNDWIRE_MODEL to a chat model of one of "
    "these, such as Phi-3 (phi3), Qwen2.5 (chatml) or Llama 3 (llama3); base models without a chat format do not work."
)


class _ControlIds:
    """The control tokens that a family cannot do without."""

    def __init__(self, family: str, control_id: ControlId) -> None:
        self._family = family
        self._control_id = control_id

    def __getitem__(self, token: str) -> int:
        found = self._control_id(token)
        if found is None:
            raise UnknownChatFamily(
                f"The model's chat format looks like {self._family}, but its vocabulary has no control token {token}. "
                f"{_WHAT_TO_DO}"
            )
        return found


def _phi3(ids: _ControlIds, bos: tuple[int, ...]) -> ChatFormat:
    """`<|user|>text<|end|>`: the model's own tokenizer drops the line ends that its template writes around."""
    return ChatFormat(
        family="phi3",
        bos=bos,
        system=(ids["<|system|>"],),
        user=(ids["<|user|>"],),
        assistant=(ids["<|assistant|>"],),
        end=(ids["<|end|>"],),
    )


def _chatml(ids: _ControlIds, bos: tuple[int, ...], encode: Encode) -> ChatFormat:
    """`<|im_start|>user\\ntext<|im_end|>\\n`."""

    def opening(role: Role) -> tuple[int, ...]:
        return (ids["<|im_start|>"], *encode(f"{role.value}\n"))

    return ChatFormat(
        family="chatml",
        bos=bos,
        system=opening(Role.SYSTEM),
        user=opening(Role.USER),
        assistant=opening(Role.ASSISTANT),
        end=(ids["<|im_end|>"], *encode("\n")),
    )


def _llama3(ids: _ControlIds, bos: tuple[int, ...], encode: Encode) -> ChatFormat:
    """`<|start_header_id|>user<|end_header_id|>\\n\\ntext<|eot_id|>`, the text trimmed."""

    def opening(role: Role) -> tuple[int, ...]:
        return (ids["<|start_header_id|>"], *encode(role.value), ids["<|end_header_id|>"], *encode("\n\n"))

    return ChatFormat(
        family="llama3",
        bos=bos,
        system=opening(Role.SYSTEM),
        user=opening(Role.USER),
        assistant=opening(Role.ASSISTANT),
        end=(ids["<|eot_id|>"],),
        trims_content=True,
    )
