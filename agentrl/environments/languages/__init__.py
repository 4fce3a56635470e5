"""Programs in any language, judged by what they print (paper 10, Agnostics)."""

from agentrl.environments.languages.environment import CodeEnvironment, program_of
from agentrl.environments.languages.images import ensure_debian_image, image_of
from agentrl.environments.languages.judge import Case, IoResult, IoStatus, judge
from agentrl.environments.languages.language import Language, languages, load_language

__all__ = [
    "Case",
    "CodeEnvironment",
    "IoResult",
    "IoStatus",
    "Language",
    "ensure_debian_image",
    "image_of",
    "judge",
    "languages",
    "load_language",
    "program_of",
]
