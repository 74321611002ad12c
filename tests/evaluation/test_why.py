"""What made a number change: parts against numbers of runs made for the purpose."""

from __future__ import annotations

import importlib.util
import os
import sqlite3
from dataclasses import replace
from itertools import permutations

import pytest

import analysis
import forecaster
from database import Database
from evaluation.attribution import Rescored, detail, exact_parts, shapley, stored_parts
from evaluation.mixed_prompts import Mixer, Side, facts, mixes, scored, swapped
from evaluation.why import Engine, why
from preflight.model_entries import ModelSpec
from preflight.rules import ConfigError
from scoring.tasks import AgentError
from storage.final_numbers import OutsideView
from tests.support.stub_cli import make_agent, stub_main

OLD = "Will a country join the EU before 2030?"
NEW = "Will another country join the EU before 2030?"
STUBS = Engine(ModelSpec, make_agent)


@pytest.fixture(autouse=True)
def environment():
    """Undo what an engine's start sets for the whole process."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def ask(tmp_path, monkeypatch):
    """Forecast one question with the stand-in; return its pool's mean in percent."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOG_DIR", str(tmp_path))
    monkeypatch.setattr(forecaster, "draw", lambda *_: True)
    documents, reworded = tmp_path / "documents", []

    def run(today, text=OLD, *words, database="d.db", names=(), price="", **settings):
        (tmp_path / "q.csv").write_text(f"id,question,market_price\neu,{text},{price}\n")
        documents.mkdir(exist_ok=True)
        for path in documents.iterdir():
            path.unlink()
        for name in names:
            # Words of its own: near copies of each other would not be quoted.
            own = " ".join(f"{name}{number}" for number in range(30))
            said = f"A country may join the EU before 2030: {own}. "
            (documents / f"{name}.txt").write_text(said * 3)
        evidence = ["--documents", str(documents)] if names else ["--no-retrieval"]
        given = ["--questions", "q.csv", "--database", database]
        given += ["--reworded", "eu"] if (text, database) == (NEW, "d.db") and not reworded else []
        reworded.extend(given[4:])
        assert stub_main([*given, *evidence, *words], today=today, **settings) == 0
        with Database(database) as opened:
            return opened.forecasts.ensembles(len(opened.runs.all()))[0].mean

    return run


def sides(database="d.db", runs=(1, 2)):
    with Database(database) as opened:
        return [Side.read(opened, run, opened.runs.questions(run)[0]) for run in runs]


def rescored(then, now, *, without=()):
    parts = swapped(then, now)
    paths = {path: name for side in (then, now) for name, path in side.models.items()}
    specs = {path: ModelSpec(name, path) for path, name in paths.items() if name not in without}
    return Rescored(
        parts, *scored(Mixer(then, now), specs, make_agent, [(m, 0) for m in mixes(parts)])
    )


def points(parts):
    return {part.name: part.points for part in parts}


def test_shapley_values_are_means_over_all_orders():
    worth = {"": 2.0, "a": 5, "b": 2, "c": 0, "ab": 9, "ac": 4, "bc": -3, "abc": 11}

    def value(chosen):
        return worth["".join(sorted(chosen))]

    found = shapley("abc", value)
    for player in "abc":
        gains = []
        for order in permutations("abc"):
            before = frozenset(order[: order.index(player)])
            gains.append(value(before | {player}) - value(before))
        assert found[player] == pytest.approx(sum(gains) / 6, abs=1e-12)
    assert sum(found.values()) == pytest.approx(9, abs=1e-12)
    assert shapley([], value) == {}


def test_date_and_wording_are_split_as_runs_of_each_mixture_say(ask):
    first, last = ask("2026-05-04"), ask("2026-06-08", NEW)
    dated = ask("2026-06-08", OLD, database="dated.db")
    worded = ask("2026-05-04", NEW, database="worded.db")
    found = points(exact_parts(*sides(), rescored(*sides())))
    assert found.keys() == {"wording", "date", "not repeated"}
    assert found["date"] == pytest.approx((dated - first + last - worded) / 2, abs=1e-9)
    assert found["wording"] == pytest.approx((worded - first + last - dated) / 2, abs=1e-9)
    assert found["not repeated"] == pytest.approx(0, abs=1e-9)
    assert sum(found.values()) == pytest.approx(last - first, abs=1e-9)


