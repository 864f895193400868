from __future__ import annotations

from pathlib import Path

import pytest

from tlft.data.class_map import class_names, describe, find_error, resolve_class_map, to_json, unmapped_classes
from tlft.data.class_map_file import read_class_map
from tlft.errors import ConfigurationError, UnmappedError


def _problems(configured: dict[str, object] | str, classes: list[str]) -> list[str]:
    error = find_error(configured, classes)
    return error.problems if error is not None else []


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
        ({}, "no ImageNet output stands for class cats; give its outputs by index, name or WordNet id"),
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
    problems = _problems(given, ["cats"])
    assert len(problems) == 1
    assert message in problems[0]


def test_an_output_stands_for_one_class_only() -> None:
    with pytest.raises(ConfigurationError, match=r"output 5 .* stands for cats and dogs"):
        resolve_class_map({"cats": [5], "dogs": [5]}, ["cats", "dogs"])


def test_all_problems_of_a_map_are_reported_together() -> None:
    assert len(_problems({"cats": [1000, "cardigan"]}, ["cats", "dogs"])) == 3


def test_a_class_without_a_map_hears_of_candidates() -> None:
    (problem,) = _problems({}, ["retriever"])
    assert "207 (golden retriever)" in problem


@pytest.mark.parametrize(
    ("key", "name"),
    [(0, "0"), (7, "07"), (1.0, "1.0"), (1000.0, "1e3"), (True, "true"), (None, "null"), ("007", "007")],
)
def test_keys_are_the_names_of_classes_whatever_hydra_reads_them_as(key: object, name: str) -> None:
    assert resolve_class_map({key: [3]}, [name]) == {name: [3]}


def test_a_class_is_one_in_either_spelling_of_its_accents() -> None:
    assert resolve_class_map({"Cafe\u0301": [3]}, ["Caf\u00e9"]) == {"Caf\u00e9": [3]}


NAMES = ["Pepper,_bell___healthy", "Corn_(maize)", "猫", "it's", "A&B", "007"]


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("map.yaml", '"Pepper,_bell___healthy": 945\nCorn_(maize): [corn, ear]\n猫: tabby\n"it\'s": 4\nA&B: 5\n007: 6'),
        (
            "map.json",
            '{"Pepper,_bell___healthy": [945], "Corn_(maize)": ["corn", 998], "猫": 281, '
            '"it\'s": "4", "A&B": 5, "007": 6}',
        ),
        (
            "map.csv",
            '\ufeffclass,output\n"Pepper,_bell___healthy",945\nCorn_(maize),corn\nCorn_(maize),998\n猫,tabby\n'
            "it's,4\nA&B,5\n007,6\n",
        ),
    ],
)
def test_a_file_takes_classes_of_any_name(tmp_path: Path, file: str, text: str) -> None:
    (tmp_path / file).write_text(text, encoding="utf-8")
    resolved = resolve_class_map(str(tmp_path / file), NAMES)
    assert [resolved[name] for name in NAMES] == [[945], [987, 998], [281], [4], [5], [6]]
    (tmp_path / "kept.json").write_text(to_json(resolved), encoding="utf-8")
    assert resolve_class_map(str(tmp_path / "kept.json"), NAMES) == resolved


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("map.yaml", "a: [", "cannot be read"),
        ("map.yaml", "- a", "holds no map of classes"),
        ("map.json", "{", "cannot be read"),
        ("map.csv", "a,1\nb\n", "line 2 is no class,output"),
        ("map.csv", "class,output\n", "holds no map of classes"),
        ("map.txt", "a: 1", "name a .yaml, .yml, .json or .csv file"),
        ("map.yaml", None, "no such file"),
    ],
)
def test_a_wrong_file_is_one_line(tmp_path: Path, file: str, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / file).write_text(text)
    (problem,) = _problems(str(tmp_path / file), ["a", "b"])
    assert message in problem
    assert file in problem


