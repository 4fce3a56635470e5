"""One request to an API model: sent through litellm, retried by the class of its error."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt

from agentrl.core import ConfigError, InfraError

if TYPE_CHECKING:
    from types import ModuleType

# Price lists, news and header catalogues that litellm would fetch when it is imported.
_OFFLINE = (
    "LITELLM_OFFLINE_MODE",
    "LITELLM_LOCAL_MODEL_COST_MAP",
    "LITELLM_LOCAL_BLOG_POSTS",
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS",
)
_FIXES = {
    "down": "see that the server runs and is reached; raise attempts, timeout or deadline when it "
    "is only slow",
    "refused": "check the model's name, the key and the size of the request",
}
_HOPELESS = {400, 401, 403, 404, 405, 413, 422}


@dataclass(slots=True, frozen=True)
class Endpoint:
    """Where a model is and how patient we are with it.

    Attributes:
        model: litellm's name: `openai/gpt-5-mini`, `anthropic/...`, `hosted_vllm/NAME`.
        api_base: base URL of a server of your own; empty: the provider's.
        api_key_env: environment variable that holds the key; empty: the provider's usual one.
        timeout: seconds for one attempt.
        deadline: seconds for a whole call, attempts and waits between them included.
        attempts: how often a call is sent at most.
        wait: seconds before the second attempt; doubles with each further one, with jitter. What
            the server asks for (Retry-After) counts more.
        max_wait: upper bound on one such wait.
        concurrency: calls in flight at once; more wait in order.
        price_in, price_out: US dollars per million tokens, where litellm does not know them.
        extra: further parameters of the request (`{"reasoning_effort": "low"}`).
    """

    model: str
    api_base: str = ""
    api_key_env: str = ""
    timeout: float = 120.0
    deadline: float = 600.0
    attempts: int = 9
    wait: float = 1.0
    max_wait: float = 60.0
    concurrency: int = 32
    price_in: float | None = None
    price_out: float | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("timeout", "deadline", "attempts", "concurrency"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} is {getattr(self, name)}", where=self.model)

    @property
    def key(self) -> str | None:
        """The API key. Raises ConfigError when the variable that should hold it is not set."""
        if not self.api_key_env:
            # Servers of one's own want no key, but the client behind litellm insists on one.
            return "none" if self.api_base else None
        found = os.environ.get(self.api_key_env)
        if not found:
            raise ConfigError(
                f"the environment variable {self.api_key_env} is not set",
                where=self.model,
                fix=f"export {self.api_key_env}=..., or name another with api_key_env",
            )
        return found

    @property
    def prices(self) -> tuple[float, float] | None:
        """US dollars per prompt token and per answer token; None when nobody knows."""
        if self.price_in is not None and self.price_out is not None:
            return self.price_in / 1e6, self.price_out / 1e6
        known = litellm().model_cost.get(self.model) or litellm().model_cost.get(
            self.model.partition("/")[2]
        )
        if not known or "input_cost_per_token" not in known:
            return None
        return float(known["input_cost_per_token"]), float(known.get("output_cost_per_token", 0))


@lru_cache(maxsize=1)
def litellm() -> ModuleType:
    """The library; imported on first use (6 to 16 s), and without a look at the network."""
    for name in _OFFLINE:
        os.environ.setdefault(name, "True")
    import litellm as library

    library.telemetry = False
    library.suppress_debug_info = True
    return library


async def imported() -> ModuleType:
    """The library; its first import does not block the event loop."""
    if litellm.cache_info().currsize:
        return litellm()
    return await asyncio.to_thread(litellm)


class Client:
    """Sends requests to one endpoint; at most `endpoint.concurrency` of them at once.

    Args:
        role: what the model is to us ("judge", "policy"): the first half of causes.
    """

    def __init__(self, endpoint: Endpoint, role: str = "judge") -> None:
        self.endpoint, self.role = endpoint, role
        self._slots = asyncio.Semaphore(endpoint.concurrency)
        self._supported: frozenset[str] | None = None

    async def supports(self, parameter: str) -> bool:
        """Whether litellm passes this request parameter on to the provider."""
        if self._supported is None:
            library = await imported()
            names = library.get_supported_openai_params(model=self.endpoint.model)
            self._supported = frozenset(names or ())
        return parameter in self._supported

    async def send(self, messages: Sequence[dict[str, Any]], **parameters: Any) -> Any:
        """litellm's response object.

        Raises:
            InfraError: `ROLE_down`: no answer within attempts and deadline; `ROLE_refused`: the
                answer is that asking again is no use (key, model name, too long a prompt).
        """
        endpoint = self.endpoint
        await imported()
        started = time.monotonic()
        last: list[BaseException] = []
        try:
            async with asyncio.timeout(endpoint.deadline), self._slots:
                async for attempt in AsyncRetrying(
                    stop=stop_after_attempt(endpoint.attempts),
                    wait=self._pause,
                    retry=retry_if_exception(is_temporary),
                    after=lambda state: last.append(_error_of(state)),
                    reraise=True,
                ):
                    with attempt:
                        return await self._once(messages, parameters)
        except TimeoutError:
            spent = time.monotonic() - started
            reason = f"the last error was {_name(last[-1])}" if last else "no answer at all"
            what = f"no answer within the deadline ({spent:.1f} s): {reason}"
            raise self._failed("down", what) from (last[-1] if last else None)
        except Exception as error:
            if is_temporary(error):
                what = f"gave up after {endpoint.attempts} attempts: {_name(error)}"
                raise self._failed("down", what) from error
            if isinstance(error, ConfigError):
                raise
            raise self._failed("refused", _name(error)) from error
        raise AssertionError("unreachable")

    async def _once(self, messages: Sequence[dict[str, Any]], parameters: dict[str, Any]) -> Any:
        endpoint = self.endpoint
        # The library's own limit is on silence; a server that drips bytes never trips it.
        async with asyncio.timeout(endpoint.timeout + 1.0):
            response = await litellm().acompletion(
                model=endpoint.model,
                messages=list(messages),
                api_base=endpoint.api_base or None,
                api_key=endpoint.key,
                timeout=endpoint.timeout,
                num_retries=0,
                max_retries=0,
                drop_params=True,
                **{**parameters, **endpoint.extra},
            )
        choices = getattr(response, "choices", None)
        if not choices or getattr(choices[0], "message", None) is None:
            raise _NoAnswerError("the response holds no choices")
        return response

    def _pause(self, state: RetryCallState) -> float:
        """Seconds to wait before the next attempt."""
        endpoint = self.endpoint
        asked = retry_after(_error_of(state))
        if asked is not None:
            return min(asked, endpoint.max_wait)
        longest = min(endpoint.wait * 2 ** (state.attempt_number - 1), endpoint.max_wait)
        return longest * random.uniform(0.5, 1.0)

    def _failed(self, how: str, what: str) -> InfraError:
        base = self.endpoint.api_base
        where = f"{self.endpoint.model} at {base}" if base else self.endpoint.model
        return InfraError(f"{self.role}_{how}", what, where=where, fix=_FIXES[how])


class _NoAnswerError(Exception):
    """The server said 200 and nothing else of use."""


def is_temporary(error: BaseException) -> bool:
    """Whether the same request may be answered later: by status code where there is one.

    Refusals of the request itself (a wrong key or model, too long, against a content policy) are
    not; rate limits, servers that are down, slow or talk nonsense are. A quota that is used up
    comes as 429 too, but no waiting refills it.
    """
    if isinstance(error, (asyncio.CancelledError, ConfigError, InfraError)):
        return False
    if isinstance(error, (TimeoutError, _NoAnswerError, OSError)):
        return True
    library = litellm()
    if isinstance(error, library.Timeout):
        return True
    if "insufficient_quota" in str(error):
        return False
    status = getattr(error, "status_code", None)
    if status is None:
        return isinstance(error, library.APIError)
    return int(status) not in _HOPELESS


def retry_after(error: BaseException) -> float | None:
    """Seconds that the server asks to wait, from its Retry-After header; None when it does not."""
    headers = getattr(getattr(error, "response", None), "headers", None) or getattr(
        error, "litellm_response_headers", None
    )
    value = (headers or {}).get("retry-after")
    if value is None:
        return None
    try:
        return max(float(value), 0.0)
    except ValueError:
        pass
    try:
        return max(parsedate_to_datetime(value).timestamp() - time.time(), 0.0)
    except (TypeError, ValueError):
        return None


def _error_of(state: RetryCallState) -> BaseException:
    error = state.outcome.exception() if state.outcome else None
    return error or RuntimeError("no outcome")


def _name(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error)[:500]}"
