"""tests/common/study: [[networks]]: presets become numbers, words become combinations, contradictions have a line."""

from __future__ import annotations

import json
import re
from itertools import permutations

import pytest

from common.errors import FedmviError
from common.study.declarations import as_tuples
from common.study.fingerprint import study_fingerprint
from common.study.loader import parse_study
from common.study.networks import SEQUENCES, Network
from common.study.protocol import Study

TEXT = """\
[study]
name = "networks"
title = "With a network"

[[endpoints]]
name = "mvi"
kind = "binary"
columns = ["mvi"]

[[endpoints]]
name = "mvi_grade"
kind = "ordinal"
columns = ["mvi_grade"]
levels = [["M0"], ["M1"], ["M2"]]

[[endpoints]]
name = "os"
kind = "survival"
columns = ["os_days", "os_event"]
unit = "days"

[[endpoints]]
name = "four"
kind = "ordinal"
columns = ["four"]
levels = [["a"], ["b"], ["c"], ["d"]]

[[cohorts]]
name = "train"
role = "train"
sites = ["a", "b", "c"]

[[cohorts]]
name = "pair"
role = "train"
sites = ["d", "e"]

[[cohorts]]
name = "external"
role = "external-test"
sites = ["f"]

[preparation]
modality = "mr"
phases = ["t1", "t1a", "t1v", "t1d", "t2", "dwi"]
reference = "t1v"

[preparation.stacks]
size = 64

[[models]]
name = "clinical"
endpoint = "mvi"
cohort = "train"
predictors = ["age"]

[[networks]]
name = "dl_mvi"
endpoint = "mvi_grade"
present = "mvi"
cohort = "train"
evaluate = ["external"]
sequences = ["dwi", "t1d", "t1v", "t1a", "t2", "t1"]
size = 64
"""
SIX = ("t1", "t1a", "t1v", "t1d", "t2", "dwi")
SAME_RESULTS, SAME_METHODS = ("t1", "t1v", "t1d"), ("t1a", "t1v", "t1d")


def network(more: str = "", text: str = TEXT) -> Network:
    return parse_study(text + more).networks[0]


def test_what_is_not_given_is_the_ablation_over_all_sequences_in_canonical_order() -> None:
    assert network().sequences == SIX
    assert network().combinations == (*((s,) for s in SIX), SAME_RESULTS, SAME_METHODS, SIX)


@pytest.mark.parametrize(
    ("words", "combinations"),
    [
        ('"single"', tuple((s,) for s in SIX)),
        ('"all"', (SIX,)),
        ('"published-results"', (SAME_RESULTS,)),
        ('"published-methods"', (SAME_METHODS,)),
        ('["all", "published-methods", ["t2"]]', (SIX, SAME_METHODS, ("t2",))),
        ('[["t1d", "t1", "t1v"], "published-results"]', (SAME_RESULTS,)),
        ('[["t2", "t2"]]', (("t2",),)),
    ],
)
def test_words_stand_for_combinations_each_once(words: str, combinations: tuple[tuple[str, ...], ...]) -> None:
    assert network(f"combinations = {words}\n").combinations == combinations


def test_every_subset_is_there_once() -> None:
    made = network('combinations = "every"\n').combinations
    assert len(made) == len({frozenset(c) for c in made}) == 2**6 - 1


def test_the_order_in_which_a_protocol_lists_sequences_changes_no_fingerprint() -> None:
    prints = set()
    for order in permutations(("t1a", "t1v", "t1d")):
        text = TEXT.replace('["dwi", "t1d", "t1v", "t1a", "t2", "t1"]', json.dumps(order))
        prints.add(study_fingerprint(parse_study(f"{text}combinations = [{json.dumps(order)}]\n")))
    assert len(prints) == 1
    assert [SEQUENCES.index(s) for s in SAME_METHODS] == sorted(SEQUENCES.index(s) for s in SAME_METHODS)


