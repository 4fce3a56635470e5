"""The environment of the `miniwob` package (Selenium) as a screen, to be compared with.

Clicks and typing go through its own `step`, and reward and end are what it returns; elements are
read by the same script as ours, so that one expert plays both.
"""

from __future__ import annotations

import json
import os
import shutil
from typing import Any

from agentrl.core import InfraError
from agentrl.environments.gui.browser import found_executable, page_script
from agentrl.environments.gui.browser.screen import element_of
from agentrl.environments.gui.browser.tab import refuse
from agentrl.environments.gui.miniwob.tasks import HIDDEN
from agentrl.environments.gui.screen import Action, Refused, View


class OfficialScreen:
    """One official environment; `begin` starts an episode of it.

    Raises InfraError when Chromium or its driver is missing.
    """

    def __init__(self, name: str) -> None:
        import gymnasium
        import miniwob

        driver, browser = shutil.which("chromedriver"), found_executable()
        if driver is None or browser is None:
            raise InfraError(
                "no_driver", "chromedriver is missing", fix="apt-get install chromium-driver"
            )
        os.environ["MINIWOB_CHROME_BINARY"], os.environ["MINIWOB_CHROMEDRIVER"] = browser, driver
        gymnasium.register_envs(miniwob)
        self._env: Any = gymnasium.make(f"miniwob/{name}-v1").unwrapped
        self.reward, self.done = 0.0, False
        self._utterance = ""

    def begin(self, seed: int, seconds: float) -> None:
        """Reset, with the page's own limit of time set to `seconds`."""
        if hasattr(self._env.instance, "driver"):
            self._limit(seconds)
        observation, _ = self._env.reset(seed=seed)
        self._limit(seconds)
        self._env.instance.force_stop()
        self._env.instance.begin_task(seed=seed)
        self._utterance = observation["utterance"]
        self.reward, self.done = 0.0, False

    async def look(self, *, image: bool) -> View:
        """What the page shows; the reward is brought up to date."""
        self._step(None)
        return self._view()

    async def act(self, action: Action, *, image: bool) -> View:
        from miniwob.action import ActionTypes

        kind = action.kind
        if kind in ("click", "double_click"):
            self._click(action)
        elif kind == "type":
            self._type(action)
        elif kind == "select":
            call = f"choose({action.element}, {json.dumps(action.text)})"
            refuse(self._ask(call), f"element {action.element}")
        elif kind == "scroll":
            self._ask(f"scroll({action.element}, 0, {action.amount})")
        elif kind == "wait":
            import asyncio

            await asyncio.sleep(action.amount)
        elif kind == "key":
            self._step(ActionTypes.PRESS_KEY, key=self._key(action.text))
        else:
            raise Refused(f"the official environment is not given `{kind}` here")
        self._step(None)
        return self._view()

    async def brief(self) -> str:
        return self._utterance

    async def ask(self, check: str) -> Any:
        """{"done", "reward"} as the official environment said, whatever is asked."""
        return {"done": self.done, "reward": self.reward}

    async def memory(self) -> str:
        return ""

    async def extras(self) -> dict[str, Any]:
        return {}

    async def close(self) -> None:
        self._env.close()

    def _click(self, action: Action) -> None:
        from miniwob.action import ActionTypes

        x, y = action.point or (0, 0)
        if action.element:
            spot = self._ask(f"locate({action.element})")
            refuse(spot, f"element {action.element}")
            x, y = spot["x"], spot["y"]
        single = action.kind == "click"
        how = ActionTypes.CLICK_COORDS if single else ActionTypes.DBLCLICK_COORDS
        self._step(how, coords=(x, y))

    def _type(self, action: Action) -> None:
        from miniwob.action import ActionTypes

        if action.element:
            refuse(self._ask(f"locate({action.element})"), f"element {action.element}")
            done = self._ask(f"prepare({action.element}, {json.dumps(action.text)})")
            refuse(done, f"element {action.element}")
            if done["done"]:
                return
        self._step(ActionTypes.TYPE_TEXT, text=action.text)

    def _step(self, kind: Any, **fields: Any) -> None:
        import numpy as np
        from miniwob.action import ActionTypes

        if self.done:
            return
        if "coords" in fields:
            fields["coords"] = np.array(fields["coords"], dtype=np.float32)
        action = self._env.create_action(kind or ActionTypes.NONE, **fields)
        _, _, self.done, _, info = self._env.step(action)
        self.reward = info["raw_reward"]

    def _key(self, name: str) -> int:
        found: int = self._env.action_space_config.allowed_keys.index(f"<{name}>")
        return found

    def _view(self) -> View:
        if self.done:
            return View("", "", (160, 210), [], over=True)
        said = json.loads(self._ask(f"settled({json.dumps(HIDDEN)})"))
        _, title, url, width, height, rows = said
        return View(title, url, (width, height), [element_of(row) for row in rows])

    def _ask(self, call: str) -> Any:
        asked = f"Promise.resolve(agentrl.{call}).then(arguments[0]);"
        return self._env.instance.driver.execute_async_script(f"{page_script()}\n{asked}")

    def _limit(self, seconds: float) -> None:
        milliseconds = int(seconds * 1000)
        self._env.instance.driver.execute_script(f"core.EPISODE_MAX_TIME = {milliseconds};")
