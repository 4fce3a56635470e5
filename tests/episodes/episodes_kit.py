"""Templates in the shapes that are in use, tokenizers for them, and small policies and rewards."""

from collections.abc import Callable, Generator, Sequence
from functools import lru_cache

import numpy as np

from agentrl.core import Episode, Generation, Message, Score, Task
from agentrl.engines import ScriptedEngine
from agentrl.environments import Environment
from agentrl.episodes import ChatFormat, Limits, Runner, Transcript, dialect
from agentrl.models import COMPACT_SPECIALS, ChatTokenizer, builtin_template, train_tokenizer

QWEN25 = """
{{- '<|im_start|>system\\n' }}
{{- messages[0].content if messages and messages[0].role == 'system' else 'Be brief.' }}
{%- for t in tools or [] %}{{- '\\n' + (t | tojson) }}{% endfor %}
{{- '<|im_end|>\\n' }}
{%- for m in messages %}
{%- if m.role == 'tool' %}
{%- if loop.first or loop.previtem.role != 'tool' %}{{- '<|im_start|>user' }}{% endif %}
{{- '\\n<tool_response>\\n' + m.content + '\\n</tool_response>' }}
{%- if loop.last or loop.nextitem.role != 'tool' %}{{- '<|im_end|>\\n' }}{% endif %}
{%- elif not (m.role == 'system' and loop.first) %}
{{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{% endif %}
"""

# Thoughts before the last user message go; within a run of tool calls they stay.
QWEN3 = """
{%- set ns = namespace(query=-1) %}
{%- for m in messages %}{% if m.role == 'user' %}{% set ns.query = loop.index0 %}{% endif %}
{%- endfor %}
{%- for m in messages %}
{%- if m.role == 'tool' %}
{%- if loop.first or loop.previtem.role != 'tool' %}{{- '<|im_start|>user' }}{% endif %}
{{- '\\n<tool_response>\\n' + m.content + '\\n</tool_response>' }}
{%- if loop.last or loop.nextitem.role != 'tool' %}{{- '<|im_end|>\\n' }}{% endif %}
{%- else %}
{%- set content = m.content %}
{%- if m.role == 'assistant' and loop.index0 < ns.query and '</think>' in content %}
{%- set content = content.split('</think>')[-1].lstrip('\\n') %}
{%- endif %}
{{- '<|im_start|>' + m.role + '\\n' + content + '<|im_end|>\\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{% endif %}
"""

LLAMA3 = """
{{- '<|begin_of_text|>' }}
{%- for m in messages %}
{%- set role = 'ipython' if m.role == 'tool' else m.role %}
{%- set content = (m.content | tojson) if m.role == 'tool' else (m.content | trim) %}
{{- '<|start_header_id|>' + role + '<|end_header_id|>\\n\\n' + content + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""

_QWEN = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>")
_THINK = ("<think>", "</think>", "<tool_response>", "</tool_response>")
_LLAMA = ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
SHAPES = {
    "compact": (builtin_template("compact"), COMPACT_SPECIALS, "<|end|>"),
    "qwen25": (QWEN25, _QWEN, "<|im_end|>"),
    "qwen3": (QWEN3, _QWEN + _THINK, "<|im_end|>"),
    "llama3": (LLAMA3, _LLAMA, "<|eot_id|>"),
}
APPENDING = ("compact", "qwen25", "llama3")
CONTROLS = sorted({s for _, specials, _ in SHAPES.values() for s in specials})
TEXTS = ["the test failed at line 12\n", 'look(line=3)\n{"name": "look"}', "user assistant tool"]
TOOLS = [
    {
        "type": "function",
        "function": {"name": "look", "description": "Look.", "parameters": {"properties": {}}},
    }
]


@lru_cache
def tokenizer_of(shape: str) -> ChatTokenizer:
    template, specials, eos = SHAPES[shape]
    return ChatTokenizer(train_tokenizer(TEXTS * 10, 600, specials, eos=eos), template)


@lru_cache
def format_of(shape: str) -> ChatFormat:
    return ChatFormat(tokenizer_of(shape), TOOLS)


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
