"""tests: the headlines: few, plain, and from the results."""

from __future__ import annotations

from server.report.headlines import headlines
from server.study.results import Results
from tests.server.report.conftest import Make


def test_a_few_sentences_with_the_main_numbers(results: Results) -> None:
    sentences = headlines(results)
    assert 3 <= len(sentences) <= 7
    assert all(sentence.endswith(".") for sentence in sentences)
    assert sentences[0].startswith("202 simulated patients of 4 sites")
    assert sentences[1] == "Microvascular invasion was present in 97 of 200 patients (48.5 %)."
    assert "0.712 (95 % CI 0.650 to 0.770) in train (apparent)" in sentences[2]
    assert "not estimable in train" in sentences[3]
    assert sentences[4].endswith("log-rank p < 0.001; median not reached (absent) v 400 days (13.1 months) (present).")
    assert sentences[5] == "Overall survival by Microvascular invasion: not estimable."


def test_real_patients_are_not_called_simulated(make: Make) -> None:
    assert headlines(make(simulated=False))[0].startswith("202 patients of 4 sites")


def test_a_hidden_total_is_a_lower_limit(results: Results) -> None:
    hidden = [r.model_copy(update={"n": None}) if r.id == "flow.external" else r for r in results.results]
    assert headlines(results.model_copy(update={"results": hidden}))[0].startswith("At least 161 ")


def test_nothing_is_said_of_what_is_not_there(results: Results) -> None:
    assert len(headlines(results.model_copy(update={"results": []}))) == 1
