"""What many tests share: a home of their own, composed configurations, and a tiny folder of images."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run beside each other; before torch is imported

import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from fresh_database import VARIABLE
from PIL import Image
from warm import WarmCommand

from tlft.config.compose import Composer
from tlft.config.paths import PROJECT
from tlft.config.resolve import resolve
from tlft.config.schema import Config
from tlft.config.typed import to_config
from tlft.runtime import signals

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as in a shell's background job; children would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)

PHOTOGRAPHS = os.environ.get("TLFT_HYMENOPTERA", "")
needs_photographs = pytest.mark.skipif(not PHOTOGRAPHS, reason="TLFT_HYMENOPTERA names no folder of photographs")

Configure = Callable[..., Config]
RunCommand = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def composer() -> Composer:
    return Composer()


@pytest.fixture(scope="session")
def session_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty `paths.home`, which TLFT_HOME names during the test."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("TLFT_HOME", str(folder))
    return folder


@pytest.fixture
def configure(composer: Composer, home: Path) -> Configure:
    """Return a function that composes overrides into a configuration that writes to `home`."""

    def compose(*overrides: str) -> Config:
        return resolve(to_config(composer.compose([f"paths.home={home}", *overrides])))

    return compose


def draw_folder(root: Path, train: int = 8, evaluation: int = 6, size: int = 40) -> Path:
    """Write a folder of two classes of small images that a network can learn: reddish ants, bluish bees."""
    for split, count in (("train", train), ("val", evaluation)):
        for label, name in enumerate(("ants", "bees")):
            folder = root / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                random = np.random.default_rng([label, index, len(split)])
                pixels = random.integers(0, 120, (size, size + 8, 3), dtype=np.uint8)
                pixels[:, :, 2 * label] += 130
                Image.fromarray(pixels).save(folder / f"{index}.png")
    return root


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_folder(tmp_path_factory.mktemp("tiny") / "insects")


TINY_ARCH = ("arch=timm", "arch.name=test_efficientnet")
"""A small network that needs no weights file when it is trained from scratch."""


def run_py(
    *arguments: str, home: Path, env: dict[str, str] | None = None, cwd: Path = PROJECT, cold: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run `python run.py` as a user would, with TLFT_HOME set; `cold` in a new interpreter, which takes seconds."""
    environment = {**os.environ, "TLFT_HOME": str(home), "OMP_NUM_THREADS": "1", **(env or {})}
    if not cold:
        command = WarmCommand(arguments, environment, cwd)
        said = command.communicate()
        assert command.returncode is not None
        return subprocess.CompletedProcess(["run.py", *arguments], command.returncode, *said)
    return subprocess.run(
        [sys.executable, str(PROJECT / "run.py"), *arguments],
        env=environment,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=600,
    )


def pytest_configure(config: pytest.Config) -> None:
    """Say where the database lies that new homes get a copy of; the workers hear it from the first process."""
    if VARIABLE not in os.environ:
        os.environ[VARIABLE] = tempfile.mkdtemp(prefix="tlft-tests-")
        config.add_cleanup(lambda: shutil.rmtree(os.environ.pop(VARIABLE)))


LONG = (
    "test_slurm.py",
    "test_torture.py",
    "test_every_network.py",
    "test_resume.py",
    "test_soak.py",
    "test_server.py",
    "test_sweep.py",
    "test_parallel.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take long, so that none of them is left when the other workers are through."""
    items.sort(key=lambda item: LONG.index(item.path.name) if item.path.name in LONG else len(LONG))


def copy_project(to: Path) -> Path:
    """Copy what runs, so that a test may edit it."""
    left_out = shutil.ignore_patterns(".*", "tests", "multirun", "outputs", "__pycache__")
    return Path(shutil.copytree(PROJECT, to, ignore=left_out, symlinks=True))


def edit_recipe(project: Path) -> None:
    """Change the learning rate and the batch size in the configuration of a copied project."""
    for name in ("config.yaml", "optimizer/sgd.yaml"):
        path = project / "conf" / name
        edited = re.sub(r"(?m)^(lr|  batch_size): \S+", r"\1: 0.5", path.read_text())
        assert edited != path.read_text()
        path.write_text(edited)


def files_in(folder: Path) -> list[str]:
    """Return every file below a folder, as relative names."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.fixture(autouse=True)
def quiet_hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep every test off the network, and from the store that MLflow was last told of, which it puts there."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    yield


@pytest.fixture
def listening() -> Iterator[None]:
    """Hear signals during the test as a run does, and leave what was heard behind."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
    before = {number: signal.getsignal(number) for number in numbers}
    signals.listen()
    yield
    signals.listen()
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def resnet50_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file of weights for ResNet-50."""
    from networks import save_random_resnet50

    return save_random_resnet50(tmp_path_factory.mktemp("weights"))
