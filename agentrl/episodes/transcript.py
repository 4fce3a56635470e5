"""The token-exact record of a conversation while it grows.

Only what is new is rendered and tokenised; ids that were sampled are kept as they are. What
follows a turn is the difference of two renders, cut at the end-of-turn token, so that whatever a
template puts between messages (Qwen's newline after `<|im_end|>`) is neither lost nor doubled:

    render(user, assistant)                     ...<|im_end|>\\n
    render(user, assistant, tool) + generation  ...<|im_end|>\\n<|im_start|>tool...assistant\\n
    suffix                                                   ^--------------------------------^

A template that rewrites what was said before (stripped thinking) gets a new segment instead.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from agentrl.core import Generation, Message, Origin, Segment, SegmentBuilder
from agentrl.models import ChatTokenizer

_PROBE = [Message("user", "q"), Message("assistant", "a")]
_THOUGHT = "<think>\nt\n</think>\n\na"
# Control token i inside untrusted text travels through the template as the character _MARK + i:
# one character, so that no template can take it for a control token or cut it in two.
_MARK = 0x100000
_MARKED = re.compile("([\U00100000-\U0010ffff])")
_UNWRITABLE = re.compile("[\ud800-\udfff\U00100000-\U0010ffff]")

Pieces = list[tuple[str, Origin]]


class ChatFormat:
    """A chat template with a set of tools: what to append after a turn. One per environment."""

    def __init__(self, tokenizer: ChatTokenizer, tools: list[dict[str, Any]]) -> None:
        self.tokenizer = tokenizer
        self.tools = tools
        self.end_of_turn = tokenizer.decode([tokenizer.end_of_turn])
        self._controls = sorted(tokenizer.specials, key=lambda s: (-len(s), s))
        self._control_ids = {i for s in self._controls for i in tokenizer.encode(s)}
        self._special = re.compile("|".join(map(re.escape, self._controls)) or "(?!)")
        closed = self.render(_PROBE, generation_prompt=False)
        cut = closed.rfind(self.end_of_turn)
        self.after_turn = closed[cut + len(self.end_of_turn) :] if cut >= 0 else ""
        self.rewrites_history = self._rewrites_history()

    def render(self, messages: Sequence[Message], *, generation_prompt: bool) -> str:
        return self.tokenizer.render(
            list(messages), self.tools, generation_prompt=generation_prompt
        )

    def guard(self, message: Message) -> Message:
        """Mark control tokens inside a message, so that they are encoded as text."""
        content, name = self._guarded(message.content), self._guarded(message.name)
        if (content, name) == (message.content, message.name):
            return message
        return replace(message, content=content, name=name)

    def guard_sampled(self, tokens: Sequence[int], text: str) -> str:
        """The text of sampled tokens; what was not sampled as a control token is marked."""
        sampled = sum(token in self._control_ids for token in tokens)
        if len(self._special.findall(text)) == sampled:
            return text
        runs = groupby(tokens, key=lambda token: token in self._control_ids)
        pieces = [(control, self.tokenizer.decode(list(run))) for control, run in runs]
        return "".join(piece if control else self._guarded(piece) for control, piece in pieces)

    def encode(self, text: str) -> list[int]:
        """Ids of rendered text; what `guard` marked never becomes a control token."""
        ids: list[int] = []
        for i, piece in enumerate(_MARKED.split(text)):
            if i % 2:
                ids.extend(self.tokenizer.encode_plain(self._controls[ord(piece) - _MARK]))
            elif piece:
                ids.extend(self.tokenizer.encode(piece))
        return ids

    def suffix(self, observations: Sequence[Message]) -> Pieces | None:
        """What to append after the end-of-turn token of a turn, the generation prompt included.

        Returns None when the template does not simply append it.
        """
        messages = [*_PROBE, *observations]
        before = self.render(_PROBE, generation_prompt=False)
        text = self.render(messages, generation_prompt=True)
        if not text.startswith(before):
            return None
        pieces = self.pieces(messages, text, len(before), Origin.OBSERVATION)
        return [(self.after_turn, Origin.OBSERVATION), *pieces]

    def pieces(self, messages: Sequence[Message], text: str, start: int, plain: Origin) -> Pieces:
        """The render `text` of `messages` from `start` on, cut where hints begin and end.

        The hints' text is what the render without them does not have.
        """
        out: Pieces = []
        for first, last in self._hints(messages, text):
            first, last = max(first, start), max(last, start)
            out += [(text[start:first], plain), (text[first:last], Origin.HINT)]
            start = last
        return [piece for piece in [*out, (text[start:], plain)] if piece[0]]

    def _hints(self, messages: Sequence[Message], text: str) -> list[tuple[int, int]]:
        """Where each run of hint messages stands in `text`, in order."""
        spans: list[tuple[int, int]] = []
        rest = list(messages)
        while any(m.hint for m in rest):
            last = max(i for i, m in enumerate(rest) if m.hint)
            first = last
            while first and rest[first - 1].hint:
                first -= 1
            rest = rest[:first] + rest[last + 1 :]
            without = self.render(rest, generation_prompt=True) if rest else ""
            inserted = self._inserted(text, without)
            if inserted is None:  # the template moves messages about: which part is whose?
                return [(0, spans[0][1] if spans else len(text)), *spans[1:]]
            spans.insert(0, inserted)
            text = without
        return spans

    def _inserted(self, text: str, without: str) -> tuple[int, int] | None:
        """The stretch of `text` that `without` lacks, beside a control token where it can be.

        There tokens do not reach across its ends. None when more than one stretch differs.
        """
        length = len(text) - len(without)
        same = _alike(text, without)
        alike = _alike(text[::-1], without[::-1])
        if length < 0 or same + alike < len(without):
            return None
        for at in range(same, max(len(without) - alike, 0) - 1, -1):
            if self._special.match(text, at) or self._special.match(text, at + length):
                return at, at + length
        return same, same + length

    def _guarded(self, text: str) -> str:
        text = _UNWRITABLE.sub("\ufffd", text)
        return self._special.sub(lambda m: chr(_MARK + self._controls.index(m.group())), text)

    def _rewrites_history(self) -> bool:
        """True when an earlier turn looks different once there are later ones."""
        said = [Message("user", "q"), Message("assistant", _THOUGHT)]
        early = self.render(said, generation_prompt=False)
        late = self.render([*said, Message("user", "q")], generation_prompt=True)
        opened = self.render(said[:1], generation_prompt=True)
        return not (late.startswith(early) and early.startswith(opened + _THOUGHT))


def _alike(a: str, b: str) -> int:
    """Length of the common prefix."""
    differ = (i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y)
    return next(differ, min(len(a), len(b)))


class Transcript:
    """One conversation: `open`, then `add_turn` and `add_observations` in alternation."""

    def __init__(self, chat: ChatFormat) -> None:
        self._chat = chat
        self._done: list[Segment] = []
        self._segment = SegmentBuilder()
        self._messages: list[Message] = []
        self._text = ""
        self._ended = True

    @property
    def tokens(self) -> list[int]:
        """Ids of the current segment: what the engine is given."""
        return self._segment.tokens

    def open(self, messages: Sequence[Message]) -> None:
        """Render the first messages and the generation prompt."""
        self._messages = [self._chat.guard(m) for m in messages]
        text = self._chat.render(self._messages, generation_prompt=True)
        self._append(self._chat.pieces(self._messages, text, 0, Origin.PROMPT), turn=-1)

    def add_turn(self, generation: Generation, turn: int) -> str:
        """Append a turn as it was sampled; returns its text without the end-of-turn token."""
        tokens = generation.tokens.tolist()
        self._segment.append_sampled(
            tokens, generation.logprobs.tolist(), generation.weights.tolist(), turn
        )
        self._ended = generation.finish_reason == "stop"
        said = tokens[:-1] if self._ended else tokens
        text = self._chat.tokenizer.decode(said)
        guarded = self._chat.guard_sampled(said, text)
        self._messages.append(Message("assistant", guarded))
        self._text += guarded + self._chat.end_of_turn
        return text

    def add_observations(self, observations: Sequence[Message], turn: int) -> None:
        """Append what the environment answered to that turn, and the next generation prompt."""
        new = [self._chat.guard(m) for m in observations]
        self._messages += new
        pieces = None if self._chat.rewrites_history else self._chat.suffix(new)
        if pieces is None:
            self._extend_or_reopen(turn)
        else:
            self._append(self._closed(pieces), turn)

    def segments(self) -> list[Segment]:
        return [*self._done, self._segment.build()]

    def _append(self, pieces: Pieces, turn: int) -> None:
        for origin, run in groupby(pieces, key=lambda piece: piece[1]):
            text = "".join(piece for piece, _ in run)
            self._text += text
            self._segment.append(self._chat.encode(text), origin, turn)

    def _closed(self, pieces: Pieces) -> Pieces:
        """A turn cut by the length limit is closed for the policy, untrained."""
        if self._ended:
            return pieces
        self._text = self._text.removesuffix(self._chat.end_of_turn)
        return [(self._chat.end_of_turn, Origin.OBSERVATION), *pieces]

    def _extend_or_reopen(self, turn: int) -> None:
        """Compare with a full render: append the rest, or begin a new segment."""
        full = self._chat.render(self._messages, generation_prompt=True)
        if full.startswith(self._text):
            pieces = self._chat.pieces(self._messages, full, len(self._text), Origin.OBSERVATION)
            self._append(self._closed(pieces), turn)
            return
        self._done.append(self._segment.build())
        self._segment, self._text = SegmentBuilder(), ""
        self._append(self._chat.pieces(self._messages, full, 0, Origin.PROMPT), turn)