@pytest.mark.parametrize("name", ["map.yaml", "map.json"])
def test_a_file_may_be_nested_however_deep(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("[" * 100_000)
    with pytest.raises(ConfigurationError, match=r"cannot be read \(.*\); write class: \[output, \.\.\.\]"):
        read_class_map(str(tmp_path / name))


@pytest.mark.parametrize(("name", "text"), [("map.yaml", "a: 1\na: 2"), ("map.json", '{"a": 1, "a": 2}')])
def test_a_class_that_is_there_twice_is_refused(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigurationError, match="a is there 2 times; give it once"):
        read_class_map(str(tmp_path / name))
    with pytest.raises(ConfigurationError, match="class 7 is there twice; give it once"):
        resolve_class_map({7: [1], "7": [2]}, ["7"])


def test_a_class_that_is_called_null_is_advised_a_file() -> None:
    with pytest.raises(ConfigurationError, match=r"data\.class_map=FILE\.yaml with the line \"NULL\": \[310\]"):
        resolve_class_map(None, ["NULL"])


def test_a_class_that_no_command_line_takes_is_advised_a_file() -> None:
    (problem,) = _problems({}, ["it's"])
    assert 'such as data.class_map=FILE.yaml with the line "it\'s": [310]' in problem


def test_the_names_of_outputs_are_told_back() -> None:
    assert describe({"crane": [517], "cats": [281, 282]}) == "crane -> 517 crane; cats -> 281 tabby, 282 tiger cat"
    assert describe({f"c{index}": [index] for index in range(10)}).endswith("c7 -> 7 cock; and 2 more classes")


def test_a_wordnet_id_stands_for_all_outputs_that_are_kinds_of_it() -> None:
    resolved = resolve_class_map({"dogs": "n02084071", "cats": ["n02123045", 285]}, ["cats", "dogs"])
    assert resolved == {"cats": [281, 285], "dogs": list(range(151, 269))}
    assert describe(resolved).endswith("157 papillon, 158 toy terrier and 110 more")


def test_a_class_that_is_called_by_a_wordnet_id_needs_no_map() -> None:
    assert resolve_class_map(None, ["n01440764", "n02084071"]) == {
        "n01440764": [0],
        "n02084071": list(range(151, 269)),
    }
    assert _problems({}, ["n02084071", "n02085620"]) == [
        "data.class_map: output 151 (Chihuahua) stands for n02084071 and n02085620; give it to one class"
    ]
    (problem,) = _problems({"cats": "n99999999"}, ["cats"])
    assert "data.class_map.cats: none of ImageNet's 1000 classes is a kind of n99999999; `" in problem


def test_what_wordnet_has_of_a_name_is_advised() -> None:
    (problem,) = _problems({}, ["dogs"])
    assert problem.endswith("275 (African hunting dog); or all 118 of n02084071, dog)")


def test_many_classes_without_a_map_are_one_line() -> None:
    classes = [str(digit) for digit in range(10)]
    assert _problems({}, classes) == [
        "head=imagenet1k: no ImageNet output stands for classes 0, 1, 2, 3, 4 and 5 more; give their outputs by index, "
        'name or WordNet id, such as data.class_map=FILE.yaml with a line "0": [310] for each'
    ]
    assert isinstance(find_error({}, classes), UnmappedError)
    assert not isinstance(find_error({"0": [1]}, classes), UnmappedError), "a map that is not whole is a mistake"
    assert unmapped_classes(None, classes) == "0, 1, 2, 3, 4 and 5 more"
    assert unmapped_classes(None, ["ants", "bees"]) == ""


@pytest.mark.parametrize("unknown", ["zz", "n00000001", "n99999999"])
def test_a_class_of_which_imagenet_has_nothing_is_one_without_a_map_whatever_it_is_called(unknown: str) -> None:
    classes = ["n01440764", "n01443537", unknown]
    error = find_error(None, classes)
    assert isinstance(error, UnmappedError), "so that a sweep leaves the untouched network out"
    (problem,) = error.problems
    assert problem.startswith(f"head=imagenet1k: no ImageNet output stands for class {unknown}; give its outputs by")
    assert problem.endswith("; data.unmapped=leave_out scores the other classes alone")
    fish = {"n01440764": [0], "n01443537": [1]}
    assert resolve_class_map(None, classes, leave_out=True) == fish
    assert unmapped_classes(None, classes) == unknown
    assert unmapped_classes(None, classes, leave_out=True) == ""
    assert resolve_class_map({unknown: [2]}, classes) == fish | {unknown: [2]}
    assert unmapped_classes(None, ["n01440764", unknown], leave_out=True) == unknown, "one class would always be right"
    assert isinstance(find_error(None, [unknown], leave_out=True), UnmappedError)
    assert unmapped_classes(None, [unknown], leave_out=True) == unknown


def test_an_id_that_covers_nothing_is_a_mistake_where_somebody_has_given_it() -> None:
    for configured in ({"n00000001": "n00000001"}, {"n00000001": ["n00000001", 3]}):
        error = find_error(configured, ["n01440764", "n00000001"], leave_out=True)
        assert error is not None
        assert not isinstance(error, UnmappedError)
        assert "data.class_map.n00000001: none of ImageNet's 1000 classes is a kind of n00000001; `" in str(error)
