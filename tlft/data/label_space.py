"""What the outputs of a head stand for: one for each of the data's classes, or some of ImageNet's 1000 for each."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from tlft.data.class_map import ClassMap, class_names


@dataclass(frozen=True)
class LabelSpace:
    """The meaning of a head's outputs.

    Attributes:
        classes: the data's classes; without a class map an output each, in their order.
        class_map: the outputs of the 1000-class head that stand for each class, or None.
    """

    classes: tuple[str, ...]
    class_map: ClassMap | None = None

    @property
    def outputs(self) -> list[list[int]]:
        """The outputs that stand for each class."""
        if self.class_map is None:
            return [[index] for index in range(len(self.classes))]
        return [self.class_map[name] for name in self.classes]

    @cached_property
    def class_of_output(self) -> dict[int, int]:
        """The index of the class that an output stands for; outputs that stand for none are not in it."""
        return {output: index for index, outputs in enumerate(self.outputs) for output in outputs}

    def name_of(self, output: int) -> str:
        """Return what people call an output: the class that it stands for, else ImageNet's name for it."""
        if output in self.class_of_output:
            return self.classes[self.class_of_output[output]]
        name = class_names()[output]
        return f"{name} (ImageNet {output})" if name in self.classes else name
