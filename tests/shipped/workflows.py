"""Reads the workflows as GitHub would: workflows.py ROOT. What is wrong ends it with 1; else it says how many steps there are."""

import os
import pathlib
import re
import subprocess
import sys

import yaml

JOB_KEYS = {"name", "needs", "runs-on", "permissions", "timeout-minutes", "strategy", "steps", "env", "if"}
STEP_KEYS = {"name", "uses", "run", "with", "env", "if", "shell"}


def expect(true, what):
    if not true:
        sys.exit(what)


def targets(root):
    return set(re.findall(r"^([a-z-]+):", (root / "Makefile").read_text(), re.MULTILINE))


def run_exists(root, run, place):
    """What a step runs of the repository is there."""
    shell = subprocess.run(["bash", "-n", "-c", run], capture_output=True, text=True)
    expect(shell.returncode == 0, f"{place}: {shell.stderr}")
    for target in re.findall(r"^make ([a-z-]+)", run, re.MULTILINE):
        expect(target in targets(root), f"{place}: the Makefile has no {target}")
    for program in re.findall(r"^((?:scripts|\.ci)/[\w-]+)", run, re.MULTILINE):
        expect(os.access(root / program, os.X_OK), f"{place}: {program} cannot be run")


def steps(root, file):
    flow = yaml.safe_load(file.read_text())
    # YAML 1.1 reads `on` as true, GitHub as a word.
    expect({"name", True, "permissions", "jobs"} <= set(flow), f"{file}: {set(flow)}")
    count = 0
    for name, job in flow["jobs"].items():
        place = f"{file.name}: {name}"
        expect(set(job) <= JOB_KEYS, f"{place}: {set(job) - JOB_KEYS}")
        expect("runs-on" in job and isinstance(job.get("timeout-minutes"), int), f"{place}: no runner, or no end")
        needs = job.get("needs", [])
        for needed in [needs] if isinstance(needs, str) else needs:
            expect(needed in flow["jobs"], f"{place}: needs {needed}, which is no job")
        for step in job["steps"]:
            expect(set(step) <= STEP_KEYS and ("uses" in step) != ("run" in step), f"{place}: {step}")
            expect("run" in step or re.fullmatch(r"[\w-]+/[\w-]+@v\d+", step["uses"]), f"{place}: {step}")
            if "run" in step:
                run_exists(root, step["run"], place)
            count += 1
    return count


def main(root):
    files = sorted((root / ".github/workflows").glob("*.yml"))
    expect(files, "there are no workflows")
    for file in files:
        print(f"{file.name}: {steps(root, file)} steps")


main(pathlib.Path(sys.argv[1]))
