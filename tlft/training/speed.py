"""How fast a network is on this machine, by a few steps with random weights on random images.

What a whole run takes is not known here.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tlft.config.schema import Config
from tlft.models.build import build_network
from tlft.models.freeze import freeze, set_training_mode
from tlft.runtime.device import Machine, expected_machine
from tlft.runtime.memory import keeping_freed
from tlft.training.optimizer import build_optimizer

log = logging.getLogger(__name__)

_FEW = 2  # images, the fewest on which batch norm can be trained
_MOST_ON_CPU = 8  # images at once: more are hardly faster there, and take memory
_EVALUATED_AT_ONCE = 64  # on a GPU
_ENOUGH = 5  # times that something is done
_SECONDS = (0.4, 1.6)  # for how long: with enough times, and before


@dataclass(frozen=True)
class Speed:
    """What an image takes, in seconds: in a training step (0 where nothing is trained), and in a forward pass.

    Attributes:
        on_cpu: whether it was measured there, so that it depends on the threads.
    """

    train: float
    evaluate: float
    on_cpu: bool


def measure_speed(config: Config, size: int, threads: int) -> Speed | None:
    """Measure for about three seconds how fast the network of a run is, in the precision and on the device of the run.

    No weights are read or fetched. Random state and threads are as before in the end, and no memory is kept.

    Args:
        config: of the run.
        size: side of its images, in pixels.
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
    model = model.to(machine.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    freeze(model, config.training.trainable)
    on_cpu = machine.device.type == "cpu"
    train = 0.0
    if config.training.epochs:
        most = min(config.training.batch_size, _MOST_ON_CPU) if on_cpu else config.training.batch_size
        train = _seconds_per_image(_training(model, config, size, machine), most)
    most = _MOST_ON_CPU if on_cpu else _EVALUATED_AT_ONCE
    evaluate = _seconds_per_image(_evaluation(model, size, machine), most)
    return Speed(train, evaluate, on_cpu)


def _training(model: nn.Module, config: Config, size: int, machine: Machine) -> Callable[[int], object]:
    optimizer = build_optimizer(config.optimizer, [p for p in model.parameters() if p.requires_grad])
    set_training_mode(model)

    def train(count: int) -> object:
        with machine.autocast():
            logits = model(_images(count, size, machine))
        loss = F.cross_entropy(logits.float(), torch.zeros(count, dtype=torch.int64, device=machine.device))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return loss.item()  # waits for a GPU

    return train


def _evaluation(model: nn.Module, size: int, machine: Machine) -> Callable[[int], object]:
    def evaluate(count: int) -> object:
        model.eval()
        with torch.inference_mode(), machine.autocast():
            return model(_images(count, size, machine)).sum().item()

    return evaluate


def _images(count: int, size: int, machine: Machine) -> Tensor:
    images = torch.rand(count, 3, size, size, device=machine.device)
    return images.contiguous(memory_format=torch.channels_last)


def _seconds_per_image(work: Callable[[int], object], most: int) -> float:
    """Time work on a few images and on more, up to `most` at once; what disturbs it only slows it, so the best counts.

    The first times kernels are chosen and memory is taken, which takes up to forty times as long.
    """
    begun = time.perf_counter()
    count, times = min(_FEW, most), list[float]()
    while not times or time.perf_counter() - begun < _SECONDS[len(times) < _ENOUGH]:
        started = time.perf_counter()
        work(count)
        times.append((time.perf_counter() - started) / count)
        count = min(2 * count, most)
    return min(times)
