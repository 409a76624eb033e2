"""The examples and tables in README.md, OPTIONS.md, DATA.md and CONTRIBUTING.md hold."""

import os
import re
import shlex
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import torch
import yaml

import variants
from benchmarks.__main__ import _parser
from benchmarks.arguments import parse
from benchmarks.conf_files import choices
from benchmarks.config import EvaluationConfig, TrainingConfig, compose
from benchmarks.data import DatasetConfig, load
from variants.parts.networks import MLP, Conv, Layers, Linear

ROOT = Path(__file__).resolve().parents[2]


def blocks(name, language):
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / name).read_text(), re.DOTALL)


def python(*arguments, cwd=ROOT, **environment):
    # This checkout comes first, even if another one is installed in editable mode.
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | environment
    return subprocess.run([sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True)


def test_the_variant_and_the_metric_of_the_guide_list_bench_report_and_meet_the_contract(tmp_path):
    source, metric = blocks("CONTRIBUTING.md", "python")
    assert len(source.splitlines()) < 40
    folder = tmp_path / "my_variants"
    folder.mkdir()
    (folder / "warm_up.py").write_text(source)
    (tmp_path / "explained.py").write_text(metric)
    bench = ["bench", "--variants", "mine", "--datasets", "digits", "--profile", "smoke"]
    bench += ["--results", str(tmp_path / "results"), "--reports", str(tmp_path / "reports")]
    # Both commands run in one process, because its start takes longer than the commands.
    program = f"import sys; from benchmarks.__main__ import main; sys.exit(main(['list']) or main({bench}))"
    done = python("-c", program, VAE_VARIANTS_PATH=str(folder), VAE_METRICS_PATH=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert re.search(r"^  mine\s+VAE with KL warm-up", done.stdout, re.MULTILINE), done.stdout
    page = (tmp_path / "reports" / "digits.md").read_text()
    assert "| [mine](variants/mine.md) " in page
    assert "explained variance ↑" in page.partition("### Explained variance")[2]
    glossary = " ".join((tmp_path / "reports" / "glossary.md").read_text().split())
    assert "| explained variance | fraction | higher | one minus" in glossary
    contract = python(
        "-m", "pytest", "-rA", "tests/variants/test_contract.py", "-k", "mine", VAE_VARIANTS_PATH=str(folder)
    )
    assert contract.returncode == 0, contract.stdout
    # The variant's own tests passed, not only tests whose names contain these four letters.
    assert re.search(r"PASSED \S+test_contract\.py::\w+\[mine\]", contract.stdout), contract.stdout


def test_a_file_that_cannot_be_imported_is_named(tmp_path):
    (tmp_path / "broken.py").write_text("import nothing_of_that_name\nfrom variants import register\n")
    done = python("-m", "benchmarks", "list", VAE_VARIANTS_PATH=str(tmp_path))
    assert done.returncode == 2
    assert "broken.py cannot be imported" in done.stderr
    missing = python("-m", "benchmarks", "list", VAE_VARIANTS_PATH=str(tmp_path / "none"))
    assert missing.returncode == 2
    assert "which is not a folder" in missing.stderr


def test_the_python_example_of_the_readme_runs(tmp_path):
    (source,) = blocks("README.md", "python")
    # The example mentions a run id only in a comment, because a committed record has no weights.
    check = "\nassert pictures.shape == (16, 1, 8, 8) and found.metrics['fid_features'] > 0 and len(run.history) == 1\n"
    check += "assert 'knn_accuracy' in found.metrics\n"
    for whole, part in (("epochs=5", "epochs=1"), ("[:1500]", "[:200]"), ("[1500:]", "[1700:]")):
        source = source.replace(whole, part)
    done = python("-c", source + check, cwd=tmp_path, VAE_CACHE=str(tmp_path / "cache"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "my_model" / "weights.safetensors").exists()


@pytest.mark.slow
def test_the_lines_on_disentanglement_of_the_readme_run(tmp_path):
    (source,) = blocks("README.md", "py")
    assert len([line for line in source.splitlines() if line]) == 5
    short = source.replace('dataset="shapes")', 'dataset="shapes", epochs=1, device="cpu", latent_size=4)')
    check = "\nassert 0 <= scores.means['mig'] <= 1 and scores.images == 3307\n"
    done = python("-c", short + check, cwd=tmp_path, VAE_CACHE=str(tmp_path / "cache"))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("document", ["README.md", "OPTIONS.md", "DATA.md", "CONTRIBUTING.md", "CLUSTER.md"])
def test_make_understands_every_command(document):
    text = " ".join((ROOT / document).read_text().split())
    lines = [line for block in blocks(document, "bash") for line in block.replace("\\\n", " ").splitlines()]
    commands = [line for line in lines if line.startswith("make")]
    commands += [part for code in re.findall(r"(?<!`)`(make [^`]+)`(?!`)", text) for part in code.split(" && ")]
    assert len(commands) >= 2
    for command in commands:
        # Prose mentions this target without its run.
        command = {"make verify": "make verify RUN=run-id"}.get(command, command)
        _, *words = shlex.split(command.replace("<run-id>", "run-id").replace("<run id>", "run-id"))
        done = subprocess.run(["make", "--dry-run", *words], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, (command, done.stderr)
        target = words[0]
        assert f"\n{target}:" in (ROOT / "Makefile").read_text()


DOCUMENTS = ["README.md", "OPTIONS.md", "DATA.md", "CONTRIBUTING.md", "CLUSTER.md", "CHANGELOG.md"]


@pytest.mark.parametrize("document", [*DOCUMENTS, "reports/README.md", "reports/api.md"])
def test_links_inside_the_repository_lead_somewhere(document):
    text = (ROOT / document).read_text()
    for target, section in re.findall(r"\]\(([^)#]*)(?:#([^)]*))?\)", text):
        if target.startswith("http"):
            continue
        page = (ROOT / document).parent.joinpath(target) if target else ROOT / document
        assert page.exists(), target
        if section and document in DOCUMENTS:
            headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
            assert section in {re.sub(r"[^\w -]", "", name.lower()).replace(" ", "-") for name in headings}, section


def test_settings_of_the_readme_are_settings_of_the_makefile():
    makefile = (ROOT / "Makefile").read_text()
    table = re.search(r"\| setting \|.*?\n\n", (ROOT / "README.md").read_text(), re.DOTALL)[0]
    names = set(re.findall(r"\b([A-Z_]{4,})=", table))
    assert {"VARIANTS", "DATASETS", "SEEDS", "PROFILE", "OVERRIDES", "RESULTS", "REPORTS", "RETRY"} <= names
    for name in names:
        assert f"$({name})" in makefile or f",{name})" in makefile, name


def test_the_profiles_of_the_readme_are_those_of_the_configuration():
    table = re.search(r"\| profile \|.*?\n\n", (ROOT / "README.md").read_text(), re.DOTALL)[0]
    shown = {name: tuple(map(int, numbers)) for name, *numbers in re.findall(r"`(\w+)` \| (\d+) \| (\d+)", table)}
    profiles = {path.stem: yaml.safe_load(path.read_text()) for path in (ROOT / "conf" / "profile").glob("*.yaml")}
    assert shown == {
        name: (found["training"]["epochs"], found["evaluation"]["importance_samples"])
        for name, found in profiles.items()
    }


def test_the_command_line_understands_every_command_of_the_documents():
    options = (ROOT / "OPTIONS.md").read_text()
    table = re.findall(r"vae-bench ([^`]+)`", options[options.index("| make | command |") :])
    assert {command.split()[0] for command in table} == set(_parser()[1])
    (example,) = re.findall(r"`vae-bench ([^`]+)`", (ROOT / "README.md").read_text())
    commands = [*table, example]
    for command in commands:
        parse(*_parser(), command.replace("<run id>", "run-id").split())


def test_the_table_of_data_sets_lists_all_with_their_sizes(tmp_path):
    table = re.search(r"\| name \|.*?\n\n", (ROOT / "DATA.md").read_text(), re.DOTALL)[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", table, re.MULTILINE))
    assert sorted(rows) == choices("dataset")
    for name in ("digits", "shapes"):  # the others would be downloaded
        data = load(compose("vae", name, "smoke", 0).dataset, tmp_path)
        assert rows[name] == ", ".join(f"{len(split):,}" for split in (data.train, data.validation, data.test))


@pytest.mark.parametrize("document", ["README.md", "OPTIONS.md", "DATA.md"])
def test_every_option_that_a_document_names_exists(document):
    configs = {
        "training": [TrainingConfig], "evaluation": [EvaluationConfig], "dataset": [DatasetConfig],
        "network": [MLP, Conv, Linear, Layers], "variant": [variants.lookup(name).Config for name in variants.names()],
    }  # fmt: skip
    known = {group: {field.name for one in found for field in fields(one)} for group, found in configs.items()}
    named = re.findall(rf"\b({'|'.join(configs)})\.(\w+)(?==|`|\))", (ROOT / document).read_text())
    assert len(named) >= 3
    for group, option in named:
        assert option in known[group], f"{group}.{option}"


def test_the_documented_network_can_be_built():
    (source,) = blocks("OPTIONS.md", "yaml")
    options = yaml.safe_load(source)["network"]
    assert options.pop("name") == "layers"
    model = variants.build("vae", (1, 28, 28), network=Layers(**options))
    assert model.sample_latent(3).shape == (3, 2)
    assert model.likelihood(torch.zeros(3, 2)).mean.shape == (3, 1, 28, 28)


def test_the_readme_counts_the_variants():
    (count,) = re.findall(
        r"^(?:.*\s)?(\d+) variants share one training loop", (ROOT / "README.md").read_text(), re.MULTILINE
    )
    ours = [name for name in variants.names() if variants.lookup(name).__module__.startswith("variants.")]
    assert int(count) == len(ours)
    assert f"| models | {len(ours)} |" in (ROOT / "README.md").read_text()


def test_the_changelog_names_every_variant():
    text = (ROOT / "CHANGELOG.md").read_text()
    for name in variants.names():
        assert not variants.lookup(name).__module__.startswith("variants.") or f"`{name}`" in text, name
