"""How fast a network is on this machine, by a few steps with random weights on random images.

What a whole run takes is not known here.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from tlft.config.schema import Config
from tlft.models.freeze import freeze, set_training_mode
from tlft.models.memory_order import to_channels_last
from tlft.models.network import build_network
from tlft.runtime.device import Machine, expected_machine
from tlft.runtime.memory import keeping_freed
from tlft.training.optimizer import build_optimizer
from tlft.training.step import Stepper

log = logging.getLogger(__name__)

_FEW = 2  # images, the fewest on which batch norm can be trained
_MOST_ON_CPU = 8  # images at once: more are hardly faster there, and take memory
_EVALUATED_AT_ONCE = 64  # on a GPU
_ROUNDS = 3  # in which training and evaluation take turns, so that what disturbs one of them passes
_ENOUGH = 2  # times that something is done in a round
_SECONDS = (0.15, 0.55)  # for how long: with enough times, and before


@dataclass(frozen=True)
class Speed:
    """What an image takes, in seconds: in a training step (0 where nothing is trained), and in a forward pass.

    Attributes:
        on_cpu: whether it was measured there, so that it depends on the threads.
    """

    train: float
    evaluate: float
    on_cpu: bool


@dataclass(frozen=True)
class _Work:
    """What is timed: `do` takes a count of images, of which there are `most` at once; `prepare` is not timed."""

    prepare: Callable[[], object]
    do: Callable[[int], object]
    most: int


def measure_speed(config: Config, size: int, threads: int) -> Speed | None:
    """Measure for about three seconds how fast the network of a run is, in the precision and on the device of the run.

    No weights are read or fetched. Random state and threads are as before in the end, and no memory is kept.

    Args:
        config: of the run.
        size: side of the images that it evaluates, in pixels.
        threads: that compute, on a CPU.

    Returns:
        None if the network cannot be built or applied in this way.
    """
    threads_before = torch.get_num_threads()
    try:
        machine = expected_machine(config, threads)
        on_gpu = machine.device.type == "cuda"
        with torch.random.fork_rng(devices=[machine.device] if on_gpu else []), keeping_freed():
            torch.set_num_threads(threads)
            speed = _measure(config, size, machine)
        if on_gpu:
            torch.cuda.empty_cache()
    except Exception as error:  # whatever a library, a driver, or code of a network raises
        log.debug("%s: its speed could not be measured: %s", config.arch.name, error)
        return None
    finally:
        torch.set_num_threads(threads_before)
    return speed


def _measure(config: Config, size: int, machine: Machine) -> Speed:
    model = build_network(config.arch.library, config.arch.name)
    model = to_channels_last(model).to(machine.device)
    freeze(model, config.training.trainable)
    on_cpu = machine.device.type == "cpu"
    evaluation = _Work(model.eval, _evaluation(model, size, machine), _MOST_ON_CPU if on_cpu else _EVALUATED_AT_ONCE)
    if not config.training.epochs:
        return Speed(0.0, _seconds_per_image([evaluation])[0], on_cpu)
    most = min(config.training.batch_size, _MOST_ON_CPU) if on_cpu else config.training.batch_size
    trained_at = config.training.image_size or size
    training = _Work(partial(set_training_mode, model), _training(model, config, trained_at, machine), most)
    train, evaluate = _seconds_per_image([training, evaluation])
    return Speed(train, evaluate, on_cpu)


def _training(model: nn.Module, config: Config, size: int, machine: Machine) -> Callable[[int], object]:
    optimizer = build_optimizer(config, model)
    assert optimizer is not None
    stepper = Stepper(model, optimizer, config.training, machine)

    def train(count: int) -> object:
        labels = torch.zeros(count, dtype=torch.int64, device=machine.device)
        return stepper.step([(_images(count, size, machine), labels)], count, config.optimizer.lr)

    return train


def _evaluation(model: nn.Module, size: int, machine: Machine) -> Callable[[int], object]:
    def evaluate(count: int) -> object:
        with torch.inference_mode(), machine.autocast():
            return model(_images(count, size, machine)).sum().item()

    return evaluate


def _images(count: int, size: int, machine: Machine) -> Tensor:
    images = torch.rand(count, 3, size, size, device=machine.device)
    return images.contiguous(memory_format=torch.channels_last)


def _seconds_per_image(works: Sequence[_Work]) -> list[float]:
    """Time each work on a few images and on more; what disturbs it only slows it, so the best counts.

    The first times kernels are chosen and memory is taken, which takes up to forty times as long.
    """
    counts, least = [min(_FEW, work.most) for work in works], [math.inf] * len(works)
    for _ in range(_ROUNDS):
        for index, work in enumerate(works):
            work.prepare()
            begun, times = time.perf_counter(), 0
            while not times or time.perf_counter() - begun < _SECONDS[times < _ENOUGH]:
                started = time.perf_counter()
                work.do(counts[index])
                least[index] = min(least[index], (time.perf_counter() - started) / counts[index])
                counts[index], times = min(2 * counts[index], work.most), times + 1
    return least
