"""The issue of a made bug in a model's words: it sees how a test fails, never the patch."""

from __future__ import annotations

from agentrl.core.chat import ChatModel
from agentrl.core.messages import Message
from agentrl.environments.swe.hide import split_id
from agentrl.environments.swe.package import Package
from agentrl.environments.swe.synth.issue import failing_statement
from agentrl.environments.swe.synth.verify import Verified

_ASK = """\
Write the bug report of a user of the Python package `{package}` who runs into the failure below.
Say what they did, what they expected and what happened instead; do not guess at the cause or at a
fix, and do not mention tests. At most 120 words, plain text.

The failing check, from {path}:
{statement}

What it said:
{message}
"""
_MESSAGE = 1500
_LONGEST = 2000


async def written_issue(model: ChatModel, package: Package, verified: Verified) -> str:
    """The model's report; "" when it has nothing usable to say.

    Raises InfraError as `ChatModel.chat` does.
    """
    frames = [frame for frame in verified.failure.frames if frame[0] in package.tests]
    path, line = frames[-1] if frames else (split_id(verified.failing_test)[0], 0)
    statement = failing_statement(package.tree[path], line) if line else verified.failing_test
    asked = _ASK.format(
        package=package.name,
        path=path,
        statement=statement,
        message=verified.failure.message.strip()[:_MESSAGE],
    )
    reply = await model.chat([Message("user", asked)], temperature=0.7, max_tokens=400)
    text = reply.text.strip()
    return text if 0 < len(text) <= _LONGEST else ""
