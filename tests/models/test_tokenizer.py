"""Text to ids and back: control tokens where they belong, numbers whole, nothing lost."""

import copy

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken
from transformers import PreTrainedTokenizerFast

from agentrl.core import ConfigError, ModelError
from agentrl.models import COMPACT_SPECIALS, ChatTokenizer, builtin_template, train_tokenizer

pieces = st.one_of(st.text(max_size=20), st.sampled_from([*COMPACT_SPECIALS, "\n", "\r\n", "  "]))
texts = st.lists(pieces, max_size=8).map("".join)


@pytest.fixture(scope="module")
def chat(hf_tokenizer: PreTrainedTokenizerFast) -> ChatTokenizer:
    return ChatTokenizer(hf_tokenizer, builtin_template("compact"))


@settings(max_examples=300, deadline=None)
@given(text=texts)
@example(text="日本語 🙂‍↔️ é e\u0301 \u200b\ufeff\x00")
def test_every_text_comes_back(chat: ChatTokenizer, text: str) -> None:
    assert chat.decode(chat.encode(text)) == text
    assert chat.decode(chat.encode_plain(text)) == text


@settings(max_examples=300, deadline=None)
@given(text=texts)
def test_untrusted_text_never_makes_a_control_token(chat: ChatTokenizer, text: str) -> None:
    control = {chat.encode(s)[0] for s in chat.specials}
    assert control.isdisjoint(chat.encode_plain(text))


def test_template_text_does_make_control_tokens(chat: ChatTokenizer) -> None:
    assert chat.encode("<|user|>hi<|end|>")[-1] == chat.end_of_turn
    assert len(chat.encode("<|tool|>")) == 1


@pytest.mark.parametrize("newlines", ["\n", "\n\n", "\r\n", "a\n", "\na", "a \n  b", "\n\n\n  "])
def test_newlines_are_exact(chat: ChatTokenizer, newlines: str) -> None:
    assert chat.decode(chat.encode(f"x{newlines}<|end|>{newlines}y")) == (
        f"x{newlines}<|end|>{newlines}y"
    )


def test_control_like_added_tokens_stay_text_but_white_space_ones_are_used(
    hf_tokenizer: PreTrainedTokenizerFast,
) -> None:
    hf = copy.deepcopy(hf_tokenizer)
    hf.add_tokens([AddedToken("<tool_call>", special=False), AddedToken("        ", special=False)])
    chat = ChatTokenizer(hf, builtin_template("compact"))
    assert len(chat.encode("<tool_call>")) == 1
    assert len(chat.encode_plain("<tool_call>")) > 1
    assert len(chat.encode_plain("        ")) == 1


def test_control_tokens_that_are_also_ordinary_pieces_stay_text() -> None:
    """`ignore_merges` vocabularies hold control tokens as whole words."""
    hf = train_tokenizer(["x"], 600, ("<s>", "end"), eos="end", whole_numbers=11)
    template = "{% for m in messages %}{{ m.content }}end{% endfor %}"
    chat = ChatTokenizer(hf, template)
    control = set(chat.encode("end<s>"))
    assert control.isdisjoint(chat.encode_plain("the end end<s>endend"))
    assert chat.decode(chat.encode_plain("the end end<s>endend")) == "the end end<s>endend"


def test_every_number_below_a_thousand_is_one_token(chat: ChatTokenizer) -> None:
    assert all(len(chat.encode_plain(str(n))) == 1 for n in range(1000))
    assert len(chat.encode_plain("123456")) == 2
    assert len({chat.encode_plain(str(n))[0] for n in range(1000)}) == 1000


def test_training_is_deterministic_and_bounded() -> None:
    words = [f"word{i} other{i % 7}" for i in range(400)]
    first, second = (train_tokenizer(words, 700, whole_numbers=100) for _ in range(2))
    assert first.backend_tokenizer.to_str() == second.backend_tokenizer.to_str()
    assert len(first) <= 700


def test_a_vocabulary_without_room_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"no room for 5 specials, 256 bytes and 990 numbers"):
        train_tokenizer(["x"], 1000, whole_numbers=1000)


def test_end_of_turn_is_what_closes_an_assistant_message(
    hf_tokenizer: PreTrainedTokenizerFast,
) -> None:
    template = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|tool|>\n{% endfor %}"
    chat = ChatTokenizer(hf_tokenizer, template, eos=[2])
    assert chat.end_of_turn == chat.encode("<|tool|>")[0]
    assert chat.stop_ids == (chat.end_of_turn, 2, chat.encode("<|end|>")[0])


def test_a_turn_that_nothing_closes_ends_with_eos(hf_tokenizer: PreTrainedTokenizerFast) -> None:
    chat = ChatTokenizer(hf_tokenizer, "{% for m in messages %}{{ m.content }}\n{% endfor %}")
    assert chat.end_of_turn == hf_tokenizer.eos_token_id


def test_no_end_of_turn_at_all_is_an_error(hf_tokenizer: PreTrainedTokenizerFast) -> None:
    hf = copy.deepcopy(hf_tokenizer)
    hf.eos_token = None
    with pytest.raises(ModelError, match="no end-of-turn token found"):
        ChatTokenizer(hf, "{% for m in messages %}{{ m.content }}\n{% endfor %}")


def test_a_template_that_drops_assistant_text_is_an_error(
    hf_tokenizer: PreTrainedTokenizerFast,
) -> None:
    with pytest.raises(ModelError, match="leaves out the text of assistant messages"):
        ChatTokenizer(hf_tokenizer, "{{ messages[0].content }}<|end|>")


@settings(max_examples=300, deadline=None)
@given(text=texts)
@example(text="日本語 🙂‍↔️ é \ufffd x")
def test_what_each_id_adds_joins_to_the_text(chat: ChatTokenizer, text: str) -> None:
    ids = chat.encode_plain(text)
    added = chat.texts(ids)
    assert len(added) == len(ids)
    assert "".join(added) == chat.decode(ids)
