"""Task folders of Harbor and Terminal-Bench."""

from agentrl.environments.harbor.environment import HarborEnvironment, solved
from agentrl.environments.harbor.folder import load_folder, load_folders
from agentrl.environments.harbor.images import ready_image
from agentrl.environments.harbor.judge import verify
from agentrl.environments.harbor.vetting import vet_folder

__all__ = [
    "HarborEnvironment",
    "load_folder",
    "load_folders",
    "ready_image",
    "solved",
    "verify",
    "vet_folder",
]