def test_everything_at_once_sums_to_the_stored_change(ask):
    first = ask("2026-05-04", names=("north", "south", "east"), price="0.4")
    last = ask(
        "2026-06-08", NEW, "--models", "stub-a", "stub-c", names=("south", "west"), price="0.7",
        POOL_METHOD="median", SCORING_WORDINGS=2, FORECAST_MODEL_PATHS_VLLM={
            name: f"owner/{name}" for name in ("stub-a", "stub-b", "stub-c")
        },
    )  # fmt: skip
    then, now = sides()
    found = points(exact_parts(then, now, rescored(then, now)))
    assert {*found} == {
        "evidence", "price and base rate shown", "wording", "date", "settings", "models", "pool",
        "not repeated",
    }  # fmt: skip
    assert found["not repeated"] == pytest.approx(0, abs=1e-9)
    assert sum(found.values()) == pytest.approx(last - first, abs=1e-9)
    assert all(abs(found[name]) > 1e-6 for name in ("evidence", "wording", "date", "models"))


def test_a_model_that_is_gone_is_a_stored_part(ask):
    first = ask("2026-05-04")
    last = ask("2026-06-08", OLD, "--models", "owner/stub-a", "owner/stub-c")
    then, now = sides()
    found = points(exact_parts(then, now, rescored(then, now, without={"stub-b"})))
    names = "stub-a", "stub-c"
    # The mean pool of the two that are left, from their stored means.
    left = sum(then.voices[name].distribution.mean for name in names) / 2
    assert found["date"] == pytest.approx(last - left, abs=1e-9)
    assert found["models gone"] == pytest.approx(left - first, abs=1e-9)
    assert "models" not in found
    stored = points(stored_parts(then, now))
    assert stored == pytest.approx({"answers": last - left, "models": left - first}, abs=1e-9)


def test_notes_thoughts_and_chunks_are_repeated_too(ask):
    names = ("north", "south", "east", "west")
    models = {
        "stub-a": {"path": "owner/stub-a", "think": True},
        "stub-b": "owner/stub-b",
    }
    given = {"FORECAST_MODEL_PATHS_VLLM": models, "EVIDENCE_CHUNKS": 2, "THINK_SAMPLES": 4}
    first = ask("2026-05-04", OLD, "--logic", names=names, **given, LOGIC_SAMPLES=2)
    last = ask("2026-06-08", OLD, "--logic", names=names[1:], **given, LOGIC_SAMPLES=3)
    then, now = sides()
    assert (then.chunks, now.chunks) == (2, 2)
    assert len(then.thoughts["stub-a"][1]) == 4
    parts = swapped(then, now)
    specs = {
        "owner/stub-a": ModelSpec("stub-a", "owner/stub-a", think=True),
        "owner/stub-b": ModelSpec("stub-b", "owner/stub-b"),
    }
    read = scored(Mixer(then, now), specs, make_agent, [(mix, 0) for mix in mixes(parts)])
    found = points(exact_parts(then, now, Rescored(parts, *read)))
    assert found.keys() == {"evidence", "notes and thoughts", "date", "not repeated"}
    assert found["not repeated"] == pytest.approx(0, abs=1e-9)
    assert abs(found["notes and thoughts"]) > 1e-6
    assert sum(found.values()) == pytest.approx(last - first, abs=1e-9)


def test_five_ingredients_are_swapped_as_four(ask):
    first = ask("2026-05-04", OLD, "--logic", names=("north",), price="0.4")
    last = ask("2026-06-08", NEW, "--logic", names=("south",), price="0.7", LOGIC_SAMPLES=2)
    then, now = sides()
    assert [*swapped(then, now)] == ["evidence", "notes and thoughts", "wording", "date"]
    assert len(mixes(swapped(then, now))) == 16
    found = points(exact_parts(then, now, rescored(then, now)))
    assert found["not repeated"] == pytest.approx(0, abs=1e-9)
    assert sum(found.values()) == pytest.approx(last - first, abs=1e-9)
    with Database("d.db") as database:
        lines = why(database, "eu", (), lambda _: STUBS).lines(200)
    assert "Price and base rate shown count as evidence: all else differs too." in lines


