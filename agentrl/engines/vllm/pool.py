"""Several vLLM servers as one engine: balanced, watched, started again, kept at one version."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections import Counter
from collections.abc import Collection, Mapping
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from agentrl.core import ConfigError, Generation, InfraError, Sampling, TokenScores
from agentrl.engines.tokens import checked_tokens
from agentrl.engines.vllm.checks import Probe, as_tensors, checkpoint_shapes
from agentrl.engines.vllm.client import TokenClient
from agentrl.engines.vllm.process import ServerProcess
from agentrl.engines.vllm.reading import (
    check_span,
    generation,
    nothing,
    read_scores,
    refuse_more_than_logprobs,
    spread,
)
from agentrl.engines.vllm.settings import VLLMSettings, sampling_fields
from agentrl.engines.vllm.transfer import SharedWeights

_LOG = logging.getLogger(__name__)


@dataclass(slots=True, frozen=True)
class Patience:
    """Seconds and counts of a `VLLMServers`.

    Attributes:
        start: seconds until a server that was started must answer.
        health: seconds between two looks at a server; a look may take as long.
        load: seconds for one server to take weights over.
        attempts: servers that a request is sent to before it is given up.
        restarts: how often one server is started again.
    """

    start: float = 900.0
    health: float = 5.0
    load: float = 600.0
    attempts: int = 4
    restarts: int = 10


@dataclass(slots=True, eq=False)
class _Server:
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


class VLLMServers:
    """An `Engine` over servers that it starts on this machine, or that run already.

    A conversation stays with one server, whose prefix cache knows it; a new one goes where the
    least is in flight. A request that a dying server loses is sent to another: same tokens, same
    seed. A server that died is started again and given the current weights before it is used.

    Args:
        count: servers to start; 0 with `urls`.
        urls: servers that run already (started with `--enable-scale-out`, VLLM_SERVER_DEV_MODE=1
            and `--worker-extension-cls agentrl.engines.vllm.worker.WeightLoader`).
        python: an interpreter that has vLLM; it need not be this one.
        logs: folder for the servers' output.
        weights_folder: where weights are handed over; None: this machine's memory. Servers on other
            machines need a folder that they share.
        devices: CUDA_VISIBLE_DEVICES of each server.
        threads: OMP_NUM_THREADS of each server.
        key: bearer token of the servers.
        probe: compared on every server after every update; None: nothing is compared.
    """

    def __init__(
        self,
        settings: VLLMSettings,
        *,
        count: int = 1,
        urls: SequenceOf[str] = (),
        python: str = sys.executable,
        logs: Path = Path("."),
        weights_folder: Path | None = None,
        devices: SequenceOf[str] = (),
        threads: int | None = None,
        key: str = "",
        seed: int = 0,
        probe: Probe | None = None,
        patience: Patience | None = None,
    ) -> None:
        if bool(count) == bool(urls):
            raise ConfigError("give a number of servers to start, or the URLs of some that run")
        if devices and len(devices) != count:
            raise ConfigError(f"{len(devices)} sets of devices for {count} servers")
        self.settings, self.patience = settings, patience or Patience()
        self._urls, self._count, self._python, self._logs = list(urls), count, python, logs
        self._devices, self._threads, self._key = list(devices), threads, key
        self._folder = weights_folder
        self._seed, self._probe = seed, probe
        self._shapes = checkpoint_shapes(settings.model)
        self._servers: list[_Server] = []
        self._keepers: list[asyncio.Task[None]] = []
        self._homes: dict[str, _Server] = {}
        self._longest = 0
        self._version = 0
        self._shared: SharedWeights | None = None
        self._full_version = 0
        self._adapter: tuple[str, Path, int] | None = None
        self._adapter_users: Counter[str] = Counter()
        # One update at a time, and none while a server that was started again takes weights over.
        self._updating = asyncio.Lock()
        self._changed = asyncio.Condition()
        self._closed = False

    @property
    def version(self) -> int:
        """Version of the weights that sample now."""
        return self._version

    @property
    def sessions(self) -> Collection[str]:
        """Conversations that have begun and not ended."""
        return frozenset(self._homes)

    @property
    def servers_up(self) -> int:
        """Servers that take requests now."""
        return sum(s.up for s in self._servers)

    @property
    def pids(self) -> list[int | None]:
        """Process ids of the servers that were started here."""
        return [s.process.pid for s in self._servers if s.process]

    async def ready(self) -> None:
        """Start the servers, once, and wait for the first. Raises InfraError when none comes up."""
        if self._closed:
            raise InfraError("engine_lost", "the engine is closed", where="vllm servers")
        if not self._servers:
            self._begin()
        async with self._changed:
            await self._changed.wait_for(lambda: self.servers_up or not self._hopeful)
        if not self.servers_up:
            raise self._all_gone()

    async def generate(
        self,
        tokens: SequenceOf[int] | np.ndarray,
        sampling: Sampling,
        *,
        session: str = "",
        seed: int = 0,
    ) -> Generation:
        """Continue `tokens`; see `Engine`. Log-probabilities are at temperature 1.

        Raises:
            InfraError: `engine_lost` when no server answers, `bad_logits`.
            ConfigError: no tokens, or ids that the model does not have.
        """
        ids = checked_tokens(tokens, 1 << 31)
        await self.ready()
        room = min(sampling.max_tokens, self._longest - len(ids))
        if room <= 0:
            return nothing()
        fields = sampling_fields(sampling.temperature, room, sampling.stop, self._seed + seed)
        found, adapter_version, where = await self._ask(ids, fields, session)
        (choice,) = found["choices"]
        said = choice["token_ids"] or []
        logprobs = [entry["logprob"] for entry in (choice["logprobs"] or {}).get("content") or ()]
        spans = [(s["version"], s["start"], s["end"]) for s in choice["weight_versions"] or ()]
        weights = spread(spans, len(said))
        if adapter_version is not None:
            weights[:] = adapter_version
        # JSON has no NaN: it comes as null.
        numbers = [np.nan if value is None else value for value in logprobs]
        return generation(said, numbers, weights, choice["finish_reason"], where)

    async def score(
        self,
        tokens: SequenceOf[int] | np.ndarray,
        start: int = 1,
        *,
        entropy: bool = False,
        hidden: bool = False,
    ) -> TokenScores:
        """Log-probabilities of tokens[start:]. Entropies and hidden states vLLM does not give."""
        refuse_more_than_logprobs(entropy, hidden, self.settings.lora_rank)
        ids = checked_tokens(tokens, 1 << 31)
        await self.ready()
        check_span(start, len(ids), self._longest)
        found, _, _ = await self._ask(ids, _SCORING, "")
        return read_scores(found["prompt_logprobs"], ids, start)

    async def load_weights(
        self, version: int, weights: Mapping[str, Any] | Path | None = None
    ) -> None:
        """Draw from these weights from the next step on; see `Engine.load_weights`.

        A server that fails to take them over is not used until it has been started again with them.

        Args:
            weights: tensors, a model directory, or the directory of a LoRA adapter: then requests
                that run keep the adapter they began with.

        Raises:
            InfraError: `weights_differ`; `engine_lost` when no server is left.
        """
        if weights is None:
            raise ConfigError("vLLM servers have weights of their own: give them tensors")
        await self.ready()
        async with self._updating:
            if isinstance(weights, Path) and (weights / "adapter_config.json").is_file():
                old, self._adapter = self._adapter, (f"agentrl-{version}", weights, version)
                await self._everywhere(self._push_adapter)
                if old is not None:
                    await self._retire(old[0])
            else:
                tensors = as_tensors(weights, self._shapes)
                self._shared = self._shared or SharedWeights(self._folder)
                await asyncio.to_thread(self._shared.write, tensors)
                self._full_version, self._adapter = version, None
                await self._everywhere(self._push_weights)
            self._version = version
        await self.ready()

    async def end_session(self, session: str) -> None:
        self._homes.pop(session, None)

    async def close(self) -> None:
        """End the servers that were started here; whoever still waits gets `engine_lost`."""
        self._closed = True
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        for server in self._servers:
            server.up, server.given_up = False, _lost("the engine is closed")
            await server.client.close()
        await asyncio.gather(*(s.process.stop() for s in self._servers if s.process))
        if self._shared is not None:
            self._shared.close()
        await self._tell()

    # Requests.

    async def _ask(
        self, ids: list[int], fields: dict[str, Any], session: str
    ) -> tuple[dict[str, Any], int | None, str]:
        """The response, the version of the adapter that it came from, and the server."""
        failed: InfraError | None = None
        tried: set[int] = set()
        for _ in range(self.patience.attempts):
            server = await self._pick(session, tried)
            tried.add(id(server))
            adapter = self._adapter
            name = adapter[0] if adapter else ""
            server.in_flight += 1
            self._adapter_users[name] += 1
            try:
                found = await server.client.generate(ids, fields, model=name)
                return found, adapter[2] if adapter else None, server.client.url
            except InfraError as error:
                failed = error
                server.suspect.set()
                self._homes.pop(session, None)
            finally:
                server.in_flight -= 1
                self._adapter_users[name] -= 1
                if adapter is not None and adapter is not self._adapter:
                    await asyncio.shield(self._retire(name))
        assert failed is not None
        raise failed

    async def _pick(self, session: str, tried: Collection[int] = ()) -> _Server:
        """The session's server, or the one with least in flight, one that has not been tried before
        those that have; waits while none is up."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.servers_up or not self._hopeful)
        ups = [s for s in self._servers if s.up]
        if not ups:
            raise self._all_gone()
        home = self._homes.get(session)
        if home is None or not home.up:
            homes = Counter(id(s) for s in self._homes.values())
            home = min(ups, key=lambda s: (id(s) in tried, s.in_flight, homes[id(s)]))
            if session:
                self._homes[session] = home
        return home

    # Weights.

    async def _everywhere(self, push: Any) -> None:
        """Hand something to all servers that are up; who fails is taken out."""
        ups = [s for s in self._servers if s.up]
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

    async def _push_weights(self, server: _Server) -> None:
        """On an error the server stays paused: it may have half of the weights."""
        assert self._shared is not None
        client = server.client
        await client.pause()
        await client.load_file(str(self._shared.path), self._full_version, self.patience.load)
        await client.resume()
        if self._probe is not None and not self.settings.lora_rank:
            tokens = self._probe.tokens()
            found = await client.generate(tokens, _SCORING)
            scores = read_scores(found["prompt_logprobs"], tokens, 1)
            self._probe.check(tokens, scores, client.url, self._full_version)

    async def _push_adapter(self, server: _Server) -> None:
        assert self._adapter is not None
        name, path, _ = self._adapter
        await server.client.load_adapter(name, str(path.absolute()))

    async def _retire(self, name: str) -> None:
        """Take an adapter out of all servers once no request uses it."""
        if self._adapter_users[name] > 0:
            return
        del self._adapter_users[name]
        for server in [s for s in self._servers if s.up]:
            with contextlib.suppress(ConfigError, InfraError):
                await server.client.unload_adapter(name)

    # Keeping servers up. One task each.

    def _begin(self) -> None:
        for url in self._urls:
            self._servers.append(_Server(TokenClient(url, key=self._key), None))
        for i in range(self._count):
            process = ServerProcess(
                self.settings,
                python=self._python,
                log=self._logs / f"vllm-{i}.log",
                devices=self._devices[i] if self._devices else None,
                threads=self._threads,
            )
            self._servers.append(_Server(TokenClient(process.url, key=self._key), process))
        self._keepers = [asyncio.create_task(self._keep(server)) for server in self._servers]

    async def _keep(self, server: _Server) -> None:
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
            server.given_up = _lost(f"{server.client.url}: {type(error).__name__}: {error}")
        finally:
            server.up = False
            await self._tell()

    async def _bring_up(self, server: _Server) -> None:
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
                raise _lost(f"{client.url} did not answer within {self.patience.start:g} s")
            await asyncio.sleep(0.25)
        self._longest = await client.limits()
        async with self._updating:
            if self._shared is not None:
                await self._push_weights(server)
            if self._adapter is not None:
                await self._push_adapter(server)
            server.suspect.clear()
            server.up = True
        await self._tell()

    async def _watch(self, server: _Server) -> None:
        """Returns when the server is gone, or has not the weights it should have."""
        while server.up:
            # Not wait_for: before Python 3.12 it can swallow a cancellation.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.patience.health):
                    await server.suspect.wait()
            server.suspect.clear()
            if not server.up or (server.process is not None and not server.process.alive):
                return
            if not await server.client.healthy(max(self.patience.health, 1.0)):
                return
            async with self._updating:
                # One that somebody else started again has forgotten what it was given.
                if self._shared and await server.client.weight_version() == "default":
                    return

    @property
    def _hopeful(self) -> bool:
        """Whether any server may still come up."""
        return any(s.given_up is None for s in self._servers)

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    def _all_gone(self) -> InfraError:
        reasons = [str(s.given_up) for s in self._servers if s.given_up]
        return _lost("no server is left" + (f": {reasons[0]}" if reasons else ""))


_SCORING = sampling_fields(0.0, 1, (), 0) | {"prompt_logprobs": 0}


def _lost(what: str) -> InfraError:
    return InfraError("engine_lost", what, where="vllm servers")
