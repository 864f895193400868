from __future__ import annotations

import errno

import numpy as np
import pytest
import torch
from conftest import Configure

from tlft.errors import out_of_memory
from tlft.job import _explain


def catch(size: int) -> list[Exception]:
    """Return what PyTorch and NumPy raise when they are asked for more bytes than a machine can have."""
    caught: list[Exception] = []
    for ask in (lambda: torch.empty(size, dtype=torch.uint8), lambda: np.empty(size, dtype=np.uint8)):
        with pytest.raises((RuntimeError, MemoryError)) as info:
            ask()
        caught.append(info.value)
    return caught


def test_allocators_are_heard() -> None:
    of_torch, of_numpy = catch(2**56)
    assert out_of_memory(of_torch).startswith("DefaultCPUAllocator: ")
    assert str(2**56) in out_of_memory(of_torch)
    assert out_of_memory(of_numpy).startswith("Unable to allocate")
    said = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 7.79 GiB"
    assert out_of_memory(torch.OutOfMemoryError(said)) == said
    assert len(out_of_memory(torch.OutOfMemoryError(said * 10))) == 200
    assert out_of_memory(RuntimeError("could not create a primitive")) == "could not create a primitive"
    assert out_of_memory(MemoryError()) == "Python can allocate no more"


@pytest.mark.parametrize(
    "error",
    [RuntimeError("mat1 and mat2 shapes cannot be multiplied"), ValueError("DefaultCPUAllocator: "), KeyError()],
)
def test_other_errors_are_not_taken_for_it(error: Exception) -> None:
    assert out_of_memory(error) == ""


def test_what_a_user_can_mend_is_a_line_and_the_rest_a_traceback(configure: Configure) -> None:
    def said(error: BaseException, *overrides: str) -> str:
        return str(_explain(error, configure(*overrides)))

    assert said(MemoryError("no")) == "out of memory: no; set training.batch_size below 64"
    assert said(MemoryError("no"), "experiment=zero_shot") == "out of memory: no; a smaller network needs less"
    assert said(OSError(errno.ENOSPC, "No space", "/full")).startswith("/full: the disk is full; ")
    assert said(SystemExit(3)).startswith("something in the run called sys.exit(3); ")
    assert _explain(OSError(errno.EIO, "Input/output error"), configure()) is None
    assert _explain(ValueError(), configure()) is None
