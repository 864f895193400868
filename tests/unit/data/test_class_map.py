from __future__ import annotations

import pytest

from tlft.data.class_map import class_names, find_problems, resolve_class_map
from tlft.errors import ConfigurationError


def test_names_are_those_of_torchvision() -> None:
    from torchvision.models import ResNet50_Weights

    assert list(class_names()) == ResNet50_Weights.IMAGENET1K_V1.meta["categories"]


def test_ants_and_bees_are_built_in() -> None:
    assert resolve_class_map(None, ["ants", "bees"]) == {"ants": [310], "bees": [309]}
    assert (class_names()[310], class_names()[309]) == ("ant", "bee")


def test_outputs_are_given_by_index_or_name() -> None:
    given = {"cats": ["tabby", 285, "Persian cat", "282"], "dogs": "golden_retriever"}
    assert resolve_class_map(given, ["cats", "dogs"]) == {"cats": [281, 282, 283, 285], "dogs": [207]}


def test_configured_outputs_beat_the_built_in_ones() -> None:
    assert resolve_class_map({"ants": [1]}, ["ants", "bees"]) == {"ants": [1], "bees": [309]}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "no ImageNet output stands for class cats; give its outputs by index or name"),
        ({"cats": [1000]}, "output 1000 is outside 0..999"),
        ({"cats": [-1]}, "output -1 is outside 0..999"),
        ({"cats": []}, "is empty; give at least one output"),
        ({"cats": ["cardigan"]}, "names several ImageNet classes; give an index: 264 (Cardigan), 474 (cardigan)"),
        ({"cats": ["tabbi"]}, "ImageNet has no class tabbi; did you mean tabby?"),
        ({"cats": ["terrier"]}, "no class terrier by that full name; give an index: "),
        ({"cats": [True]}, "True is neither an index nor a name"),
        ({"cats": [1.5]}, "1.5 is neither an index nor a name"),
        ({"cats": [1], "catz": [2]}, "data.class_map.catz: the data has no such class; did you mean cats?"),
    ],
)
def test_wrong_map_is_one_line_with_its_mend(given: dict[str, object], message: str) -> None:
    problems = find_problems(given, ["cats"])
    assert len(problems) == 1
    assert message in problems[0]


def test_an_output_stands_for_one_class_only() -> None:
    with pytest.raises(ConfigurationError, match=r"output 5 .* stands for cats and dogs"):
        resolve_class_map({"cats": [5], "dogs": [5]}, ["cats", "dogs"])


def test_all_problems_of_a_map_are_reported_together() -> None:
    assert len(find_problems({"cats": [1000, "cardigan"]}, ["cats", "dogs"])) == 3


def test_a_class_without_a_map_hears_of_candidates() -> None:
    (problem,) = find_problems({}, ["retriever"])
    assert "207 (golden retriever)" in problem
