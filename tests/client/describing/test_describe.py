"""client/describing: numbers equal those of pandas and lifelines; ids stand only where a patient is meant."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from lifelines import KaplanMeierFitter
from typer.testing import CliRunner

from client.cli import app
from client.cohort.membership import members
from client.cohort.reading import read_table
from client.cohort.site import load_site
from client.cohort.store import new_manifest, replace_store, store_folder, table_inputs
from client.cohort.withdrawn import withdraw_consent
from client.describing.describe import Description, describe, describe_site
from client.describing.spread import far_out, spread
from common.errors import FedmviError
from common.study.loader import load_study, parse_study
from common.study.protocol import IMAGES
from common.study.table import Column
from simulation.cohorts.consortium import load_consortium
from simulation.hospitals import make_hospitals
from simulation.shipped import shipped_study
from tests.client.preparation.sites import STUDY as WITH_IMAGES

STUDY_FILE = shipped_study(Path("demo"))
STUDY = load_study(STUDY_FILE)
NAMES = {"afp": "AFP", "age": "Age", "ast": "AST", "ggt": "GGT", "tumour_size_imaging": "Tumour size on imaging"}

Change = Callable[[list[dict[str, str]]], Any]


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated hospital of 90 patients, of whom some lack values and some are not eligible."""
    out = tmp_path_factory.mktemp("sites") / "demo"
    sites = ("hospital-a", "hospital-b", "hospital-c", "hospital-d", "external-e", "external-f")
    make_hospitals(load_consortium("demo").with_patients(dict.fromkeys(sites, 90)), out, 1)
    return out / "hospital-a"


