"""A program that sends pictures through the gateway is recorded with what the policy saw."""

from __future__ import annotations

import base64

import aiohttp
import numpy as np
import pytest
from vision_kit import llava, picture

from agentrl.core import Image, Task
from agentrl.engines import TransformersEngine
from agentrl.episodes import Limits
from agentrl.episodes.dialects import dialect
from agentrl.episodes.gateway import Gateway, Voice, anthropic, openai
from agentrl.episodes.gateway.wire import BadRequest
from agentrl.models import score_logprobs

DATA = base64.b64encode(b"pixels").decode()
IMAGE = Image(b"pixels", "image/jpeg")


def shown(image: Image) -> dict:
    data = base64.b64encode(image.data).decode()
    return {"type": "image_url", "image_url": {"url": f"data:{image.media_type};base64,{data}"}}


def test_openais_data_urls_are_images_of_their_message():
    text = {"type": "text", "text": "what is it?"}
    asked = {"messages": [{"role": "user", "content": [shown(IMAGE), text, shown(IMAGE)]}]}
    (message,) = openai.read(asked).messages
    assert (message.content, message.images) == ("what is it?", [IMAGE, IMAGE])


def test_anthropics_sources_are_images_also_in_results_of_tools():
    image = {
        "type": "image",
        "source": {"type": "base64", "media_type": "image/jpeg", "data": DATA},
    }
    result = {"type": "tool_result", "tool_use_id": "a", "content": [image]}
    asked = {"messages": [{"role": "user", "content": [result, image]}], "max_tokens": 9}
    tool, user = anthropic.read(asked).messages
    assert (tool.role, tool.images) == ("tool", [IMAGE])
    assert (user.role, user.images) == ("user", [IMAGE])


@pytest.mark.parametrize("url", ["http://example.com/a.png", "data:image/png;base64,%%", "", 3])
def test_an_image_from_elsewhere_is_refused(url):
    content = [{"type": "image_url", "image_url": {"url": url}}]
    with pytest.raises(BadRequest, match="data URL"):
        openai.read({"messages": [{"role": "user", "content": content}]})


async def test_what_a_program_shows_stands_in_the_record():
    policy = llava()
    engine = TransformersEngine(policy)
    voice = Voice(engine, policy.tokenizer, dialect("pythonic"), Limits(tokens_per_turn=5))
    messages = [{"role": "user", "content": [shown(picture(0)), {"type": "text", "text": "what"}]}]
    async with Gateway(voice) as gateway, aiohttp.ClientSession() as http:
        session = gateway.open(Task("t", "q"), id="a")
        url = f"{gateway.url}/s/a/v1/chat/completions"
        for image in (picture(1), None):
            async with http.post(url, json={"model": "p", "messages": messages}) as answer:
                assert answer.status == 200, await answer.text()
                said = (await answer.json())["choices"][0]["message"]
            messages += [said, {"role": "user", "content": [shown(image)]}] if image else [said]
        episode = session.episode()
    await engine.close()
    (segment,) = episode.segments
    assert [placed.image for placed in segment.images] == [picture(0), picture(1)]
    where = np.flatnonzero(segment.action_mask)
    plain = score_logprobs(policy, segment.tokens, segment.images)
    assert np.abs(segment.logprobs[where] - plain[where - 1]).max() < 1e-4
