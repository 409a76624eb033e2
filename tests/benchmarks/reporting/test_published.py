"""Published numbers on a board: only comparable ones are shown, with their recipe, and they are never ranked."""

import copy
import dataclasses
import re

import pytest
import yaml

from benchmarks.errors import UserError
from benchmarks.reporting import write_reports
from benchmarks.reporting.reading.published import blocks
from benchmarks.reporting.rows import sections
from benchmarks.reproduction.published import published
from benchmarks.reproduction.targets import Plan, Published, Reported, Run, all_targets, read_target

from ..reproduction.test_reproduction import TOY, written
from .test_reports import NATS, record, row, store

MNIST = {"name": "mnist", "title": "MNIST", "binarise": "fixed", "observation": "bernoulli"}
RECIPE = {
    "dataset": MNIST,
    "network": {"name": "mlp", "hidden": [200, 100], "activation": "tanh", "latent_size": 50},
    "training": {"epochs": 3280, "batch_size": 20, "optimiser": "adam", "learning_rate": 0.001, "schedule": "burda"},
    "evaluation": {"importance_samples": 5000},
    "variant": {"name": "vae"},
}
# These numbers are better than those of any row of the board.
NUMBERS = {"log_likelihood": Reported(-80.25, 0.5), "fid_inception": Reported(7.5, None)}


def toy(tmp_path, name="toy", changes=(), **fields):
    path = tmp_path / "paper" / f"{name}.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump({**TOY, **fields}))
    config = copy.deepcopy(RECIPE)
    for part, options in dict(changes).items():
        config[part] |= options
    return Published(read_target(path), NUMBERS, "vae", config, True)


@pytest.fixture
def results(tmp_path):
    folder = tmp_path / "results"
    store(folder, *(record(name, seed) for name in ("vae", "iwae") for seed in (0, 1, 2)))
    return folder


def board(tmp_path, results, *found, **options):
    messages = write_reports(results, tmp_path / "reports", find_published=lambda dataset: found, **options)
    assert messages == []
    return (tmp_path / "reports" / "mnist.md").read_text()


def published_line(page):
    (line,) = (line for line in page.splitlines() if "Nobody, Nowhere" in line)
    return line


def test_a_published_number_stands_below_the_leaderboard_with_its_source_and_recipe(tmp_path, results):
    page = board(tmp_path, results, toy(tmp_path))
    assert page.index("### Leaderboard") < page.index("### Published by others") < page.index("### Cost")
    assert "<details><summary>Published numbers from 1 source</summary>" in page
    line = published_line(page)
    assert line.endswith("| Nobody, Nowhere: [Table 0](https://example.org) |")
    assert re.match(r"\| vae +\| -80.25 ± 0.5 +\| mlp 200-100 ", line)
    assert "mlp 200-100 tanh, latent size 50; 3,280 epochs, batches of 20, adam at 0.001 (burda)" in line
    assert "static binarisation; K = 5,000" in line
    # Only metrics that the board has are shown, so the FID is not.
    assert "7.5" not in line
    # The recipe of the board's own rows is described in the same way.
    assert "this recipe: 3 epochs, batches of 100, adam at 0.001 (None); dynamic binarisation" in page


def test_a_published_number_changes_no_rank_no_mark_and_no_winner(tmp_path, results):
    before, after = pages(tmp_path, results), pages(tmp_path, results, toy(tmp_path))
    assert {name for name in after if after[name] != before[name]} == {"mnist.md"}
    for variant in ("vae", "iwae"):
        assert row(after["mnist.md"], variant) == row(before["mnist.md"], variant)
    assert "**" not in published_line(after["mnist.md"])


def pages(tmp_path, results, *found):
    board(tmp_path, results, *found)
    reports = tmp_path / "reports"
    return {str(path.relative_to(reports)): path.read_text() for path in reports.rglob("*.md")}


@pytest.mark.parametrize(
    "changes",
    [
        {"observation": "discretised_logistic", "binarise": "none"},
        {"binarise": "threshold"},
        {"title": "MNIST (sample of 500 images)"},
        {"condition": "label"},
        {"pad": 32},
        {"left_out": 3},
        {"loss": "cross_entropy"},
    ],
)
def test_numbers_of_other_images_or_another_observation_model_are_not_shown(tmp_path, changes):
    (section,) = sections([record()])
    assert blocks(section, [toy(tmp_path)], None)
    assert blocks(section, [toy(tmp_path, changes={"dataset": changes})], None) == []


def test_what_belongs_to_the_recipe_is_told_and_leaves_the_number_in(tmp_path):
    changes = {"dataset": {"train_on_validation": True}, "training": {"select": "validation"}}
    (section,) = sections([record()])
    line = published_line(blocks(section, [toy(tmp_path, changes=changes)], None)[-1].markdown)
    assert "weights of the best validation; static binarisation; validation images trained on, too" in line