@pytest.fixture
def changed(hospital: Path, tmp_path: Path) -> Callable[..., Path]:
    """A copy of the hospital, its rows changed, its site.toml extended."""

    def make(change: Change = list, toml: str = "", name: str = "hospital-a") -> Path:
        rows = list(csv.DictReader((hospital / "patients.csv").open(encoding="utf-8")))
        change(rows)
        with (tmp_path / "patients.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
        (tmp_path / "site.secret").write_text("5e" * 32)
        (tmp_path / "site.toml").write_text(f'[site]\nname = "{name}"\nsimulated = true\n{toml}')
        return tmp_path

    return make


def eligible(folder: Path) -> pd.DataFrame:
    """The eligible patients by the words of the study's protocol, without our code."""
    table = pd.read_csv(folder / "patients.csv")
    stays = table["mvi"].isin(["absent", "present"]) & ~(table["macrovascular_invasion"] == "yes")
    stays &= ~(table["prior_treatment"] == "yes") & (table["imaging_to_surgery_days"] <= 30)
    return table[stays]


def page_of(folder: Path, out: Path, study: Any = STUDY) -> str:
    _, page = describe_site(load_site(folder), study, out)
    assert page == out
    return page.read_text(encoding="utf-8")


def row_of(page: str, title: str, group: str) -> list[str]:
    """The cells of a row in the numbers of a variable, as a reader sees them."""
    start = page.index(f'aria-label="Numbers of {title}"')
    body = page[start : page.index("</table>", start)]
    row = next(row for row in re.findall(r"<tr.*?</tr>", body) if f'<th scope="row">{group}</th>' in row)
    return re.findall(r"<td>(.*?)</td>", row)


def section(page: str, name: str) -> str:
    start = page.index(f'<section id="{name}">')
    return page[start : page.index("</section>", start)]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("group", ["all", "absent", "present"])
def test_the_numbers_on_the_page_are_those_of_pandas(hospital: Path, tmp_path: Path, name: str, group: str) -> None:
    table = eligible(hospital)
    here = table[name] if group == "all" else table.loc[table["mvi"] == group, name]
    assert table[list(NAMES)].isna().sum().sum() >= 3
    found = [
        float(cell.replace(",", "")) for cell in row_of(page_of(hospital, tmp_path / "d.html"), NAMES[name], group)
    ]
    assert found[:2] == [here.count(), here.isna().sum()]
    expected = [here.mean(), here.std(), here.min(), *here.quantile([0.25, 0.5, 0.75]), here.max()]
    for told, number in zip(found[2:], expected, strict=True):
        decimals = 0 if number >= 1000 else 1 if number >= 100 else 2
        assert abs(told - number) <= 0.5001 * 10**-decimals


def test_levels_and_classes_are_counted_as_pandas_counts_them(hospital: Path, tmp_path: Path) -> None:
    table, page = eligible(hospital), page_of(hospital, tmp_path / "d.html")
    for group in ("absent", "present"):
        here = table.loc[table["mvi"] == group, "sex"]
        counts = [here.count(), here.isna().sum(), (here == "female").sum(), (here == "male").sum()]
        assert row_of(page, "Sex", group) == [str(count) for count in counts]
    found = describe(load_site(hospital), STUDY)
    assert found.study is not None
    mvi = next(each for each in found.study.endpoints if each.endpoint.name == "mvi")
    assert mvi.classes["all eligible"] == ((table["mvi"] == "absent").sum(), (table["mvi"] == "present").sum(), 0)


def test_the_survival_curve_and_the_follow_up_are_those_of_lifelines(hospital: Path) -> None:
    table, found = eligible(hospital), describe(load_site(hospital), STUDY)
    assert found.study is not None
    for each in (each for each in found.study.endpoints if each.endpoint.timed):
        known = table[table[f"{each.endpoint.name}_days"].notna()]
        time, event = known[f"{each.endpoint.name}_days"], known[f"{each.endpoint.name}_event"]
        fitted, here = KaplanMeierFitter().fit(time, event), each.followed["all eligible"]
        assert (here.n, here.events, here.longest) == (len(known), event.sum(), time.max())
        np.testing.assert_allclose(here.curve.survival_, fitted.predict(here.curve.time_).to_numpy(), atol=1e-12)
        assert here.median == fitted.median_survival_time_
        # Who has the event at a time still counts as followed at it: a hair later in the reverse curve.
        assert here.followed == KaplanMeierFitter().fit(time + 1e-6 * event, 1 - event).median_survival_time_


def test_every_cohort_is_shown_with_its_flow_and_models_with_events_per_parameter(hospital: Path) -> None:
    site, found = load_site(hospital), describe(load_site(hospital), STUDY)
    assert found.study is not None and found.material.table is not None
    assert [each.cohort.name for each in found.study.cohorts] == ["train", "internal-test", "outcome"]
    for each in found.study.cohorts:
        inside = members(site, found.material.table, STUDY, each.cohort)
        first, *leave, last = [count for _, count in each.flow]
        assert first - sum(leave) == last == np.count_nonzero(inside)
    table = eligible(hospital).set_index("patient_id")
    train = np.array(found.material.patients)[found.study.cohorts[0].rows]
    classes = table.loc[train, "mvi"].value_counts()
    model = found.study.models[0]
    predictors = ["age", "sex", "afp", "ast", "ggt", "tumour_size_imaging"]
    assert (model.model.name, model.patients, model.events) == ("clinical", len(train), classes["present"])
    assert model.complete == len(table.loc[train, predictors].dropna())
    assert model.per_parameter == classes.min() / 6


@example([0.8, 0.7])  # the end of the first bar is 0.7000000000000001
@given(st.lists(st.floats(1e-3, 1e6), min_size=1, max_size=60))
def test_a_histogram_loses_no_value(values: list[float]) -> None:
    column = np.array([*values, np.nan])
    found = spread(column, (np.ones(column.size, bool),))
    assert found is not None and found.heights.sum() == len(values) and np.all(np.diff(found.edges) > 0)


def test_a_tail_is_not_far_out_and_what_is_apart_on_either_side_is() -> None:
    tail = np.random.default_rng(3).lognormal(4, 0.7, 5000)
    beyond = np.percentile(tail, 75) + 3 * np.ptp(np.percentile(tail, [25, 75]))
    assert np.count_nonzero(tail > beyond) > 50 and np.count_nonzero(far_out(tail)) < 10
    normal = np.random.default_rng(4).normal(50, 5, 200)
    normal[[7, 8, 9]] = 5, 120, 121
    normal[10] = np.nan
    assert list(np.flatnonzero(far_out(normal))) == [7, 8, 9]


def test_the_page_asks_for_nothing_and_is_for_the_owner_only(hospital: Path, tmp_path: Path) -> None:
    page = page_of(hospital, tmp_path / "d.html")
    assert (tmp_path / "d.html").stat().st_mode & 0o777 == 0o600
    assert "default-src 'none'; style-src 'sha256-" in page and "<script" not in page and "@import" not in page
    assert set(re.findall(r'(?:href|src|url)\s*=?\s*["(]([^")]*)', page)) == set(
        re.findall(r'href="(#[a-z0-9-]+)"', page)
    )
    assert re.findall(r"\bstyle=", page) == [] and "http" not in page.replace("http-equiv", "")


def flaws(rows: list[dict[str, str]]) -> None:
    kept = [i for i, row in enumerate(rows) if row["mvi"] and row["macrovascular_invasion"] != "yes"]
    a, b, c, d, e, f = kept[:6]
    rows[a] |= {"age": "640"}
    rows[b] |= {"afp": "<20"}
    rows[c] |= {"ggt": "9999"}
    rows[d] |= {key: cell for key, cell in rows[e].items() if key != "patient_id"}
    rows[f] |= dict.fromkeys((*NAMES, "sex"), "")
    rows[kept[6]] |= {"sex": "<script>alert(1)</script>"}


def test_patients_with_something_odd_are_named_with_their_rows(changed: Callable[..., Path], tmp_path: Path) -> None:
    folder = changed(flaws)
    found = describe(load_site(folder), STUDY)
    said = {each.patient: (each.rows, " ".join(each.sentences)) for each in found.odd}
    table = pd.read_csv(folder / "patients.csv", dtype=str)
    kept = table[table["mvi"].notna() & (table["macrovascular_invasion"] != "yes")]
    words = ["FEDMVI-306", "AFP is below 20 ng/mL: given as a limit only", "GGT is 9999 U/L: far from all others",
             f"All values are those of {kept['patient_id'].iloc[4]}", f"those of {kept['patient_id'].iloc[3]}",
             "6 of 9 columns are empty", "FEDMVI-308"]  # fmt: skip
    for (index, patient), expected in zip(kept["patient_id"].iloc[:7].items(), words, strict=True):
        rows, sentences = said[patient]
        assert expected in sentences and rows == (index + 2,)
    page = page_of(folder, tmp_path / "d.html")
    assert "Plausible: 0 to 120 years; outside: 1, not drawn." in page and "Given as below a limit: 1." in page
    assert "<script" not in page and "&lt;script&gt;alert(1)" in page


def test_a_recurrence_after_death_is_told_though_no_protocol_forbids_it(changed: Callable[..., Path]) -> None:
    def change(rows: list[dict[str, str]]) -> None:
        assert all(int(row["rfs_days"]) <= int(row["os_days"]) for row in rows if row["rfs_days"] and row["os_days"])
        early = next(row for row in rows if row["mvi"] and int(row["os_days"]) < 1000)
        early["rfs_days"] = "1200"

    found = describe(load_site(changed(change)), STUDY)
    told = [each.patient for each in found.odd if "Recurrence-free survival ends after Overall" in str(each.sentences)]
    assert len(told) == 1 and found.problems == []


def test_a_pile_of_equal_values_at_an_end_is_told_as_a_limit(changed: Callable[..., Path], tmp_path: Path) -> None:
    def change(rows: list[dict[str, str]]) -> None:
        for row in rows[:20]:
            row["ggt"] = "5"

    folder = changed(change)
    piled = int((eligible(folder)["ggt"] == 5).sum())
    page = page_of(folder, tmp_path / "d.html")
    assert page.count("is it a limit of the method") == 1
    assert f"{piled} patients have the smallest value, 5: is it a limit of the method?" in page


def test_ids_stand_only_wtolda_patient_is_meant(changed: Callable[..., Path], tmp_path: Path) -> None:
    folder = changed(flaws)
    page = page_of(folder, tmp_path / "d.html")
    assert re.search(r"hospital-a-\d{4}", section(page, "patients"))
    for name in ("problems", "patients"):
        page = page.replace(section(page, name), "")
    assert not re.search(r"hospital-a-\d{4}", page)
    top = page[: page.index("<main>")]
    assert "Must not leave the hospital" in top


def test_a_patient_who_withdrew_is_not_on_the_page(changed: Callable[..., Path], tmp_path: Path) -> None:
    from datetime import date

    folder = changed(flaws)
    odd = describe(load_site(folder), STUDY).odd[0].patient
    withdraw_consent(load_site(folder), odd, date(2026, 1, 2))
    for study in (STUDY, None):
        assert odd not in page_of(folder, tmp_path / "d.html", study)


def test_what_the_sites_own_policy_refuses_is_told(changed: Callable[..., Path], tmp_path: Path) -> None:
    page = section(page_of(changed(toml="[policy]\nmin_patients = 80\n"), tmp_path / "d.html"), "refused")
    assert "FEDMVI-403 The cohort &#39;train&#39; has fewer than 80 patients" in page
    assert "Nothing was found" not in page


def test_without_a_study_all_known_columns_are_described_and_others_are_named(
    changed: Callable[..., Path], tmp_path: Path
) -> None:
    folder = changed(toml='[columns]\nfollow_up = { header = "os_days" }\n')
    found = describe(load_site(folder), None)
    assert found.study is None and found.images is None and found.problems == []
    names = [each.name for each in found.material.measured]
    assert {"afp", "mvi_grade", "follow_up"} <= set(names) and "rfs_days" in found.material.unread
    # `mvi` is an alias of vascular invasion, whose levels are None, Micro and Macro; this table says it otherwise.
    assert found.material.groups is not None and found.material.groups.names == ("absent", "present")
    table = pd.read_csv(folder / "patients.csv")
    column = next(each.column for each in found.material.measured if each.name == "follow_up")
    np.testing.assert_array_equal(column.values, table["os_days"])
    page = page_of(folder, tmp_path / "d.html", None)
    assert 'id="cohorts"' not in page and "neither the dictionary" in page


def without(*columns: str) -> Change:
    def change(rows: list[dict[str, str]]) -> None:
        for row in rows:
            for name in columns:
                del row[name]

    return change


def test_a_site_without_an_endpoint_is_described_and_told_what_is_missing(
    changed: Callable[..., Path], tmp_path: Path
) -> None:
    folder = changed(without("mvi", "mvi_grade", "os_days"))
    for study in (STUDY, None):
        page = page_of(folder, tmp_path / "d.html", study)
        assert ("FEDMVI-207" in section(page, "problems")) == (study is not None)
    done = CliRunner().invoke(app, ["describe", str(STUDY_FILE), "--site", str(folder)])
    assert done.exit_code == 1 and "FEDMVI-207" in done.output and (folder / "describe.html").exists()


def test_a_site_that_the_study_does_not_name_or_without_its_secret_is_described(
    changed: Callable[..., Path], tmp_path: Path
) -> None:
    stranger = changed(name="elsewhere")
    assert "FEDMVI-209" in section(page_of(stranger, tmp_path / "d.html"), "refused")
    lost = changed()
    (lost / "site.secret").unlink()
    assert "FEDMVI-322" in section(page_of(lost, tmp_path / "d.html"), "refused")


def test_nothing_is_written_over_another_file_or_of_no_table(changed: Callable[..., Path], tmp_path: Path) -> None:
    folder = changed()
    other = folder / "mine.html"
    other.write_text("<p>mine</p>")
    for out in (other, folder / "none" / "d.html"):
        with pytest.raises(FedmviError) as caught:
            describe_site(load_site(folder), STUDY, out)
        assert caught.value.number == 214
    assert other.read_text() == "<p>mine</p>"
    first = page_of(folder, folder / "d.html")
    assert page_of(folder, folder / "d.html") == first
    (folder / "patients.csv").unlink()
    done = CliRunner().invoke(app, ["describe", str(STUDY_FILE), "--site", str(folder)])
    assert done.exit_code == 1 and "FEDMVI-204" in done.output and not (folder / "describe.html").exists()


def test_images_are_counted_by_phase_and_patients_without_are_listed(
    changed: Callable[..., Path], tmp_path: Path
) -> None:
    folder, study = changed(), parse_study(WITH_IMAGES)
    patients = list(pd.read_csv(folder / "patients.csv")["patient_id"])
    for i, patient in enumerate(patients):
        (folder / "masks" / patient).mkdir(parents=True)
        (folder / "masks" / patient / "tumour.nii.gz").touch()
        (folder / "images" / patient).mkdir(parents=True)
        for phase in ("plain", "arterial", "portal", "delayed") if i else ("plain", "portal"):
            (folder / "images" / patient / f"{phase}.nii.gz").touch()
    found: Description = describe(load_site(folder), study)
    assert found.images is not None
    assert {each.name: each.patients for each in found.images.phases} == {
        "plain": 90, "arterial": 89, "portal": 90, "delayed": 89}  # fmt: skip
    assert found.images.phases[1].without == (patients[0],) and found.images.prepared is None
    assert [(each.region, each.reader, each.patients) for each in found.images.outlines] == [("tumour", 1, 90)]
    shown = unescape(section(page_of(folder, tmp_path / "d.html", study), "images"))
    assert f"<p>{patients[0]}</p>" in shown and "FEDMVI-351" in shown and "FEDMVI-212" in shown


def test_prepared_features_are_described_and_pictures_are_linked_not_shown(
    changed: Callable[..., Path], tmp_path: Path
) -> None:
    site, study = load_site(changed()), parse_study(WITH_IMAGES)
    table, _ = read_table(site, study)
    values = np.random.default_rng(1).normal(size=table.n)
    values[:3] = np.nan
    features = {name: Column(values, (), np.zeros(table.n, np.int8)) for name in study.features()}
    failed = {IMAGES: np.arange(table.n) < 2}
    table = replace(table, columns={**table.columns, **features}, failed=failed)
    store = store_folder(site, study)
    store.parent.mkdir(parents=True)
    replace_store(store, table, new_manifest(study, table, table_inputs(site, study), {"content": ""}))
    (store / "stacks.html").write_text("pictures")
    found = describe(site, study)
    assert found.images is not None and found.images.prepared == table.n - 2
    assert found.study is not None and found.study.models[0].complete is None
    numbers = found.images.features[study.features()[0]]
    stays = pd.Series(values[2:])
    np.testing.assert_allclose((numbers.n, numbers.missing, numbers.mean, numbers.sd),
                               (stays.count(), stays.isna().sum(), stays.mean(), stays.std()))  # fmt: skip
    (tmp_path / "pages").mkdir()
    page = page_of(tmp_path, tmp_path / "pages" / "d.html", study)
    (link,) = re.findall(r'<a href="(\.\.[^"]*)">ROI stacks</a>', page)
    assert (tmp_path / "pages" / link).read_text() == "pictures" and "<img" not in page


def test_a_word_of_the_hospital_may_be_not_known(changed: Callable[..., Path], tmp_path: Path) -> None:
    def change(rows: list[dict[str, str]]) -> None:
        for row, word in zip(rows, ["not known"] * 4 + [""] * 3 + ["absent"] * 50 + ["present"] * 33, strict=True):
            row["mvi"] = word

    page = page_of(changed(change), tmp_path / "d.html", None)
    assert "<b>50</b> absent, <b>33</b> present, <b>7</b> not known." in section(page, "glance")
