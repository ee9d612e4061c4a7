"""disclosure: a coordinator that lets a site drop out, or says so, gets neither that site's part nor another sum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from client.cohort.site import load_site
from client.release.keys import MaskKeys
from client.run import load_run
from common.errors import FedmviError
from common.federation import fixedpoint
from common.federation.codec import pack
from common.federation.envelope import Ticket
from common.federation.query import Ask, Kind, Query, total
from common.federation.totals import encode_total
from common.statistics.counts import Classes
from common.statistics.logistic import LogisticSums
from common.study.recipe import Recipe
from tests.disclosure.consortium import Consortium, make, names, recipe

ROSTER = ("a", "b", "c")
CLASSES = Classes("train", Recipe(), "mvi", 5, guarded=False)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Consortium:
    return make(tmp_path_factory.mktemp("masked"), masked=True).sign().open()


def step(made: Consortium) -> LogisticSums:
    return LogisticSums("train", recipe(made.study, "clinical"), "mvi", names(made.study, "clinical"), np.zeros(5))


def plain(made: Consortium, query: LogisticSums, site: str) -> dict[str, NDArray[np.uint64]]:
    return dict(encode_total(query, query.answer(made.frame(site, query.recipe)), 3))


def decoded(query: Query, parts: Sequence[Mapping[str, NDArray[np.uint64]]]) -> dict[str, NDArray[np.float64]]:
    """The sum of parts as a curious coordinator would read it, who does not mind whether it can be true."""
    real = [name for name, block in query.blocks().items() if block.kind is Kind.REAL]
    sums = {name: reduce(fixedpoint.add, (part[name] for part in parts)) for name in real}
    return {name: fixedpoint.decode_real(limbs) for name, limbs in sums.items()}


def close(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether the numbers agree to a part in a thousand: noise of 128 bits never does."""
    return np.isclose(a, b, rtol=1e-3, atol=1e-3)


def test_all_answers_but_one_are_noise_for_the_missing_site_as_for_their_own_sum(made: Consortium):
    query = step(made)
    sent = {site: made.put(site, total(query))[0].blocks for site in ROSTER}
    whole = decoded(query, list(sent.values()))
    true = {site: query.answer(made.frame(site, query.recipe)) for site in ROSTER}
    np.testing.assert_allclose(whole["score"], sum(part["score"] for part in true.values()), atol=1e-12)
    for missing in ROSTER:
        held = {site: blocks for site, blocks in sent.items() if site != missing}
        rest = decoded(query, list(held.values()))
        for block in ("score", "information"):
            wanted = sum(true[site][block] for site in held)
            assert not close(rest[block], wanted).any(), "what two sites sent still has their masks against the third"
            assert not close(whole[block] - rest[block], true[missing][block]).any()
        for site in held:
            assert not close(decoded(query, [sent[site]])["score"], true[site]["score"]).any()


def test_what_is_left_of_two_answers_are_the_masks_against_the_third_and_nothing_else(made: Consortium):
    query = step(made)
    sent = {site: made.put(site, total(query))[0].blocks["score"] for site in ROSTER}
    bare = {site: plain(made, query, site)["score"] for site in ROSTER}
    left = fixedpoint.add(
        fixedpoint.add(sent["a"], sent["b"]), fixedpoint.negative(fixedpoint.add(bare["a"], bare["b"]))
    )
    of_c = fixedpoint.add(sent["c"], fixedpoint.negative(bare["c"]))
    assert np.array_equal(left, fixedpoint.negative(of_c)) and np.all(left != 0)


def test_asked_again_every_site_gives_the_same_bytes_however_often(made: Consortium):
    ask = total(CLASSES)
    for site in ROSTER:
        answers = [made.put(site, ask)[0] for _ in range(3)]
        assert len({pack(answer.blocks).digest for answer in answers}) == 1
        assert [answer.repeat for answer in answers[1:]] == [True, True]


