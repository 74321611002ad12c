"""Look at the record with pandas: how each question's final number moved, and how good it was.

    pip install pandas
    python docs/examples/record.py database.db

The views are described in docs/database.md. Datasette shows them in a browser:
``pip install datasette && datasette database.db``.
"""

import sqlite3
import sys

import pandas as pd

database = sys.argv[1] if len(sys.argv) > 1 else "database.db"
with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
    pools = pd.read_sql("SELECT * FROM final_forecasts", connection)
    resolutions = pd.read_sql("SELECT * FROM resolutions ORDER BY id", connection)

pools["started_at"] = pd.to_datetime(pools["started_at"])
by_run = pools.pivot_table(index="started_at", columns="question", values="final")
print(by_run.round(1).to_string())

# The newest resolution of a question counts; an annulled question has none.
outcomes = resolutions.groupby("question_id").tail(1).dropna(subset=["outcome"])
last = pools.sort_values("started_at").groupby("question_id").tail(1)
judged = last.merge(outcomes, on="question_id")
if not judged.empty:
    for number in ("models", "final"):
        brier = ((judged[number] / 100 - judged["outcome"]) ** 2).mean()
        print(f"Brier of {number}: {brier:.3f} on {len(judged)} resolved questions")
