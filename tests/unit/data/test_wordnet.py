from __future__ import annotations

import json

import pytest

from tlft import imagenet
from tlft.data.class_map import class_names
from tlft.data.wordnet import is_wordnet_id, search, synsets


def test_the_outputs_are_those_of_the_networks() -> None:
    """Their words are ImageNet's names, in the order of the outputs."""
    words = [set[str]() for _ in range(1000)]
    for synset in synsets().values():
        if len(synset.outputs) == 1:
            words[synset.outputs[0]] |= set(map(str.lower, synset.words))
    others = [name for index, name in enumerate(class_names()) if name.lower() not in words[index]]
    assert others == ["crane bird", "maillot tank suit"], "told apart from those of the same word"


def test_everything_is_an_entity() -> None:
    assert synsets()["n00001740"].outputs == tuple(range(1000))
    assert all(synset.outputs and list(synset.outputs) == sorted(set(synset.outputs)) for synset in synsets().values())


def test_timm_has_the_same_ids_in_the_same_order() -> None:
    from timm.data import ImageNetInfo

    names = ImageNetInfo().label_names()
    assert len(names) == 1000
    assert all(index in synsets()[name].outputs for index, name in enumerate(names))


@pytest.mark.parametrize("text", ["dog", "Dogs", "domestic_dog", "n02084071"])
def test_the_widest_of_that_name_comes_first(text: str) -> None:
    assert (search(text)[0].id, len(search(text)[0].outputs)) == ("n02084071", 118)


def test_what_nothing_is_called_is_not_there() -> None:
    assert search("") == []
    assert search("zebr") == []
    assert (is_wordnet_id("n02084071"), is_wordnet_id("n0208407"), is_wordnet_id("x02084071")) == (True, False, False)


def test_the_command_lists_what_is_called_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    assert imagenet.main(["dog"]) == 0
    page = capsys.readouterr().out
    assert page.splitlines()[2].startswith("n02084071")
    assert "118" in page.splitlines()[2]
    assert page.rstrip().endswith("'data.class_map={CLASS:n02084071}'")
    assert imagenet.main(["310", "--format", "json"]) == 0
    above = json.loads(capsys.readouterr().out)
    assert (above[0]["id"], above[0]["outputs"], above[-1]["words"]) == ("n02219486", [310], ["entity"])


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("1000", "1000: the outputs are 0 to 999"),
        ("goldfsh", "goldfsh: nothing above ImageNet's 1000 classes is called so; did you mean goldfish?"),
    ],
)
def test_what_is_not_there_is_one_line(word: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert imagenet.main([word]) == 2
    assert capsys.readouterr().err.strip() == message
