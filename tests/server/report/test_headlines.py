"""tests: the headlines: few, plain, and from the results."""

from __future__ import annotations

from common.published.results import Estimate, Result, Results
from server.report.headlines import headlines
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


def regression(kind: str, *estimates: Estimate) -> Result:
    return Result(
        id=f"comparison.rfs-by-mvi.cox-{kind}", statistic="cox-regression", kind=kind, title="Cox", cohort="train",
        sites=["alpha", "beta", "gamma"], how="exact", estimates=list(estimates),
    )  # fmt: skip


def test_survival_names_the_hazard_ratio_alone_and_adjusted_where_there_is_one(results: Results) -> None:
    group = "Microvascular invasion: present"
    alone = Estimate(name="hazard_ratio", term=group, value=2.104, low=1.302, high=3.4, p=0.002)
    beside = [Estimate(name="hazard_ratio", term="afp>20", value=9.0, low=8.0, high=10.0)]
    beside.append(Estimate(name="hazard_ratio", term=group, value=1.806, low=1.1, high=2.967, p=0.02))
    added = [regression("univariable", alone), regression("multivariable", *beside)]
    sentence = headlines(results.model_copy(update={"results": [*results.results, *added]}))[4]
    ratios = "hazard ratio of present over absent 2.10 (95 % CI 1.30 to 3.40), adjusted 1.81 (95 % CI 1.10 to 2.97);"
    assert f"log-rank p < 0.001, {ratios} median not reached (absent)" in sentence
    refused = [regression("univariable"), added[1]]
    sentence = headlines(results.model_copy(update={"results": [*results.results, *refused]}))[4]
    assert "p < 0.001, adjusted hazard ratio of present over absent 1.81 (95 % CI 1.10 to 2.97); median" in sentence


def test_real_patients_are_not_called_simulated(make: Make) -> None:
    assert headlines(make(simulated=False))[0].startswith("202 patients of 4 sites")


def test_a_hidden_total_is_a_lower_limit(results: Results) -> None:
    hidden = [r.model_copy(update={"n": None}) if r.id == "flow.external" else r for r in results.results]
    assert headlines(results.model_copy(update={"results": hidden}))[0].startswith("At least 161 ")


def test_nothing_is_said_of_what_is_not_there(results: Results) -> None:
    assert len(headlines(results.model_copy(update={"results": []}))) == 1
