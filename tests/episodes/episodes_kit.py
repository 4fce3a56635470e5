"""Templates in the shapes that are in use, tokenizers for them, and small policies and rewards."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from agentrl.core import Episode, Generation, Message, Score, Task
from agentrl.engines import ScriptedEngine
from agentrl.environments import Environment
from agentrl.episodes import ChatFormat, Limits, Runner, Transcript, dialect
from agentrl.models import COMPACT_SPECIALS, ChatTokenizer, builtin_template, train_tokenizer

TEMPLATES = Path(__file__).parents[1] / "data" / "templates"
_IM = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_QWEN = (*_IM, "<tool_call>", "</tool_call>")
_THINK = ("<think>", "</think>", "<tool_response>", "</tool_response>")
_LLAMA = (
    *("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>"),
    *("<|eot_id|>", "<|eom_id|>", "<|python_tag|>"),
)
_MISTRAL = (
    *("<s>", "</s>", "[INST]", "[/INST]", "[TOOL_CALLS]", "[AVAILABLE_TOOLS]"),
    *("[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]"),
)
_DEEPSEEK = tuple(
    "<｜" + name.replace(" ", "▁") + "｜>"
    for name in (
        *("begin of sentence", "end of sentence", "User", "Assistant", "tool calls begin"),
        *("tool calls end", "tool call begin", "tool call end", "tool sep", "tool outputs begin"),
        *("tool outputs end", "tool output begin", "tool output end"),
    )
)
_GLM = (
    *("<|endoftext|>", "[gMASK]", "<sop>", "<|system|>", "<|user|>", "<|assistant|>"),
    *("<|observation|>", "<think>", "</think>", "<tool_call>", "</tool_call>"),
)
_GEMMA = ("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>")


@dataclass(frozen=True)
class Shape:
    """A family's template and control tokens; its first token begins a text.

    Attributes:
        eos: what the tokenizer says ends a text.
        ends: how the policy ends a turn that is answered by a tool, and by a user.
        thought: what a policy says, with a thought in it, behind the generation prompt.
    """

    specials: tuple[str, ...]
    eos: str
    ends: tuple[str, str]
    file: str = ""
    thought: str = "<think>\nhm\n</think>\n\nlook"
    variables: tuple[tuple[str, Any], ...] = ()


def _closed(specials: tuple[str, ...], eos: str, **more: Any) -> Shape:
    return Shape(specials, eos, (eos, eos), **more)


SHAPES = {
    "compact": _closed(COMPACT_SPECIALS, "<|end|>"),
    "deepseek_r1": _closed((*_DEEPSEEK, *_THINK[:2]), _DEEPSEEK[1], thought="hm\n</think>\n\nlook"),
    "deepseek_v3": _closed(_DEEPSEEK, _DEEPSEEK[1]),
    "gemma": _closed(_GEMMA, "<end_of_turn>"),
    "glm4": Shape(_GLM, "<|endoftext|>", ("<|observation|>", "<|user|>")),
    "glm45": Shape(
        _GLM, "<|endoftext|>", ("<|observation|>", "<|user|>"), thought="\n<think>hm</think>\nlook"
    ),
    "llama3": _closed(_LLAMA, "<|eot_id|>"),
    "llama32_pythonic": _closed(_LLAMA, "<|eot_id|>"),
    "mistral": _closed(_MISTRAL, "</s>"),
    "qwen25": _closed(_QWEN, "<|im_end|>"),
    "qwen3": _closed(_QWEN + _THINK, "<|im_end|>"),
    "qwen3_coder": _closed(_QWEN, "<|im_end|>"),
    "qwen3_quiet": _closed(
        _QWEN + _THINK, "<|im_end|>", file="qwen3", variables=(("enable_thinking", False),)
    ),
    "smollm2": _closed(_IM, "<|im_end|>"),
}
# Those whose history a user message changes: thoughts go, or Mistral's tools move.
REWRITING = {
    "deepseek_r1": {"tool", "user"},
    "glm45": {"user"},
    "mistral": {"user"},
    "qwen3": {"user"},
    "qwen3_quiet": {"tool", "user"},
}
APPENDING = sorted(set(SHAPES) - set(REWRITING))
CONTROLS = sorted({s for shape in SHAPES.values() for s in shape.specials})
TEXTS = ["the test failed at line 12\n", 'look(line=3)\n{"name": "look"}', "user assistant tool"]
TOOLS = [
    {
        "type": "function",
        "function": {"name": "look", "description": "Look.", "parameters": {"properties": {}}},
    }
]


@lru_cache
def tokenizer_of(shape: str) -> ChatTokenizer:
    it = SHAPES[shape]
    file = TEMPLATES / f"{it.file or shape}.jinja"
    template = builtin_template("compact") if shape == "compact" else file.read_text("utf-8")
    hf = train_tokenizer(TEXTS * 10, 600, it.specials, eos=it.eos)
    return ChatTokenizer(
        hf, template, variables={"bos_token": it.specials[0], **dict(it.variables)}
    )


@lru_cache
def format_of(shape: str) -> ChatFormat:
    return ChatFormat(tokenizer_of(shape), TOOLS, "There is look.")


def stop_of(shape: str, observations: Sequence[Message]) -> int:
    """The id with which this family's policy ends a turn that is answered so."""
    by_tool, by_user = SHAPES[shape].ends
    text = by_tool if observations and observations[0].role == "tool" else by_user
    return tokenizer_of(shape).encode(text)[0]


