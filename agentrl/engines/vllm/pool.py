"""Several vLLM servers as one engine: balanced, watched, started again, kept at one version."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections import Counter
from collections.abc import Collection, Mapping
from collections.abc import Sequence as SequenceOf
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from agentrl.core import (
    ConfigError,
    Generation,
    InfraError,
    PlacedImage,
    Sampling,
    TokenScores,
)
from agentrl.engines.tokens import checked_tokens
from agentrl.engines.vllm.checks import Probe, as_tensors, checkpoint_shapes
from agentrl.engines.vllm.client import TokenClient
from agentrl.engines.vllm.fleet import Fleet, Patience, Server, lost
from agentrl.engines.vllm.images import refuse_images
from agentrl.engines.vllm.process import ServerProcess
from agentrl.engines.vllm.reading import (
    check_span,
    encoded,
    generation,
    nothing,
    read_scores,
    refuse_more_than_logprobs,
    spread,
)
from agentrl.engines.vllm.settings import VLLMSettings, sampling_fields
from agentrl.engines.vllm.transfer import SharedWeights

if TYPE_CHECKING:
    from agentrl.models import ChatTokenizer

_LOG = logging.getLogger(__name__)


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
        tokenizer: for `encode`; servers are never given text.
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
        tokenizer: ChatTokenizer | None = None,
        patience: Patience | None = None,
    ) -> None:
        if bool(count) == bool(urls):
            raise ConfigError("give a number of servers to start, or the URLs of some that run")
        if devices and len(devices) != count:
            raise ConfigError(f"{len(devices)} sets of devices for {count} servers")
        self.settings, self.patience = settings, patience or Patience()
        processes = [
            ServerProcess(
                settings,
                python=python,
                log=logs / f"vllm-{i}.log",
                devices=devices[i] if devices else None,
                threads=threads,
            )
            for i in range(count)
        ]
        # Clients need an event loop: they are made with the first request.
        self._sources: list[tuple[str, ServerProcess | None]] = [(p.url, p) for p in processes]
        self._sources += [(url, None) for url in urls]
        self._key, self._folder = key, weights_folder
        self._seed, self._probe, self._tokenizer = seed, probe, tokenizer
        self._shapes = checkpoint_shapes(settings.model)
        self._fleet = Fleet([], self.patience, self._equip, self._equipped)
        self._longest = 0
        self._version = 0
        self._shared: SharedWeights | None = None
        self._full_version = 0
        self._adapter: tuple[str, Path, int] | None = None
        self._adapter_users: Counter[str] = Counter()
        self._closed = False

    @property
    def version(self) -> int:
        """Version of the weights that sample now."""
        return self._version

    @property
    def sessions(self) -> Collection[str]:
        """Conversations that have begun and not ended."""
        return frozenset(self._fleet.homes)

    @property
    def servers_up(self) -> int:
        """Servers that take requests now."""
        return len(self._fleet.ups)

    @property
    def pids(self) -> list[int | None]:
        """Process ids of the servers that were started here."""
        return [s.process.pid for s in self._fleet.servers if s.process]

    async def ready(self) -> None:
        """Start the servers, once, and wait for the first. Raises InfraError when none comes up."""
        if self._closed:
            raise lost("the engine is closed")
        if not self._fleet.servers:
            servers = [Server(TokenClient(url, key=self._key), p) for url, p in self._sources]
            self._fleet.servers = servers
            self._fleet.begin()
        await self._fleet.some()

    async def generate(
        self,
        tokens: SequenceOf[int] | np.ndarray,
        sampling: Sampling,
        *,
        session: str = "",
        seed: int = 0,
        images: SequenceOf[PlacedImage] = (),
    ) -> Generation:
        """Continue `tokens`; see `Engine`. Log-probabilities are at temperature 1.

        Raises:
            InfraError: `engine_lost` when no server answers, `bad_logits`.
            ConfigError: no tokens, or ids that the model does not have.
        """
        refuse_images(images)
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
        images: SequenceOf[PlacedImage] = (),
    ) -> TokenScores:
        """Log-probabilities of tokens[start:]. Entropies and hidden states vLLM does not give."""
        refuse_more_than_logprobs(entropy, hidden, self.settings.lora_rank)
        refuse_images(images)
        ids = checked_tokens(tokens, 1 << 31)
        await self.ready()
        check_span(start, len(ids), self._longest)
        found, _, _ = await self._ask(ids, _SCORING, "")
        return read_scores(found["prompt_logprobs"], ids, start)

    def encode(self, text: str) -> list[int]:
        """Token ids of plain text."""
        return encoded(self._tokenizer, text)

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
        async with self._fleet.updating:
            if isinstance(weights, Path) and (weights / "adapter_config.json").is_file():
                old, self._adapter = self._adapter, (f"agentrl-{version}", weights, version)
                await self._fleet.everywhere(self._push_adapter)
                if old is not None:
                    await self._retire(old[0])
            else:
                tensors = as_tensors(weights, self._shapes)
                self._shared = self._shared or SharedWeights(self._folder)
                await asyncio.to_thread(self._shared.write, tensors)
                self._full_version, self._adapter = version, None
                await self._fleet.everywhere(self._push_weights)
            self._version = version
        await self.ready()

    async def end_session(self, session: str) -> None:
        self._fleet.homes.pop(session, None)

    async def close(self) -> None:
        """End the servers that were started here; whoever still waits gets `engine_lost`."""
        self._closed = True
        await self._fleet.close()
        if self._shared is not None:
            self._shared.close()

    async def _ask(
        self, ids: list[int], fields: dict[str, Any], session: str
    ) -> tuple[dict[str, Any], int | None, str]:
        """The response, the version of the adapter that it came from, and the server."""
        failed: InfraError | None = None
        tried: set[int] = set()
        for _ in range(self.patience.attempts):
            server = await self._fleet.pick(session, tried)
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
                self._fleet.homes.pop(session, None)
            finally:
                server.in_flight -= 1
                self._adapter_users[name] -= 1
                if adapter is not None and adapter is not self._adapter:
                    await asyncio.shield(self._retire(name))
        assert failed is not None
        raise failed

    async def _equip(self, server: Server) -> None:
        """What a server must have before it is asked anything."""
        self._longest = await server.client.limits()
        if self._shared is not None:
            await self._push_weights(server)
        if self._adapter is not None:
            await self._push_adapter(server)

    async def _equipped(self, server: Server) -> bool:
        """One that somebody else started again has forgotten what it was given."""
        return self._shared is None or await server.client.weight_version() != "default"

    async def _push_weights(self, server: Server) -> None:
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

    async def _push_adapter(self, server: Server) -> None:
        assert self._adapter is not None
        name, path, _ = self._adapter
        await server.client.load_adapter(name, str(path.absolute()))

    async def _retire(self, name: str) -> None:
        """Take an adapter out of all servers once no request uses it."""
        if self._adapter_users[name] > 0:
            return
        del self._adapter_users[name]
        for server in self._fleet.ups:
            with contextlib.suppress(ConfigError, InfraError):
                await server.client.unload_adapter(name)


_SCORING = sampling_fields(0.0, 1, (), 0) | {"prompt_logprobs": 0}
