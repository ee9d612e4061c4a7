"""client/approval: the preview foresees what recalibrations ask, over all sites and of one that answers alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from client.approval.examples import example, modes_of
from client.approval.preview import preview
from client.approval.subjects import subjects_of
from client.cohort.site import load_site
from client.release.gate import Gate
from common.federation.query import Mode, Query
from server.study.conduct import conduct
from tests.client.approval.asked import heard_of, key_of
from tests.server.study.recalibrated_study import ALONE, SEVERAL, alone_text, consortium, outcomes, study_text


@pytest.mark.parametrize("alone", [False, True], ids=["sums", "alone"])
def test_every_question_of_a_recalibration_was_foreseen(tmp_path: Path, *, alone: bool):
    text = alone_text(SEVERAL) if alone else study_text()
    made = consortium(tmp_path, outcomes(-1.1, 0.5, n=240), text, sites=ALONE if alone else "abcdef")
    heard, port = heard_of(made)
    conduct(made.study, port, lambda _: None)
    met = set()
    for name, folder in made.folders.items():
        foreseen = preview(load_site(folder), made.study)
        said: dict[tuple[str, ...], set[int]] = {}
        for release in foreseen.releases:
            said.setdefault(release.key, set()).add(release.refused)
        for ask, error in heard.asks[name]:
            assert error in said.get(key_of(ask), set()), (name, ask.question, error)
            met.add(ask.question.name)
    assert ({"query.recalibration_alone", "query.guaranteed_alone", "query.risk_quality_alone"} <= met) is alone
    assert "query.predicted_positives" in met
    gate = Gate.of(load_site(made.folders["a"]).policy, made.study)
    for subject in subjects_of(made.study):
        roster = tuple(made.study.cohort(subject.cohort).sites)
        for name in subject.questions:
            for mode in set(modes_of(name)) & set(subject.modes):
                ask = example(name, mode, subject, made.study)
                assert isinstance(ask.question, Query)
                if mode is Mode.EACH or len(roster) >= made.study.limits.min_sites:
                    gate.admit(ask, roster)
