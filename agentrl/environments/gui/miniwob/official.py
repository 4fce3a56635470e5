"""The environment of the `miniwob` package (Selenium) as screens, to be compared with.

Clicks, drags and typing go through its own `step`, and reward and end are what it returns; elements
are read by the same script as ours, so that one expert plays both.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from typing import Any

from agentrl.core import ConfigError, InfraError, Task
from agentrl.environments.gui.browser import found_executable, page_script
from agentrl.environments.gui.browser.inputs import DRAG_STEPS
from agentrl.environments.gui.browser.screen import element_of
from agentrl.environments.gui.browser.tab import refuse
from agentrl.environments.gui.miniwob.tasks import HIDDEN
from agentrl.environments.gui.screen import Action, Refused, Told, View


class OfficialScreens:
    """Opens tasks of `miniwob_task` in the official environments, one at a time, in one browser."""

    def __init__(self) -> None:
        self._envs: dict[str, Any] = {}
        self._instance: Any = None

    async def open(self, task: Task) -> OfficialScreen:
        """A new episode on a page that was just loaded.

        Raises:
            ConfigError: the package is not installed.
            InfraError: Chromium or its driver is missing.
        """
        name, seconds = task.metadata["name"], task.metadata["seconds"]
        if name not in self._envs:
            self._envs[name] = self._made(name)
        env = self._envs[name]
        env.instance.driver.get(env.instance.url)
        env.instance.driver.execute_script(f"core.EPISODE_MAX_TIME = {int(seconds * 1000)};")
        observation, _ = env.reset(
            seed=task.metadata["seed"], options={"record_screenshots": False}
        )
        return OfficialScreen(env, observation["utterance"])

    async def close(self) -> None:
        instance, self._instance = self._instance, None
        self._envs.clear()
        if instance is not None:
            instance.close()

    def _made(self, name: str) -> Any:
        """The official environment of a task; all after the first use the first one's browser."""
        try:
            import gymnasium
            import miniwob
            from gymnasium.envs.registration import load_env_creator
            from miniwob.selenium_instance import SeleniumInstance
        except ImportError as error:
            raise ConfigError(
                "MiniWoB++ is not installed", fix="pip install 'agentrl[miniwob]'"
            ) from error
        gymnasium.register_envs(miniwob)
        made: Any = load_env_creator(gymnasium.spec(f"miniwob/{name}-v1").entry_point)
        first = self._instance

        class Sharing(made):
            def _hard_reset_instance(self) -> None:
                if first is None:
                    super()._hard_reset_instance()
                    return
                self.instance = SeleniumInstance(index=0, **self.instance_kwargs)
                self.instance.driver = first.driver
                self.instance.inner_width = first.inner_width
                self.instance.inner_height = first.inner_height

        if first is None:
            _point_at_browser()
        env = Sharing()
        self._instance = first or env.instance
        return env


