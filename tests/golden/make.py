"""Freeze what R gives on the tables of `simulation.exactness.tables`: `python -m tests.golden.make [NAME ...]`.

Each `NAME.R` here reads `<table key>.csv` files from the folder that is its first argument (columns, endpoints with
`.` written as `_`, and `site`) and writes JSON to the file that is its second, numbers with 17 significant digits:

    write_json(list(...), path, digits = I(17), auto_unbox = TRUE)

R and its packages come from Debian (see README.md); they are needed here only, not to run or test FedMVI. The JSON
gets `r`, the versions, and `tables`, a digest of each table that was offered, so that a changed table is noticed.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd

from simulation.exactness.measuring import Absent, Table
from simulation.exactness.tables import TABLES

HERE = Path(__file__).parent


def main(names: list[str]) -> None:
    """Run the named scripts, or all."""
    with tempfile.TemporaryDirectory() as folder:
        digests = {}
        for make in TABLES:
            try:
                table = make()
            except Absent as why:
                sys.exit(f"golden files need every table: {why}")
            content = as_csv(table)
            digests[table.key] = digest(table)
            (Path(folder) / f"{table.key}.csv").write_text(content, encoding="utf-8")
        for script in sorted(HERE.glob("*.R")):
            if names and script.stem not in names:
                continue
            out = Path(folder) / "out.json"
            subprocess.run(["Rscript", "--vanilla", str(script), folder, str(out)], check=True)
            frozen = json.loads(out.read_text(encoding="utf-8"))
            text = script.read_text(encoding="utf-8")
            frozen["tables"] = {key: value for key, value in digests.items() if key in text}
            target = HERE / f"{script.stem}.json"
            target.write_text(json.dumps(frozen, indent=1, sort_keys=True) + "\n", encoding="utf-8")
            print(target.name)


def digest(table: Table) -> str:
    """Names the table by its numbers in ten digits: the last bit of a logarithm is the processor's."""
    return hashlib.sha256(as_csv(table, "%.10g").encode()).hexdigest()


def as_csv(table: Table, digits: str | None = None) -> str:
    """The table as R reads it, floats in their shortest exact form, or in so many digits."""
    columns = {**table.columns, **{key.replace(".", "_"): value for key, value in table.endpoints.items()}}
    text: str = pd.DataFrame({**columns, "site": table.site}).to_csv(index=False, na_rep="NA", float_format=digits)
    return text


if __name__ == "__main__":
    main(sys.argv[1:])
