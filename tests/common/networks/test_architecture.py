"""An architecture is one of few, and says so in JSON."""

import pytest

from common.errors import FedmviError
from common.networks.architecture import Architecture, architecture_of
from common.study.networks import Network


def test_a_protocols_network_has_an_architecture_on_each_of_its_combinations() -> None:
    network = Network(
        name="dl",
        endpoint="grade",
        cohort="train",
        sequences=("t1d", "t1"),
        combinations=("all", "single"),  # type: ignore[arg-type]
        normalisation="fedbn",
        width=8,
        blocks=2,
    )
    made = [architecture_of(network, combination, 3) for combination in network.combinations]
    assert [a.sequences for a in made] == [("t1", "t1d"), ("t1",), ("t1d",)]
    assert {(a.classes, a.normalisation, a.width, a.blocks) for a in made} == {(3, "fedbn", 8, 2)}


@pytest.mark.parametrize("sequences", [(), ("t1v", "t1"), ("t1", "t1"), ("t1", "pet"), tuple("abcdefg")])
def test_branches_out_of_canonical_order_are_refused(sequences: tuple[str, ...]) -> None:
    with pytest.raises(FedmviError) as refused:
        Architecture(sequences, 2, "group")
    assert refused.value.number == 685


def test_its_text_says_all_of_it_and_nothing_else_is_read() -> None:
    architecture = Architecture(("t1", "dwi"), 3, "silobn", width=16, blocks=1)
    assert Architecture.parse(architecture.text) == architecture
    for wrong in ("", "[]", "{}", architecture.text.replace("16", '"x"'), architecture.text.replace("silobn", "layer")):
        with pytest.raises(FedmviError) as refused:
            Architecture.parse(wrong)
        assert refused.value.number == 685
