"""Actions of the policy as input to a page."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from agentrl.environments.gui.browser.tab import Tab, refuse
from agentrl.environments.gui.screen import Action, Refused, View

DRAG_STEPS = 8
_WAYS = {"up": (0, -1), "down": (0, 1), "left": (-1, 0), "right": (1, 0)}

Perform = Callable[[Tab, Action, View], Awaitable[str]]


async def click(tab: Tab, action: Action, view: View) -> str:
    x, y, note = await _spot(tab, action, view)
    await tab.press(x, y)
    return note


async def double_click(tab: Tab, action: Action, view: View) -> str:
    x, y, note = await _spot(tab, action, view)
    await tab.press(x, y, count=2)
    return note


async def type_text(tab: Tab, action: Action, view: View) -> str:
    """Real key events, one by one: pages complete and check while one types."""
    keyboard = tab.page.keyboard
    if action.element:
        element = view.find(action.element)
        await _locate(tab, action.element)
        done = await tab.inside(f"agentrl.prepare({action.element}, {json.dumps(action.text)})")
        refuse(done, f"element {element.id} ({element.role})")
        if done["done"]:
            return ""
        if not action.text and not done["empty"]:
            await tab.guard(keyboard.press("Delete"))
    if action.text:
        await tab.guard(keyboard.type(action.text))
    if action.enter:
        await tab.guard(keyboard.press("Enter"))
    return ""


async def key(tab: Tab, action: Action, view: View) -> str:
    from playwright.async_api import Error

    try:
        await tab.guard(tab.page.keyboard.press(action.text))
    except Error as error:
        if "Unknown key" not in str(error):
            raise
        raise Refused(
            f"there is no key {action.text!r}; keys are called Enter, Escape, Tab, Backspace, "
            "ArrowDown, a, Control+a, .."
        ) from None
    return ""


async def scroll(tab: Tab, action: Action, view: View) -> str:
    if action.element:
        view.find(action.element)
    across, down = _WAYS[action.text]
    by = f"{across * action.amount:g}, {down * action.amount:g}"
    moved = await tab.inside(f"agentrl.scroll({action.element}, {by})")
    return "" if moved else f"it does not scroll further {action.text}"


async def drag(tab: Tab, action: Action, view: View) -> str:
    x, y, _ = await _spot(tab, action, view)
    target = Action("drag", action.to_element, action.to_point)
    # Bringing the target into view may have moved the source.
    to_x, to_y, _ = await _spot(tab, target, view)
    if action.element and action.to_element:
        x, y, _ = await _spot(tab, action, view)
    mouse = tab.page.mouse
    await tab.guard(mouse.move(x, y))
    await tab.guard(mouse.down())
    await tab.guard(mouse.move(to_x, to_y, steps=DRAG_STEPS))
    await tab.guard(mouse.up())
    return ""


async def select(tab: Tab, action: Action, view: View) -> str:
    element = view.find(action.element)
    done = await tab.inside(f"agentrl.choose({action.element}, {json.dumps(action.text)})")
    refuse(done, f"element {element.id} ({element.role})")
    return ""


async def wait(tab: Tab, action: Action, view: View) -> str:
    await tab.guard(asyncio.sleep(action.amount), seconds=action.amount + 5.0)
    return ""


PERFORM: dict[str, Perform] = {
    "click": click,
    "double_click": double_click,
    "type": type_text,
    "key": key,
    "scroll": scroll,
    "drag": drag,
    "select": select,
    "wait": wait,
}


async def _spot(tab: Tab, action: Action, view: View) -> tuple[float, float, str]:
    """Where to press, and what the policy should know of it."""
    if action.point is not None and not action.element:
        x, y = action.point
        width, height = view.size
        if not (0 <= x < width and 0 <= y < height):
            raise Refused(f"({x}, {y}) is outside of the screen of {width} x {height} pixels")
        return x, y, ""
    if not action.element:
        raise Refused("say where: the number of an element, or x and y")
    view.find(action.element)
    found = await _locate(tab, action.element)
    note = f"element {action.element} is disabled" if found["disabled"] else ""
    return found["x"], found["y"], note


async def _locate(tab: Tab, id: int) -> dict[str, Any]:
    found: dict[str, Any] = await tab.inside(f"agentrl.locate({id})")
    refuse(found, f"element {id}")
    return found