def test_facts_are_what_was_shown(ask):
    view = OutsideView(
        "eu", market=0.25, market_date="2026-05-01", market_shown=True, base_rate=0.4,
        kind="series", family="s", yes=1.0, relatives=("a", "b"), base_rate_shown=True,
    )  # fmt: skip
    price, rate = facts(view)
    assert "25 percent on 2026-05-01" in price
    assert "Of 2 earlier questions about the same series" in rate
    assert "1 ended yes (50 percent)" in rate
    assert facts(replace(view, market_shown=False)) == (rate,)
    assert facts(replace(view, strength=20.0))[1].startswith(rate + " What ends in one month")
    assert facts(replace(view, base_rate_shown=False)) == (price,)
    assert facts(replace(view, relatives=())) == (price,)
    assert facts(OutsideView("eu", base_rate_shown=True, market_shown=True)) == ()


def test_prompts_that_are_built_otherwise_today_are_named(ask, monkeypatch):
    ask("2026-05-04")
    ask("2026-06-08")
    note = "The stored prompts are built differently today; see “not repeated”."
    with Database("d.db") as database:
        assert note not in why(database, "eu", (), lambda _: STUBS).lines(200)
        monkeypatch.setattr("scoring.prompts.SYSTEM", "You guess.")
        assert note in why(database, "eu", (), lambda _: STUBS).lines(200)


def test_passages_are_listed_by_what_they_moved(ask):
    ask("2026-05-04", names=("north", "south", "east"))
    ask("2026-06-08", names=("north", "south", "east", "west"))
    with Database("d.db") as database:
        lines = why(database, "eu", ("1", "2"), lambda _: STUBS, passages=True).lines(200)
    place = lines.index("The best passages, each left out (points with minus without):")
    moved = [float(line.rpartition(": ")[2]) for line in lines[place + 1 : place + 4]]
    assert moved == sorted(moved, key=lambda points: -abs(points))
    assert lines[place + 4] == ""


def test_the_day_is_the_one_that_the_models_were_told(ask):
    ask("2026-05-04")
    ask("2026-05-04", OLD, "--as-of", "2026-04-01")
    with sqlite3.connect("d.db") as connection:
        # A run that is resumed later keeps the day on which it was planned.
        connection.execute("UPDATE runs SET settings = json_set(settings, '$.today', '2026-05-03')")
    assert [side.day for side in sides()] == ["2026-05-03", "2026-04-01"]
    assert [*swapped(*sides())] == ["date"]


def test_stored_parts_of_another_pool_and_of_models_that_no_run_shares(ask):
    first = ask("2026-05-04")
    last = ask("2026-06-08", NEW, POOL_METHOD="median")
    alone = ask("2026-06-15", NEW, "--models", "owner/other")
    then, now, other = sides(runs=(1, 2, 3))
    means = [voice.distribution.mean for voice in now.voices.values()]
    found = points(stored_parts(then, now))
    # By the first run's method its models' answers alone: the mean of their means.
    assert found["answers"] == pytest.approx(sum(means) / 3 - first, abs=1e-9)
    assert found["pool"] == pytest.approx(last - sum(means) / 3, abs=1e-9)
    assert {*found} == {"answers", "pool"}
    parts = stored_parts(now, other)
    assert points(parts) == {"models": pytest.approx(alone - last, abs=1e-9)}
    assert detail("wording", then, now) == f"“{OLD}” -> “{NEW}”"
    assert detail("wording", now, other) == "background or criteria"
    assert detail("pool", then, now) == "mean -> median"
    assert detail("models", now, other) == "+ other, - stub-a, - stub-b, - stub-c"


def test_weights_that_answer_otherwise_today_are_named_apart(ask, monkeypatch):
    first, last = ask("2026-05-04"), ask("2026-06-08")
    monkeypatch.setattr("config.SEED", 99)
    then, now = sides()
    found = points(exact_parts(then, now, rescored(then, now)))
    assert abs(found["not repeated"]) > 1e-3
    assert sum(found.values()) == pytest.approx(last - first, abs=1e-9)


def test_a_passage_left_out_is_what_a_run_without_it_says(ask):
    ask("2026-05-04")
    with_it = ask("2026-05-04", names=("north",))
    with Database("d.db") as database:
        lines = why(database, "eu", (), lambda _: STUBS, passages=True).lines(200)
        without = database.forecasts.ensembles(1)[0].mean
    assert lines[-5:-2] == ["Final = models in both runs.", "", "Settings that differ:"]
    assert lines[-2].startswith("  documents was null and is now ")
    assert lines[-1] == "  retrieval was null and is now set"
    place = lines.index("The best passages, each left out (points with minus without):")
    assert lines[place + 1].endswith(f": {with_it - without:+.1f}")
    assert lines[0] == OLD
    assert lines[3].split() == [
        "models'", "number", f"{without:.1f}", "%", "->", f"{with_it:.1f}", "%",
        f"{with_it - without:+.1f}",
    ]  # fmt: skip
    assert lines[4].endswith("  1 passage new, 0 gone; new: documents/north.txt")


