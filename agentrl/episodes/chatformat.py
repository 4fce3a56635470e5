"""A chat template with a set of tools: what stands before, between and after turns.

What follows a turn is cut out of the render of a small conversation in which the policy said one
word that occurs nowhere else, so that whatever a template puts between messages (Qwen's newline
after `<|im_end|>`, the `<|observation|>` that ends a turn in GLM) is neither lost nor doubled:

    render(user, PROBE, tool)   ...PROBE<|im_end|>\\n<|im_start|>tool..assistant\\n
    what follows the turn              ^------------------------------------------^
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from agentrl.core import Image, Message, ModelError, Origin, ToolCall
from agentrl.episodes.traits import CUT, PROBE, Traits, short_id
from agentrl.models import ChatTokenizer

_HM = "agentrlthought"
_THOUGHT = f"<think>\n{_HM}\n</think>\n\n{PROBE}"
_PROBES = [Message("user", "q"), Message("assistant", PROBE)]
# Control token i inside untrusted text travels through the template as the character _MARK + i:
# one character, so that no template can take it for a control token or cut it in two.
_MARK = 0x100000
# Image i of a conversation travels as the character _IMAGE + i, where its placeholder stands.
_IMAGE, _LAST = 0x108000, 0x10FFFE
_MARKED = re.compile("([\U00100000-\U0010fffe])")
_UNWRITABLE = re.compile("[\ud800-\udfff\U00100000-\U0010ffff]")

Pieces = list[tuple[str, Origin]]


class ChatFormat:
    """One per environment: probing the template costs some renders.

    Attributes:
        end_of_turn: text of the token that closes an assistant message in the template; "" when
            none does and the next message's marker ends the turn (GLM).
        rewrites: for "tool" and "user": an earlier turn looks different once such a message
            follows.
    """

    def __init__(
        self, tokenizer: ChatTokenizer, tools: list[dict[str, Any]], instructions: str = ""
    ) -> None:
        """
        Args:
            instructions: what to tell the policy of its tools; used only with a template that
                does not show them.
        """
        self.tokenizer = tokenizer
        self.tools = tools
        self.traits = Traits.of(tokenizer)
        self._instructions = instructions
        self._controls = sorted(tokenizer.specials, key=lambda s: (-len(s), s))
        self._control_ids = {i for s in self._controls for i in tokenizer.encode(s)}
        self._special = re.compile("|".join(map(re.escape, [CUT, *self._controls])))
        closer = tokenizer.decode([tokenizer.end_of_turn])
        behind = self._tail([Message("user", "q")])
        self.end_of_turn = closer if behind.startswith(closer) else ""
        answers = (Message("tool", "r", name="f"), Message("user", "r"))
        self.rewrites = {str(m.role): self._rewrites(m) for m in answers}
        self._lean = False
        self._lean = all(self._tail([m], lean=True) == self._tail([m]) for m in answers)

    def render(
        self, messages: Sequence[Message], *, generation_prompt: bool, lean: bool = False
    ) -> str:
        """Text of a conversation, `traits.CUT` where messages were joined.

        Args:
            lean: leave the tools out; most of a render is theirs.

        Raises:
            ModelError: the template refuses the messages.
        """
        shown = self.traits.adapt(messages, "" if lean else self._instructions)
        tools = [] if lean else self.tools
        return self.tokenizer.render(shown, tools, generation_prompt=generation_prompt)

    def guard(self, message: Message, shown: list[Image]) -> Message:
        """Mark control tokens inside a message, so that they are encoded as text, and write what
        stands for its images in front of it.

        A policy that reads text only is told what it misses.

        Args:
            shown: images of the conversation so far; those of the message are added.
        """
        content, name = self._guarded(message.content), self._guarded(message.name)
        if message.images:
            content = self._with_images(message.images, content, shown)
        elif (content, name) == (message.content, message.name):
            return message
        return replace(message, content=content, name=name, images=[])

    def _with_images(self, images: Sequence[Image], content: str, shown: list[Image]) -> str:
        vision = self.tokenizer.vision
        if vision is None:
            count = len(images)
            many = "s" * (count > 1)
            return f"{content}\n[{count} image{many}, not shown: this policy reads text only]"
        texts = []
        for image in images:
            try:
                vision.tokens_of(image)
            except ModelError:
                texts.append("[an image that cannot be read]\n")
                continue
            mark = chr(min(_IMAGE + len(shown), _LAST))
            texts.append(self.tokenizer.image_text.replace(vision.placeholder, mark))
            shown.append(image)
        return "".join(texts) + content

    def guard_sampled(self, tokens: Sequence[int], text: str) -> str:
        """The text of sampled tokens; what was not sampled as a control token is marked."""
        sampled = sum(token in self._control_ids for token in tokens)
        if len(self._special.findall(text)) == sampled and not _UNWRITABLE.search(text):
            return text
        runs = groupby(tokens, key=lambda token: token in self._control_ids)
        pieces = [(control, self.tokenizer.decode(list(run))) for control, run in runs]
        return "".join(piece if control else self._guarded(piece) for control, piece in pieces)

    def encode(self, text: str) -> list[int]:
        """Ids of rendered text without images; what `guard` marked never becomes a control
        token."""
        return [token for ids, _ in self.parts(text, ()) for token in ids]

    def parts(self, text: str, images: Sequence[Image]) -> Iterator[tuple[list[int], Image | None]]:
        """Ids of rendered text, those of each image apart.

        Args:
            images: of the conversation, as `guard` collected them.
        """
        ids: list[int] = []
        for part in text.split(CUT):
            for i, piece in enumerate(_MARKED.split(part)):
                if i % 2 == 0:
                    ids.extend(self.tokenizer.encode(piece) if piece else ())
                elif ord(piece) < _IMAGE:
                    ids.extend(self.tokenizer.encode_plain(self._controls[ord(piece) - _MARK]))
                elif self.tokenizer.vision is not None and ord(piece) - _IMAGE < len(images):
                    image = images[ord(piece) - _IMAGE]
                    yield ids, None
                    yield self.tokenizer.vision.tokens_of(image), image
                    ids = []
        yield ids, None

    def tail(self, observations: Sequence[Message]) -> str:
        """What the template puts behind the text of a turn: its closing token, the observations
        and the next generation prompt. Raises ModelError when it refuses them."""
        return self._tail(observations, lean=self._lean)

    def _tail(self, observations: Sequence[Message], *, lean: bool = False) -> str:
        messages = [*_PROBES, *observations]
        return _behind_probe(self.render(messages, generation_prompt=True, lean=lean))

    def pieces(
        self, messages: Sequence[Message], show: Callable[[Sequence[Message]], str], plain: Origin
    ) -> Pieces | None:
        """The text `show(messages)`, cut where hints begin and end; what is no hint's is `plain`.

        The hints' text is what `show` of the other messages does not have. None when that is not
        the same text with stretches taken out: the template moves messages about.

        Raises:
            ModelError: `show` does.
        """
        text = show(messages)
        spans = self._hints(messages, text, show)
        if spans is None:
            return None
        out: Pieces = []
        start = 0
        for first, last in spans:
            out += [(text[start:first], plain), (text[first:last], Origin.HINT)]
            start = last
        return [piece for piece in [*out, (text[start:], plain)] if piece[0]]

    def _hints(
        self, messages: Sequence[Message], text: str, show: Callable[[Sequence[Message]], str]
    ) -> list[tuple[int, int]] | None:
        """Where each run of hint messages stands in `text`, in order."""
        spans: list[tuple[int, int]] = []
        rest = list(messages)
        while any(m.hint for m in rest):
            last = max(i for i, m in enumerate(rest) if m.hint)
            first = last
            while first and rest[first - 1].hint:
                first -= 1
            rest = rest[:first] + rest[last + 1 :]
            without = show(rest)
            inserted = self._inserted(text, without, spans[0][0] if spans else len(text))
            if inserted is None:
                return None
            spans.insert(0, inserted)
            text = without
        return spans

    def _inserted(self, text: str, without: str, end: int) -> tuple[int, int] | None:
        """The stretch of `text` that `without` lacks, before `end`, beside a control token where
        it can be.

        There tokens do not reach across its ends. None when more than one stretch differs.
        """
        length = len(text) - len(without)
        same = min(_alike(text, without), end - length)
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

    def _rewrites(self, answer: Message) -> bool:
        """Whether thoughts, or the messages before them, are lost when `answer` follows a later
        turn. False when the template refuses: what it has no way to say it cannot rewrite."""
        replies = [Message("tool", "r", name="f"), answer, answer]
        for calls in ([], [ToolCall("f", {}, id=short_id(""))]):
            try:
                return not self._only_appends(replies, calls)
            except ModelError:  # some (Mistral) want to see which turns are calls
                continue
        return False

    def _only_appends(self, replies: Sequence[Message], calls: list[ToolCall]) -> bool:
        messages, seen = [Message("user", "q")], ""
        for reply in replies:
            opened = self.render(messages, generation_prompt=True)
            as_call = bool(calls) and reply.role == "tool"
            messages.append(Message("assistant", _THOUGHT, calls=calls if as_call else []))
            closed = self.render(messages, generation_prompt=False)
            said = opened if as_call else closed[: closed.rfind(PROBE) + len(PROBE)]
            if not (opened.startswith(seen) and said.startswith(opened)):
                return False
            if not as_call and _HM not in said[len(opened) :]:
                return False  # the thought goes as soon as it was said
            messages.append(reply)
            seen = said
        return self.render(messages, generation_prompt=True).startswith(seen)


def _behind_probe(text: str) -> str:
    return text[text.rindex(PROBE) + len(PROBE) :] if PROBE in text else ""


def _alike(a: str, b: str) -> int:
    """Length of the common prefix."""
    differ = (i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y)
    return next(differ, min(len(a), len(b)))
