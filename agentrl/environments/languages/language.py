"""A programming language as the judge knows it: a short YAML file."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from agentrl.core import ConfigError


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Image(_Section):
    """Where its programs run: packages of Debian, or the tag of an image that is there."""

    debian: tuple[str, ...] = ()
    tag: str = ""


class ProgramLimits(_Section):
    """What a program may use.

    Attributes:
        seconds: wall time of one run; compile_seconds: of the compilation.
        output_kb: what one run may print.
    """

    seconds: float = Field(default=10.0, gt=0)
    compile_seconds: float = Field(default=30.0, gt=0)
    output_kb: int = Field(default=1024, ge=1)


class Language(_Section):
    """How programs of a language are made and run, in an empty working directory.

    Attributes:
        says: how the prompt names it.
        file: the name that the source gets.
        compile: shell command, "" for none; run: shell command that reads standard input.
        fences: what a fenced block with a program of it is marked with.
    """

    name: str
    says: str
    image: Image
    file: str
    run: str
    compile: str = ""
    limits: ProgramLimits = Field(default_factory=ProgramLimits)
    fences: tuple[str, ...] = ()

    @field_validator("file")
    @classmethod
    def _plain(cls, value: str) -> str:
        if not value or "/" in value:
            raise ValueError("a file name without folders")
        return value


def load_language(name: str | Path) -> Language:
    """A shipped language by name, or one from a YAML file.

    Raises ConfigError: no such language or file, or a key that is wrong; says which are allowed.
    """
    if str(name) in languages():
        return languages()[str(name)]
    path = Path(name)
    if path.suffix not in (".yaml", ".yml") or not path.is_file():
        raise ConfigError(
            f"no language {str(name)!r}",
            fix=f"one of {', '.join(languages())}, or the path of a YAML file",
        )
    return _parse(path.read_text("utf-8"), str(path))


@cache
def languages() -> dict[str, Language]:
    """The shipped ones by name."""
    folder = files("agentrl.environments.languages").joinpath("definitions")
    found = [_parse(f.read_text("utf-8"), f.name) for f in folder.iterdir() if ".yaml" in f.name]
    return {language.name: language for language in sorted(found, key=lambda found: found.name)}


def _parse(text: str, where: str) -> Language:
    try:
        return Language.model_validate(yaml.safe_load(text))
    except (yaml.YAMLError, ValidationError) as error:
        what = str(error)
        if isinstance(error, ValidationError):
            first = error.errors()[0]
            what = f"{'.'.join(map(str, first['loc'])) or 'the file'}: {first['msg']}"
        raise ConfigError(
            what, where=where, fix=f"allowed keys: {', '.join(Language.model_fields)}"
        ) from error