def test_without_an_engine_the_stored_part_is_listed(ask, monkeypatch, capsys):
    ask("2026-05-04", price="0.4")
    ask("2026-06-08", NEW, price="0.7")

    found = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda n: None if n == "vllm" else found(n))
    capsys.readouterr()
    assert analysis.main(["--database", "d.db", "--why", "eu"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "Not scored again: vLLM is not installed here" in lines
    assert "  date                     2026-05-04 -> 2026-06-08" in lines
    with Database("d.db") as database:
        old, new = (database.final.of_run(run)["eu"] for run in (1, 2))
    assert f"final number               {100 * old.final:5.1f} %" in "\n".join(lines)
    price = 100 * (new.assisted - new.models - old.assisted + old.models)
    assert f"  market price, base rate  {price:+6.1f}" in lines
    assert analysis.main(["--database", "d.db", "--why", "eu", "2", "2"]) == 0
    assert analysis.main(["--database", "d.db", "--why", "e"]) == 2
    assert "did you mean 'eu'?" in capsys.readouterr().err
    assert analysis.main(["--database", "d.db", "--why", "eu", "1"]) == 2
    assert analysis.main(["--database", "d.db", "--why", "eu", "1", "3"]) == 2
    assert "there is no run '3'; stored: 1, 2" in capsys.readouterr().err
    assert analysis.main(["--database", "d.db", "--passages"]) == 2
    assert "--passages; it goes with --why" in capsys.readouterr().err


def test_stored_models_are_loaded_as_config_names_them_and_served_ones_need_no_engine(monkeypatch):
    known = {"path": "owner/m", "trust_remote_code": True, "answer_prefix": "P:"}
    monkeypatch.setattr("config.FORECAST_MODEL_PATHS_VLLM", {"m": known})
    assert analysis.stored_model("m", "owner/m") == ModelSpec("m", **known)
    # Another path under that name has nothing of its entry, nor has an unknown name.
    assert analysis.stored_model("m", "owner/other") == ModelSpec("m", "owner/other")
    assert analysis.stored_model("x", "owner/m") == ModelSpec("x", "owner/m")
    with pytest.raises(ConfigError):
        analysis.stored_model("x", "/no/such/folder")
    found = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda n: None if n == "vllm" else found(n))
    demo = {"models": {"d": {"path": "/cache/d", "answer_prefix": "P:"}}}
    monkeypatch.setattr("engine.packaged_model.prepare_model", lambda: "/here/d")
    assert analysis.demo_model(demo, "d", "/cache/d") == ModelSpec(
        "d", "/here/d", answer_prefix="P:"
    )
    assert analysis.demo_model(demo, "m", "owner/m") == ModelSpec("m", **known)
    assert analysis.demo_model({}, "x", "owner/x") == ModelSpec("x", "owner/x")
    engine = analysis.open_engine({})
    assert engine.agent(ModelSpec("m", "http://127.0.0.1:9")).name == "m"
    with pytest.raises(AgentError, match="vLLM is not installed here"):
        engine.agent(ModelSpec("m", "owner/m"))


def test_the_first_forecast_has_nothing_before_it(ask, capsys):
    ask("2026-05-04")
    assert analysis.main(["--database", "d.db", "--why", "eu"]) == 2
    assert "run 1 is the first that forecast 'eu'" in capsys.readouterr().err


def test_a_stored_path_that_is_none_and_an_engine_that_fails_are_lines(ask):
    ask("2026-05-04")
    ask("2026-06-08")

    def spec(name, path):
        if name == "stub-b":
            raise ConfigError([f"{path} is gone"])
        return ModelSpec(name, path)

    def agent(spec):
        if spec.name == "stub-c":
            raise AgentError("stub-c did not load")
        return make_agent(spec)

    with Database("d.db") as database:
        lines = why(database, "eu", ("1", "2"), lambda _: Engine(spec, agent)).lines(200)
    assert {"Not asked again: owner/stub-b is gone", "Not asked again: stub-c did not load"} <= {
        *lines
    }
    assert any(line.startswith("  models gone ") for line in lines)
