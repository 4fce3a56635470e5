"""Task folders of Harbor and Terminal-Bench."""

from agentrl.environments.harbor.environment import HarborEnvironment, solved, verify
from agentrl.environments.harbor.folder import load_folder, load_folders
from agentrl.environments.harbor.images import ready_image

__all__ = [
    "HarborEnvironment",
    "load_folder",
    "load_folders",
    "ready_image",
    "solved",
    "verify",
]
