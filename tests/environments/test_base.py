import runpy
from pathlib import Path

import numpy as np
import pytest

from agentrl import Environment, Episode, Task, ToolCall, Turn, tool
from agentrl.core import ConfigError, InfraError, ToolResult
from agentrl.environments import maybe_await
from agentrl.tools import Submit, run_calls

LEDGER = Path(__file__).parents[2] / "examples" / "ledger.py"
TASK = Task("t", "pay", payload={"balance": {"cash": 10, "bank": 0}})


def turn(*calls: ToolCall, text: str = "") -> Turn:
    return Turn(np.zeros(0, np.int32), np.zeros(0, np.float32), text, calls=list(calls))


def transfer(**arguments: object) -> ToolCall:
    return ToolCall("transfer", arguments, id="c1")


@pytest.fixture
async def ledger() -> Environment:
    ledger = runpy.run_path(str(LEDGER))["Ledger"]()
    assert await maybe_await(ledger.reset(TASK)) == "pay"
    return ledger


async def test_the_first_example_is_complete_in_under_30_lines_and_runs(ledger):
    assert len(LEDGER.read_text().splitlines()) < 30
    calls = [transfer(source="cash", target="bank", amount=3)]
    assert [r.text for r in await run_calls(ledger.tools, calls)] == ["cash: 7, bank: 3"]

    observation = await ledger.step(turn(transfer(source="cash", target="bank", amount="4")))
    (message,) = observation.messages
    assert (message.role, message.name, message.call_id) == ("tool", "transfer", "c1")
    assert message.content == "cash: 3, bank: 7"
    assert not observation.done
    assert await ledger.finish(Episode(TASK)) == {"balance": {"cash": 3, "bank": 7}}


async def test_the_first_example_tells_the_policy_what_it_did_wrong(ledger):
    bad = turn(
        transfer(source="cash", target="bank", amount="a lot"),
        transfer(source="cash", target="bank", amount=99),
        ToolCall("transfr", {}),
    )
    await ledger.step(bad)
    wrong_type, refused, unknown = bad.results
    assert wrong_type.text.splitlines() == [
        "error: bad arguments for transfer",
        'amount: should be a valid integer, unable to parse string as an integer, got "a lot"',
    ]
    assert refused.text.startswith("error: ValueError: cash has 10, cannot pay 99\n  at ledger.py:")
    assert unknown.text.startswith("error: unknown tool 'transfr'; did you mean 'transfer'?")
    assert ledger.balance == {"cash": 10, "bank": 0}


def test_its_own_transfer_is_what_the_policy_is_told():
    spec = runpy.run_path(str(LEDGER))["Ledger"]().tools["transfer"].spec
    assert spec == {
        "type": "function",
        "function": {
            "name": "transfer",
            "description": "Move money between accounts.",
            "parameters": {
                "type": "object",
                "properties": {
                    "source": {"type": "string", "description": "account to take from."},
                    "target": {"type": "string", "description": "account to pay into."},
                    "amount": {"type": "integer", "description": "whole units, positive."},
                },
                "required": ["source", "target", "amount"],
            },
        },
    }


class Office(Environment):
    def __init__(self):
        self.log: list[str] = []
        self.box = Box(self.log)
        self.toolboxes = [self.box, Submit(self.end)]

    def end(self) -> None:
        self.done = True

    @tool
    async def own(self) -> None:
        self.log.append("own")


class Box:
    closed = False

    def __init__(self, log):
        self.log = log

    @tool
    async def act(self, n: int) -> int:
        self.log.append(f"act {n}")
        return n

    async def close(self):
        self.closed = True


async def test_toolboxes_share_the_episode_and_are_closed_with_it():
    office = Office()
    assert list(office.tools) == ["own", "act", "submit"]
    observation = await office.step(turn(ToolCall("own"), ToolCall("act", {"n": 1})))
    assert [m.content for m in observation.messages] == ["ok", "1"]
    await office.close()
    assert office.box.closed


async def test_calls_after_submit_in_the_same_turn_have_no_effect():
    office = Office()
    calls = turn(ToolCall("act", {"n": 1}), ToolCall("submit"), ToolCall("act", {"n": 2}))
    observation = await office.step(calls)
    assert observation.done
    assert office.log == ["act 1"]
    assert [r.error for r in calls.results] == [None, None, "episode_over"]
    assert len(observation.messages) == 3


async def test_a_turn_without_calls_is_the_answer_and_ends_the_episode():
    office = Office()
    observation = await office.step(turn(text="42"))
    assert observation.done
    assert office.done
    assert observation.messages == []


async def test_done_is_the_episodes_own_and_not_the_classes():
    first, second = Office(), Office()
    await first.step(turn(ToolCall("submit")))
    assert first.done
    assert not second.done


def test_two_tools_of_one_name_are_refused_with_both_places():
    class Clash(Office):
        @tool
        def act(self) -> None: ...

    with pytest.raises(ConfigError, match="two tools are called 'act'") as caught:
        _ = Clash().tools
    assert "leave Box out of `toolboxes`" in str(caught.value)


async def test_a_dead_infrastructure_is_not_an_observation():
    class Broken(Environment):
        @tool
        async def act(self) -> ToolResult:
            raise InfraError("sandbox_died", "gone")

    with pytest.raises(InfraError, match="gone"):
        await Broken().step(turn(ToolCall("act")))


async def test_reset_may_be_sync_and_has_a_default():
    class Sync(Environment):
        def reset(self, task):
            return "sync"

    assert await maybe_await(Sync().reset(TASK)) == "sync"
    assert await maybe_await(Environment().reset(TASK)) == "pay"
