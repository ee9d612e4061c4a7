"""simulation: benchmarks: peers: all contenders, by question; the first of each is what the others are held against."""

from __future__ import annotations

from simulation.benchmarks.peers.contenders import Contender, program
from simulation.benchmarks.peers.ours import alone, whole_study
from simulation.benchmarks.peers.question import Question

FLARE_ROUNDS, FLARE_MORE = 5, 15
"""As in its example, and as many as bring it to the end."""
FLOWER_ROUNDS = 50
TNO_BINS, TNO_ROUNDS = 50, 25
"""100 bins as in its README are more than these patients have: one without an event ends it. Its default of rounds."""

NOTHING = "nothing: one table"
ROWS = "every patient's row"
MASKED = "masked sums"
SUMS = "the site's gradient and Hessian, as they are"
WEIGHTS = "the site's fitted coefficients, as they are"
PAYLOAD, FLOWERS = "payloads of messages", "messages as Flower writes them"

L, C, H = Question.LOGISTIC, Question.CURVE, Question.HAZARDS


def _flare(weights: str, rounds: int) -> Contender:
    about = {"patients": "its recipe and example: sums weighted by patients", "equal": "the same with equal weights"}
    options = ("--work", "work", "--rounds", str(rounds), "--weights", weights)
    return Contender(
        f"NVIDIA FLARE, {rounds} rounds", about[weights], L, SUMS,
        program("flare", "nvflare", "flare_job.py", *options), "arrays only: a lower bound",
    )  # fmt: skip


def _flower(epochs: int, penalty: str, about: str) -> Contender:
    options = ("--rounds", str(FLOWER_ROUNDS), "--epochs", str(epochs), "--penalty", penalty)
    return Contender("Flower FedAvg", about, L, WEIGHTS, program("flower", "flwr", "flower_job.py", *options), FLOWERS)


def _tno(weights: str) -> Contender:
    about = {"rows": "as its README: sums weighted by rows", "equal": "the same with equal weights"}
    options = ("--bins", str(TNO_BINS), "--rounds", str(TNO_ROUNDS), "--weights", weights)
    return Contender(
        "TNO Cox regression", f"{about[weights]}; a logistic regression over {TNO_BINS} bins of time", H, SUMS,
        program("tno", "tno.fl.protocols.cox-regression", "tno_job.py", *options), "bodies of its HTTP messages",
    )  # fmt: skip


def _pooled(name: str, about: str, question: Question, fit: str, library: str) -> Contender:
    return Contender(name, about, question, NOTHING, program("own", library, "pooled_job.py", "--of", fit))


def _ours(question: Question) -> Contender:
    about = "the statistic alone over Flower; no study, gate, ledger or report"
    return Contender("FedMVI, alone", about, question, MASKED, alone(question), PAYLOAD)


CONTENDERS = (
    _pooled("statsmodels, pooled", "maximum likelihood on all rows: the reference", L, "statsmodels", "statsmodels"),
    Contender("FedMVI, a whole study", "each predictor alone, all together, areas; gate, ledger, report", L, MASKED,
              whole_study, PAYLOAD),
    _ours(L),
    _pooled("scikit-learn, pooled", "its default, with a ridge penalty (C = 1)", L, "scikit-learn", "scikit-learn"),
    _flare("patients", FLARE_ROUNDS),
    _flare("equal", FLARE_MORE),
    _flower(1, "l2", "scikit-learn at sites, one iteration a round"),
    _flower(100, "l2", "scikit-learn at sites, fitted to the end each round"),
    _flower(100, "none", "the same without scikit-learn's penalty: the averaging's distance alone"),
    _pooled("lifelines, pooled", "all rows: the reference", C, "lifelines-curve", "lifelines"),
    _ours(C),
    Contender("Flower's example", "the server gives all patients' rows to lifelines", C, f"{ROWS}: time and event",
              program("flower", "flwr", "flower_curve_job.py"), FLOWERS),
    Contender("NVIDIA FLARE's example", "the sum of histograms by the month under homomorphic encryption", C,
              "a histogram under a key that all sites share, and the longest time in clear",
              program("flare", "nvflare", "flare_curve_job.py", "--work", "work"),
              "encrypted histograms only: a lower bound"),
    _pooled("lifelines, pooled", "Efron's ties: the reference", H, "lifelines-cox", "lifelines"),
    Contender("FedMVI, a whole study", "counts, Cox regression with a common baseline, a test of proportional hazards; "
              "gate, ledger, report", H, MASKED, whole_study, PAYLOAD),
    _ours(H),
    _tno("rows"),
    _tno("equal"),
)  # fmt: skip