def test_sequences_are_those_that_combinations_name_where_none_are_given() -> None:
    text = re.sub(r"sequences = .*\n", "", TEXT)
    assert network('combinations = ["single", ["t2", "t1"]]\n', text).combinations == (("t1",), ("t2",), ("t1", "t2"))
    assert network('combinations = "published-methods"\n', text).sequences == SAME_METHODS
    with pytest.raises(FedmviError, match="103") as refused:
        network('combinations = "single"\n', text)
    assert "`sequences` are needed" in refused.value.local


def test_the_preset_published_fills_in_what_is_published_and_no_more_than_is_not_given() -> None:
    published = network('[networks.training]\npreset = "published"\n')
    training, federation = published.training, published.federation
    assert (training.optimiser, training.learning_rate, training.batch) == ("adam", 0.1, 2)
    assert (training.clip_norm, training.class_weights, training.weight_decay) == (None, "none", 0.0)
    assert (federation.rounds, federation.epochs_per_round, federation.patience) == (200, 1, None)
    assert (published.normalisation, published.inference, published.development) == ("batch", "first", "published")
    assert training.augmentation is not None
    assert (training.augmentation.flip, training.augmentation.crop) == (0.5, (0.75, 1.0))
    own = network(
        'development = "nested"\nnormalisation = "group"\n'
        '[networks.training]\npreset = "published"\nlearning_rate = 0.01\n[networks.federation]\nrounds = 7\n'
    )
    assert (own.training.learning_rate, own.training.batch, own.federation.rounds) == (0.01, 2, 7)
    assert (own.development, own.normalisation, own.inference) == ("nested", "group", "first")


def test_the_preset_is_numbers_by_the_time_it_is_fingerprinted() -> None:
    said = network('[networks.training]\npreset = "published"\n')
    assert study_fingerprint(parse_study(TEXT + '[networks.training]\npreset = "published"\n')) == study_fingerprint(
        parse_study(TEXT + '[networks.training]\npreset = "published"\nlearning_rate = 0.1\nclip_norm = false\n')
    )
    assert said.model_dump()["training"]["learning_rate"] == 0.1


def test_fedadam_gets_a_small_step_unless_it_is_given_one() -> None:
    adam = '[networks.federation]\nstrategy = "fedadam"\n'
    assert network().federation.server_learning_rate == 1.0
    assert network(adam).federation.server_learning_rate == 0.01
    assert network(adam + "server_learning_rate = 0.1\n").federation.server_learning_rate == 0.1


def test_false_says_that_there_is_none() -> None:
    made = network(
        "[networks.training]\nclip_norm = false\naugmentation = false\n[networks.federation]\npatience = false\n"
    )
    assert (made.training.clip_norm, made.training.augmentation, made.federation.patience) == (None, None, None)


@pytest.mark.parametrize(
    "more",
    [
        "",
        'combinations = "every"\n',
        'normalisation = "silobn"\n[networks.training]\nclip_norm = false\naugmentation = false\n',
        '[networks.training]\npreset = "published"\n[networks.federation]\nstrategy = "fedadam"\n',
        "[networks.privacy]\nepsilon = 8.0\ndelta = 1e-4\n[networks.federation]\npatience = false\n",
    ],
)
def test_a_study_that_travelled_as_json_has_the_same_fingerprint(more: str) -> None:
    study = parse_study(TEXT + more)
    travelled = Study.model_validate(as_tuples(json.loads(json.dumps(study.model_dump(mode="json")))))
    assert travelled == study
    assert study_fingerprint(travelled) == study_fingerprint(study)


