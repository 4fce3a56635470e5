"""A small world of four web applications: a shop, mail, settings and a calendar.

Static files with their state in localStorage. In every one the page that an action leads to only
says that something was done; what was done stands on another page, so that proving it takes
looking for it.
"""

from agentrl.environments.gui.world.tasks import KINDS, ORIGIN, SITE, make_tasks

__all__ = ["KINDS", "ORIGIN", "SITE", "make_tasks"]
