"""The servers of a pool: started, watched, started again, and who of them is asked."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field

from agentrl.core import InfraError
from agentrl.engines.vllm.client import TokenClient
from agentrl.engines.vllm.process import ServerProcess

_LOG = logging.getLogger(__name__)


@dataclass(slots=True, frozen=True)
class Patience:
    """Seconds and counts of a `VLLMServers`.

    Attributes:
        start: seconds until a server that was started must answer.
        health: seconds between two looks at a server; a look may take as long.
        silence: looks one after the other that a server leaves unanswered before it is taken for
            dead: one that computes on a busy machine is slow to answer.
        load: seconds for one server to take weights over.
        attempts: servers that a request is sent to before it is given up.
        restarts: how often one server is started again.
    """

    start: float = 900.0
    health: float = 5.0
    silence: int = 3
    load: float = 600.0
    attempts: int = 4
    restarts: int = 10


@dataclass(slots=True, eq=False)
class Server:
    """A server and what we know of it.

    Attributes:
        up: answers, and has the current weights.
        suspect: set when a request failed on it: looked at at once.
        given_up: why it is not started again.
    """

    client: TokenClient
    process: ServerProcess | None
    up: bool = False
    in_flight: int = 0
    restarts: int = 0
    suspect: asyncio.Event = field(default_factory=asyncio.Event)
    given_up: InfraError | None = None


class Fleet:
    """Keeps servers up, each with a task of its own.

    Args:
        servers: nothing is started before `begin`.
        equip: gives a server what all have; called before it is used for the first time, and after
            it was started again.
        equipped: whether a server still has what it was given.

    Attributes:
        updating: held while servers are given something: one update at a time, and none while a
            server that was started again catches up.
        homes: the server of each conversation.
    """

    def __init__(
        self,
        servers: Sequence[Server],
        patience: Patience,
        equip: Callable[[Server], Awaitable[None]],
        equipped: Callable[[Server], Awaitable[bool]],
    ) -> None:
        self.servers, self.patience = list(servers), patience
        self.updating = asyncio.Lock()
        self.homes: dict[str, Server] = {}
        self._equip, self._equipped = equip, equipped
        self._keepers: list[asyncio.Task[None]] = []
        self._changed = asyncio.Condition()

    @property
    def ups(self) -> list[Server]:
        """Servers that take requests now."""
        return [s for s in self.servers if s.up]

    def begin(self) -> None:
        """Start the keepers, once."""
        if not self._keepers:
            self._keepers = [asyncio.create_task(self._keep(server)) for server in self.servers]

    async def some(self) -> list[Server]:
        """Servers that are up; waits while none is. Raises InfraError when none will be."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.ups or not self._hopeful)
        if not self.ups:
            reasons = [str(s.given_up) for s in self.servers if s.given_up]
            raise lost("no server is left" + (f": {reasons[0]}" if reasons else ""))
        return self.ups

    async def pick(self, session: str, tried: Collection[int] = ()) -> Server:
        """The session's server, or the one with least in flight, one that has not been tried before
        those that have; waits while none is up."""
        ups = await self.some()
        home = self.homes.get(session)
        if home is None or not home.up:
            homes = Counter(id(s) for s in self.homes.values())
            home = min(ups, key=lambda s: (id(s) in tried, s.in_flight, homes[id(s)]))
            if session:
                self.homes[session] = home
        return home

    async def everywhere(self, push: Callable[[Server], Awaitable[None]]) -> None:
        """Hand something to all servers that are up; who fails is taken out."""
        ups = self.ups
        try:
            outcomes = await asyncio.gather(*(push(s) for s in ups), return_exceptions=True)
        except asyncio.CancelledError:
            for server in ups:  # half of an update may be in any of them
                server.up = False
                server.suspect.set()
            raise
        for server, outcome in zip(ups, outcomes, strict=True):
            if outcome is None:
                continue
            server.up = False
            server.suspect.set()
            _LOG.warning("%s: cannot take weights over: %s", server.client.url, outcome)
            wrong = isinstance(outcome, InfraError) and outcome.cause == "weights_differ"
            if wrong or not isinstance(outcome, InfraError):
                raise outcome

    async def close(self) -> None:
        """End the servers that were started here; whoever waits for one is told."""
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        for server in self.servers:
            server.up, server.given_up = False, lost("the engine is closed")
            await server.client.close()
        await asyncio.gather(*(s.process.stop() for s in self.servers if s.process))
        await self._tell()

    async def _keep(self, server: Server) -> None:
        """Bring a server up, watch it, and begin again when it is gone."""
        try:
            while True:
                try:
                    await self._bring_up(server)
                    await self._watch(server)
                    _LOG.warning("%s does not answer any more", server.client.url)
                except InfraError as error:
                    _LOG.warning("%s", error)
                    if server.process and server.restarts >= self.patience.restarts:
                        server.given_up = error
                        return
                server.up = False
                server.restarts += 1
                if server.process:
                    await server.process.stop()
                else:
                    await asyncio.sleep(self.patience.health)
        except Exception as error:  # noqa: BLE001 (told to everyone who waits)
            server.given_up = lost(f"{server.client.url}: {type(error).__name__}: {error}")
        finally:
            server.up = False
            await self._tell()

    async def _bring_up(self, server: Server) -> None:
        """Start it when it is ours, wait until it answers, give it the current weights."""
        process, client = server.process, server.client
        if process is not None:
            process.start()
            client.url = process.url
        deadline = asyncio.get_running_loop().time() + self.patience.start
        while not await client.healthy():
            if process is not None and not process.alive:
                raise process.died()
            if asyncio.get_running_loop().time() > deadline:
                raise lost(f"{client.url} did not answer within {self.patience.start:g} s")
            await asyncio.sleep(0.25)
        async with self.updating:
            await self._equip(server)
            server.suspect.clear()
            server.up = True
        await self._tell()

    async def _watch(self, server: Server) -> None:
        """Returns when the server is gone, or has not the weights it should have."""
        silent = 0
        while server.up:
            # Not wait_for: before Python 3.12 it can swallow a cancellation.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.patience.health):
                    await server.suspect.wait()
            server.suspect.clear()
            if not server.up or (server.process is not None and not server.process.alive):
                return
            found = await server.client.healthy(max(self.patience.health, 1.0))
            silent = silent + 1 if found is None else 0
            if found is False or silent >= self.patience.silence:
                return
            if silent:
                continue
            async with self.updating:
                if not await self._equipped(server):
                    return

    @property
    def _hopeful(self) -> bool:
        """Whether any server may still come up."""
        return any(s.given_up is None for s in self.servers)

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()


def lost(what: str) -> InfraError:
    """What is said when there is nobody to ask."""
    return InfraError("engine_lost", what, where="vllm servers")