class OfficialScreen:
    """One episode of an official environment."""

    def __init__(self, env: Any, utterance: str) -> None:
        self._env, self._utterance = env, utterance
        self._state: dict[str, Any] = {}
        self._told = Told()

    async def look(self, *, image: bool) -> View:
        """What the page shows; the reward is brought up to date."""
        self._step(None)
        if self._state["done"]:
            return View("", "", (160, 210), [], over=True)
        said = json.loads(self._ask(f"settled({json.dumps(HIDDEN)})"))
        _, title, url, width, height, rows, _ = said
        elements = [element_of(row) for row in rows]
        return View(title, url, (width, height), elements, self._told.take())

    async def act(self, action: Action, *, image: bool) -> View:
        await self._perform(action)
        return await self.look(image=image)

    async def brief(self) -> str:
        return self._utterance

    async def ask(self, check: str) -> Any:
        """What the official environment returned of its last step, whatever is asked."""
        return dict(self._state)

    async def memory(self) -> str:
        return ""

    async def extras(self) -> dict[str, Any]:
        return {}

    async def close(self) -> None:
        """The next episode loads the page anew."""

    async def _perform(self, action: Action) -> None:
        from miniwob.action import ActionTypes

        kind = action.kind
        if kind in ("click", "double_click"):
            single = kind == "click"
            how = ActionTypes.CLICK_COORDS if single else ActionTypes.DBLCLICK_COORDS
            self._step(how, coords=self._spot(action.element, action.point))
        elif kind == "drag":
            self._drag(action)
        elif kind == "type":
            self._type(action)
        elif kind == "select":
            call = f"choose({action.element}, {json.dumps(action.text)})"
            refuse(self._ask(call), f"element {action.element}")
        elif kind == "scroll":
            down = {"up": -1, "down": 1}[action.text] * action.amount
            if not self._ask(f"scroll({action.element}, 0, {down})"):
                self._told.tell(f"it does not scroll further {action.text}")
        elif kind == "wait":
            await asyncio.sleep(action.amount)
        elif kind == "key":
            self._step(ActionTypes.PRESS_KEY, key=self._key(action.text))
        elif kind != "look":
            raise Refused(f"the official environment has no `{kind}`")

    def _spot(self, element: int, point: tuple[int, int] | None) -> tuple[float, float]:
        if not element:
            return point or (0, 0)
        found = self._ask(f"locate({element})")
        refuse(found, f"element {element}")
        return found["x"], found["y"]

    def _drag(self, action: Action) -> None:
        from miniwob.action import ActionTypes

        x, y = self._spot(action.element, action.point)
        to_x, to_y = self._spot(action.to_element, action.to_point)
        self._step(ActionTypes.MOUSEDOWN_COORDS, coords=(x, y))
        for step in range(1, DRAG_STEPS + 1):
            part = step / DRAG_STEPS
            at = (x + (to_x - x) * part, y + (to_y - y) * part)
            self._step(ActionTypes.MOVE_COORDS, coords=at)
        self._step(ActionTypes.MOUSEUP_COORDS, coords=(to_x, to_y))

    def _type(self, action: Action) -> None:
        from miniwob.action import ActionTypes

        if action.element:
            refuse(self._ask(f"locate({action.element})"), f"element {action.element}")
            done = self._ask(f"prepare({action.element}, {json.dumps(action.text)})")
            refuse(done, f"element {action.element}")
            if done["done"]:
                return
        self._step(ActionTypes.TYPE_TEXT, text=action.text)
        if action.enter:
            self._step(ActionTypes.PRESS_KEY, key=self._key("Enter"))

    def _step(self, kind: Any, **fields: Any) -> None:
        import numpy as np

        if self._state.get("done"):
            return
        if "coords" in fields:
            fields["coords"] = np.array(fields["coords"], dtype=np.float32)
        action = None if kind is None else self._env.create_action(kind, **fields)
        _, reward, done, _, info = self._env.step(action)
        self._state = {
            "done": done,
            "reward": info["raw_reward"],
            "discounted": reward,
            "reason": info["reason"],
        }

    def _key(self, name: str) -> int:
        keys = self._env.action_space_config.allowed_keys
        key = name.removeprefix("Control+")
        said = key if len(key) == 1 else f"<{key}>"
        if key != name:
            said = f"C-{said}"
        if said not in keys:
            raise Refused(f"the official environment has no key {name!r}")
        found: int = keys.index(said)
        return found

    def _ask(self, call: str) -> Any:
        asked = f"Promise.resolve(agentrl.{call}).then(arguments[0]);"
        return self._env.instance.driver.execute_async_script(f"{page_script()}\n{asked}")


def _point_at_browser() -> None:
    driver, browser = shutil.which("chromedriver"), found_executable()
    if driver is None or browser is None:
        raise InfraError(
            "no_driver", "chromedriver is missing", fix="apt-get install chromium chromium-driver"
        )
    os.environ["MINIWOB_CHROME_BINARY"], os.environ["MINIWOB_CHROMEDRIVER"] = browser, driver