@pytest.mark.parametrize(
    ("old", "new", "at", "sentence"),
    [
        ('name = "dl_mvi"', 'name = "clinical"', 'name = "clinical"\nendpoint = "mvi_grade"', "declared twice"),
        ('endpoint = "mvi_grade"', 'endpoint = "os"', "", "'os' is not a binary or ordinal endpoint"),
        ('endpoint = "mvi_grade"', 'endpoint = "four"', "", "'four' has 4 levels"),
        ('endpoint = "mvi_grade"', 'endpoint = "mvi"', 'present = "mvi"', "belongs to an ordinal endpoint"),
        ('present = "mvi"\n', "", "[[networks]]", "the binary endpoint that is present above"),
        ('present = "mvi"', 'present = "os"', "", "'os' is not a binary endpoint"),
        ('cohort = "train"\nevaluate', 'cohort = "external"\nevaluate', 'cohort = "external"', "not a cohort with"),
        ('cohort = "train"\nevaluate', 'cohort = "pair"\nevaluate', 'cohort = "pair"', "fewer than 3 sites"),
        ('evaluate = ["external"]', 'evaluate = ["train"]', "", "'train' is not an internal-test, external-test"),
        ('evaluate = ["external"]', 'evaluate = ["external", "external"]', "", "'external' is named twice"),
        ('sequences = ["dwi",', 'sequences = ["dwi", "adc",', "", "'adc' is none of the phases of [preparation]"),
        ('sequences = ["dwi",', 'sequences = ["dwii",', "", "'dwii' is not a sequence: t1, .*; did you mean 'dwi'?"),
        ("[preparation.stacks]\nsize = 64", "[preparation.stacks]\nsize = 48", "size = 64", "have 48 rows only"),
        ("", 'combinations = [["t1"], ["t1w"]]\n', "", "'t1w' is none of `sequences`; did you mean"),
        ("", 'combinations = [["t1"], ["adc"]]\n', "", "'adc' is none of `sequences`"),
        ("", "combinations = [[]]\n", "", "a combination has 1 to 6 sequences"),
        ("", 'combinations = ["singel"]\n', "[[networks]]", "'singel' is none of .*did you mean 'single'?"),
        ("", 'combinations = ["t1"]\n', "[[networks]]", 'write [["t1"]] for that sequence alone'),
        ("", 'development = "published"\n', "", "belongs to the preset `published`"),
        ("", 'normalisation = "layer"\n', "", "'batch', 'group', 'fedbn' or 'silobn'"),
        ("", "[networks.training]\noptimizer = 1\n", "", "unknown field; did you mean 'optimiser'?"),
        ("", "[networks.training]\nmomentum = 1.0\n", "", "less than 1"),
        ("", "[networks.training]\nlearning_rate = inf\n", "", "finite number"),
        ("", "[networks.training]\naugmentation = { crop = [1.0, 0.75] }\n", "", "`crop` of .* has its"),
        ("", "[networks.training]\naugmentation = { scale = [1.1, 1.0] }\n", "", "`scale` of `augm.* has"),
        ("", "[networks.federation]\npatience = true\n", "", "valid integer"),
        ("", 'normalisation = "batch"\nprivacy = { epsilon = 1.0, delta = 1e-3 }\n', "privacy", "other layers mix"),
        ("", '[networks.federation]\nstrategy = "trimmed-mean"\n', "", "`trim` of 3 sites"),
        ("", 'projection = { cohorts = ["external", "external"] }\n', "", "'external' is named twice"),
        ("", 'projection = { cohorts = ["external", "train"] }\n', "", "the training cohort: the network has seen its"),
        ("", 'projection = { cohorts = ["external", "pair"] }\n', "", "'pair' is no cohort in which the network is"),
        ("", 'projection = { cohorts = ["external", "pair"] }\n', "", "none of its cohorts has 3 sites"),
        ("", 'projection = { cohorts = ["external"] }\n', "", "needs at least 2 entries"),
        ("", 'projection = { cohorts = ["external", "pair"], dimensions = 64 }\n', "", "less than or equal to 32"),
        (
            "",
            '[networks.privacy]\nepsilon = 1.0\ndelta = 1e-3\n[networks.federation]\nstrategy = "scaffold"\n',
            "",
            "cannot go with scaffold",
        ),
    ],
)  # fmt: skip
def test_every_contradiction_has_its_line(old: str, new: str, at: str, sentence: str) -> None:
    text = TEXT.replace(old, new) if old else TEXT + new
    assert text != TEXT
    with pytest.raises(FedmviError, match="103") as refused:
        parse_study(text)
    local = refused.value.local
    pattern = re.escape(sentence).replace(r"\.\*", ".*")
    assert re.search(pattern, local), local
    where = at or new.splitlines()[0]
    number = text[: text.rindex(where)].count("\n") + 1
    assert f"line {number}: networks[1]" in local, local