def test_the_html_page_has_the_table_without_tags_of_markdown(tmp_path, results):
    board(tmp_path, results, toy(tmp_path), html=True)
    page = (tmp_path / "reports" / "mnist.html").read_text()
    table = page.split('id="published-by-others"')[1].split("</table>")[0]
    assert '<a href="https://example.org">Table 0</a>' in table
    assert "details" not in table


def test_a_mistake_in_a_target_takes_nothing_else_from_a_board(tmp_path, results):
    def broken(dataset):
        raise UserError(f"target 'mine' of {dataset} is broken")

    messages = write_reports(results, tmp_path / "reports", find_published=broken)
    assert messages == ["published numbers of mnist left out: target 'mine' of mnist is broken"]
    assert "-95.00" in row((tmp_path / "reports" / "mnist.md").read_text(), "vae")


def test_the_recipes_in_full_are_linked_where_there_is_a_page_of_them(tmp_path, results):
    assert "reproduction.md" not in board(tmp_path, results, toy(tmp_path))
    one = toy(tmp_path)
    runs = {"full": {arm: [Run("none", 0, 3)] for arm in ("vae", "iwae")}}
    page = board(tmp_path, results, one, plans=[Plan(one.target, runs, {"vae": "vae", "iwae": "iwae"})])
    assert "([more](reproduction.md#toy))" in published_line(page)
    assert "## toy" in (tmp_path / "reports" / "reproduction.md").read_text()
    named = dataclasses.replace(one, target=dataclasses.replace(one.target, id="Toy2014.v1"))
    page = board(tmp_path, results, named, plans=[Plan(named.target, runs, {"vae": "vae", "iwae": "iwae"})])
    assert "([more](reproduction.md#toy2014v1))" in published_line(page)
    text = (tmp_path / "reports" / "reproduction.md").read_text()
    assert "\n## Toy2014.v1\n" in text
    assert "[Toy2014.v1](#toy2014v1)" in text


def test_an_arm_of_another_target_has_the_recipe_and_seeds_of_that_target(tmp_path, monkeypatch):
    options = ["network.latent_size=7", "training.epochs=5"]
    written(tmp_path, "base", arms={"vae": TOY["arms"]["vae"]}, quantities=[TOY["quantities"][0]],
            full={"seeds": [3, 4], "options": options})  # fmt: skip
    own = {"seeds": [0], "options": ["network.latent_size=2"]}
    written(tmp_path, "toy", arms={"vae": {"of": "base"}}, quantities=[TOY["quantities"][0]], full=own, ablation=None)
    monkeypatch.setenv("VAE_CONF_PATH", str(tmp_path))
    base, toy = published(all_targets(), "digits")
    assert (base.target.id, toy.target.id) == ("base", "toy")
    assert toy.config == base.config
    assert (toy.config["network"]["latent_size"], toy.config["seed"]) == (7, 3)
    assert toy.states_latent_size


def test_what_papers_report_of_faces_is_read_from_the_targets_with_the_resolved_recipe():
    wae, vae = published(all_targets(), "celeba")
    assert [(one.variant, one.numbers) for one in (wae, vae)] == [
        ("wae_mmd", {"fid_inception": Reported(55.0, None)}),
        ("vae", {"fid_inception": Reported(63.0, None)}),
    ]
    assert (wae.config["training"]["epochs"], vae.config["training"]["epochs"]) == (55, 68)
    assert published(all_targets(), "digits") == []


def test_a_number_is_reported_in_the_sign_of_the_record_and_neither_a_loss_nor_a_difference(tmp_path):
    nll, gap = TOY["quantities"]
    loss = {**nll, "name": "loss", "metric": "objective", "times": 1}
    path = tmp_path / "toy.yaml"
    path.write_text(yaml.safe_dump({**TOY, "quantities": [nll, {**gap, "published": 2.0}, loss]}))
    target = read_target(path)
    assert target.reported("vae") == {"log_likelihood": Reported(-40.0, None)}
    assert target.reported("iwae") == {}


def test_the_published_spread_is_reported_in_the_unit_of_the_record_like_the_number(tmp_path):
    path = tmp_path / "toy.yaml"
    quantities = [{**TOY["quantities"][0], "times": -2, "spread": 0.5}, TOY["quantities"][1]]
    path.write_text(yaml.safe_dump({**TOY, "quantities": quantities}))
    assert read_target(path).reported("vae") == {"log_likelihood": Reported(-20.0, 0.25)}


def test_a_board_of_other_networks_says_which_most_rows_have(tmp_path):
    networks = [{"name": "mlp", "hidden": [9]}, {"name": "mlp", "hidden": [9]}, {"name": "mlp", "hidden": [5]}]
    found = [
        record(name, 0, NATS, config={"network": network})
        for name, network in zip(("vae", "iwae", "iaf_vae"), networks, strict=True)
    ]
    (section,) = sections(found)
    _, sentence, _ = blocks(section, [toy(tmp_path)], None)
    assert "The rows above have mostly this recipe: mlp 9; 3 epochs" in sentence
