"""Text to token ids and back, with control tokens where they belong and nowhere else."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentrl.core import ImageTokens, Message, ModelError
from agentrl.models.template import render_content, render_template

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

_PROBE = "agentrlprobe"
_ASKED, _SAID = [Message("user", "Hello")], Message("assistant", _PROBE)
BROKEN = "\ufffd"
_CONTROL = re.compile(r"[<\[].*[>\]]", re.DOTALL)


class ChatTokenizer:
    """A HF fast tokenizer with its chat template.

    Attributes:
        end_of_turn: id that closes an assistant message.
        stop_ids: every id that ends a generation: `end_of_turn`, the tokenizer's eos and those of
            the generation config; where nothing closes a message (GLM), also the markers of the
            messages that can follow.
        specials: text of every control token.
        variables: names every render of the template sees (bos_token, enable_thinking, ..).
        vocab_size: one more than the largest id.
        vision: what stands for images; None for a policy that reads text only.
        image_text: what the template writes for one image; it holds `vision.placeholder` once.
    """

    def __init__(
        self,
        hf: PreTrainedTokenizerFast,
        template: str,
        *,
        eos: Iterable[int] = (),
        variables: dict[str, Any] | None = None,
        where: str = "",
        vision: ImageTokens | None = None,
    ) -> None:
        """
        Args:
            template: Jinja source.
            eos: ids that end a generation by the model's generation config.
            variables: extra template variables.
            where: the model directory, for error messages.

        Raises:
            ModelError: the template does not render, or no token closes an assistant message.
        """
        self.hf, self.template, self.where, self.vision = hf, template, where, vision
        self.variables = {**hf.special_tokens_map, **(variables or {})}
        self._full: Tokenizer = hf.backend_tokenizer
        added = self._full.get_added_tokens_decoder()
        control = {i: t.content for i, t in added.items() if _is_control(t.content, t.special)}
        self._control_ids = frozenset(control)
        self.specials = frozenset(control.values())
        self._plain = _without_added_tokens(self._full, self._control_ids)
        self.vocab_size = max(self._full.get_vocab(with_added_tokens=True).values()) + 1
        self._parts = False
        self._parts = vision is not None and _PROBE not in self._shown(_SAID)
        self.image_text = "" if vision is None else self._find_image_text(vision.placeholder)
        ends = list(dict.fromkeys([*eos, *_known(hf.eos_token_id)]))
        self.end_of_turn = self._find_end_of_turn(ends)
        markers = [] if self._closer() is not None else self._markers_behind()
        self.stop_ids = tuple(dict.fromkeys([self.end_of_turn, *ends, *markers]))

    def encode(self, text: str) -> list[int]:
        """Ids of template text: control tokens in it become their ids. Adds nothing."""
        return list(self._full.encode(text, add_special_tokens=False).ids)

    def encode_plain(self, text: str) -> list[int]:
        """Ids of untrusted text: what looks like a control token stays ordinary text."""
        ids = list(self._plain.encode(text, add_special_tokens=False).ids)
        if self._control_ids.isdisjoint(ids):
            return ids
        # Some vocabularies hold the control tokens as ordinary pieces too: cut them in two.
        pattern = "|".join(re.escape(s) for s in sorted(self.specials, key=len, reverse=True))
        cuts = [0, *(m.start() + 1 for m in re.finditer(pattern, text)), len(text)]
        parts = [text[a:b] for a, b in itertools.pairwise(cuts)]
        return [i for p in parts for i in self._plain.encode(p, add_special_tokens=False).ids]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids, control tokens kept as text; broken UTF-8 becomes U+FFFD."""
        return self._full.decode([int(i) for i in ids], skip_special_tokens=False)

    def texts(self, ids: Sequence[int]) -> list[str]:
        """What each id adds to the text; joined they are `decode(ids)`.

        A character that several ids make is added by the last of them; a broken one at the end
        stands with the last id.
        """
        added: list[str] = []
        # Decoders treat the first id of a text in a way of their own (it may lose its space), so
        # that ids are read behind those that added something last.
        before = done = 0
        for end in range(1, len(ids) + 1):
            text = self.decode(ids[before:end])
            if text.endswith(BROKEN) and end < len(ids):
                added.append("")
                continue
            added.append(text[len(self.decode(ids[before:done])) :])
            before, done = done, end
        return added

    def render(
        self,
        messages: Sequence[Message],
        tools: Sequence[dict[str, Any]] = (),
        *,
        generation_prompt: bool,
    ) -> str:
        """Text of a conversation by the chat template. Raises ModelError when it fails."""
        return render_template(
            self.template,
            messages,
            tools,
            generation_prompt=generation_prompt,
            variables=self.variables,
            parts=self._parts,
        )

    def save(self, path: Path) -> None:
        """Write tokenizer.json, tokenizer_config.json and chat_template.jinja."""
        self.hf.chat_template = self.template
        self.hf.save_pretrained(str(path))

    def _shown(self, *messages: Message) -> str:
        return self.render([*_ASKED, *messages], generation_prompt=False)

    def _find_image_text(self, placeholder: str) -> str:
        """What stands before a message's text when it has an image; the bare placeholder in a
        template that knows no images."""
        plain = [{"type": "text", "text": _PROBE}]
        try:
            with_image, without = (
                render_content(self.template, content, self.variables).split(_PROBE)[0]
                for content in ([{"type": "image"}, *plain], plain)
            )
        except ModelError:
            return placeholder
        found = with_image.removeprefix(without)
        return found if found.count(placeholder) == 1 else placeholder

    def _find_end_of_turn(self, ends: list[int]) -> int:
        """The first control token behind the text of an assistant message, else a known end."""
        closer = self._closer(ends)
        if closer is not None:
            return closer
        found = [*ends, *self._markers_behind()]
        if found:
            return found[0]
        raise ModelError(
            "no end-of-turn token found: the chat template closes an assistant message with no "
            "special token, and neither tokenizer nor generation_config.json names an eos token",
            where=self.where,
            fix="let the template end assistant messages with a special token, or set eos_token "
            "in tokenizer_config.json",
        )

    def _closer(self, ends: Iterable[int] = ()) -> int | None:
        text = self._shown(_SAID)
        if _PROBE not in text:
            raise ModelError(
                "the chat template leaves out the text of assistant messages",
                where=self.where,
                fix="correct chat_template.jinja in the model directory",
            )
        return self._first_control(text, ends)

    def _markers_behind(self) -> list[int]:
        """What the template begins the message behind an assistant's with."""
        found: list[int] = []
        for reply in (Message("tool", "r", call_id="a00000000"), Message("user", "r")):
            try:
                text = self.render([*_ASKED, _SAID, reply], generation_prompt=True)
            except ModelError:  # a template need not know tool messages
                continue
            marker = self._first_control(text)
            found += [] if marker is None else [marker]
        return found

    def _first_control(self, text: str, ends: Iterable[int] = ()) -> int | None:
        known = {*self._control_ids, *ends}
        return next((t for t in self.encode(text.rsplit(_PROBE, 1)[1]) if t in known), None)


def _known(value: int | list[int] | None) -> list[int]:
    if value is None:
        return []
    return [int(v) for v in value] if isinstance(value, (list, tuple)) else [int(value)]


def _is_control(text: str, special: bool) -> bool:
    """Also `<tool_call>` and the like, which tokenizers add without calling them special; but
    not the runs of spaces and the words that some add."""
    return special or _CONTROL.fullmatch(text) is not None


def _without_added_tokens(full: Tokenizer, control_ids: frozenset[int]) -> Tokenizer:
    from tokenizers import Tokenizer

    spec = json.loads(full.to_str())
    spec["added_tokens"] = [t for t in spec["added_tokens"] if t["id"] not in control_ids]
    spec["truncation"] = spec["padding"] = None
    return Tokenizer.from_str(json.dumps(spec))