def control_ids(tokenizer: ChatTokenizer) -> set[int]:
    return {tokenizer.encode(special)[0] for special in tokenizer.specials}


class Recorder:
    """A transcript, and what an engine was given and gave at every turn."""

    def __init__(self, chat: ChatFormat, opening: Sequence[Message]) -> None:
        self.chat, self.transcript = chat, Transcript(chat)
        self.transcript.open(opening)
        self.given: list[list[int]] = []
        self.said: list[Generation] = []

    def turn(self, ids: Sequence[int], *, ended: bool = True) -> str:
        """Sampled ids, the end-of-turn token among them when `ended`; tells them apart by
        log-probability and version."""
        turn, n = len(self.said), len(ids)
        logprobs = -(1.0 + turn + np.arange(n) / 1024).astype(np.float32)
        weights = np.full(n, 100 + turn, np.int32)
        said = Generation(
            np.asarray(ids, np.int32), logprobs, weights, "stop" if ended else "length"
        )
        self.given.append(list(self.transcript.tokens))
        self.said.append(said)
        return self.transcript.add_turn(said, turn)

    def hear(self, observations: Sequence[Message]) -> None:
        self.transcript.add_observations(observations, len(self.said) - 1)


class Verdict:
    """A reward that counts how often it is asked."""

    name = "verdict"

    def __init__(self, value: float = 1.0) -> None:
        self.value, self.asked = value, 0

    async def score(self, episode: Episode) -> Score:
        self.asked += 1
        return Score(self.value)


def says(*messages: str) -> Callable[[int], Generator[str, str, None]]:
    """A script that says these messages in turn."""

    def script(seed: int) -> Generator[str, str, None]:
        yield ""
        for message in messages:  # noqa: UP028 (a tuple cannot be sent what is heard)
            yield message

    return script


def scripted_runner(
    make_environment: Callable[[], Environment],
    *messages: str,
    limits: Limits | None = None,
    reward: Verdict | None = None,
    judged: bool = True,
) -> Runner:
    tokenizer = tokenizer_of("compact")
    return Runner(
        ScriptedEngine(says(*messages), tokenizer),
        tokenizer,
        dialect("pythonic"),
        make_environment,
        reward or Verdict(),
        limits=limits or Limits(),
        judged=judged,
    )


def task(name: str = "t") -> Task:
    return Task(name, "do it")