@pytest.mark.parametrize("roster", [("a", "b"), ("a", "b", "d"), ("a", "b", "x")])
def test_a_smaller_or_another_roster_is_refused_in_the_run_and_in_a_new_one(made: Consortium, roster: tuple[str, ...]):
    made.put("a", total(CLASSES))
    shown = made.with_ticket(rosters={**made.ticket.rosters, "train": roster})
    for site in ("a", "b"):
        assert shown.number(site, total(CLASSES)) == 412
        for ask in (shown.signing(), shown.opening()):
            assert made.with_ticket(rosters=shown.ticket.rosters, run_id="run2").number(site, ask) == 412


def test_no_question_hands_out_what_takes_a_mask_off(made: Consortium):
    """Bonawitz et al. recover a drop-out's masks from the others; here nothing but public keys is ever told."""
    assert set(made.put("a", made.signing())[0].receipt) == {
        "site",
        "code",
        "masks",
        "mask_key",
        "alone",
        "tells",
        "hides",
        "patients",
        "signature",
    }
    assert not {"mask_key", "signature"} & set(made.put("a", made.opening())[0].receipt)


def test_the_same_sums_in_two_runs_are_under_other_masks(made: Consortium):
    query = step(made)
    again = made.with_ticket(run_id="again").sign().open(*made.ticket.roster(""))
    first, second = (c.put("a", total(query))[0].blocks["score"] for c in (made, again))
    difference = fixedpoint.add(first, fixedpoint.negative(second))
    assert np.all(difference != 0), "no pad is used twice"
    both = [decoded(query, [c.put(site, total(query))[0].blocks for site in ROSTER]) for c in (made, again)]
    assert np.array_equal(both[0]["score"], both[1]["score"])


def masked_as(made: Consortium, site: str, ticket: Ticket, ask: Ask, query: Query) -> dict[str, NDArray[np.uint64]]:
    """What the site would send if it believed the ticket."""
    own = load_site(made.folders[site])
    run = load_run(own, made.ticket)
    assert isinstance(query, LogisticSums)
    keys = MaskKeys(own, ticket.study, run.store, run.keys, run.consents(site))
    return dict(keys.masked(ticket, ask, plain(made, query, site)))


@pytest.mark.parametrize("roster", [("a", "b", "c", "d"), ("b", "c"), ("b", "c", "d")])
def test_a_site_that_believed_another_roster_would_spoil_the_sum_and_tell_nothing(
    made: Consortium, roster: tuple[str, ...]
):
    query = step(made)
    other = made.with_ticket(rosters={**made.ticket.rosters, "train": roster})
    sent = [masked_as(made, site, made.ticket, total(query), query) for site in ("a", "b")]
    honest = decoded(query, [*sent, masked_as(made, "c", made.ticket, total(query), query)])
    np.testing.assert_allclose(honest["log_likelihood"], -180 * np.log(2), rtol=1e-12)
    fooled = masked_as(made, "c", other.ticket, total(query), query)
    for parts in ([*sent, fooled], [sent[1], fooled], [fooled]):
        assert not close(decoded(query, parts)["score"], honest["score"]).any()
    assert other.number("c", total(query)) == 412, "and no site believes one that it has not signed"


def test_a_coordinator_in_the_place_of_a_site_is_not_given_masks(made: Consortium, tmp_path: Path):
    """With a site of its own, under the name c, it would share a pair secret with everybody."""
    run = made.with_ticket(run_id="impostor")
    run.folders = {**made.folders, "c": tmp_path / "c"}
    with pytest.raises(FedmviError, match="201"):
        run.sign("c")
    own = make(tmp_path, masked=True)  # knows the names, and has keys of its own making
    (own.folders["c"] / "site.secret").write_text("77" * 32)
    mine = own.with_ticket(run_id="impostor").sign("c").signed
    run.folders = made.folders
    run.sign("a", "b", "d", "e", "f")
    run.signed = (*run.signed, *mine)
    assert [run.number(site, run.opening()) for site in ("a", "b")] == [419, 419]
