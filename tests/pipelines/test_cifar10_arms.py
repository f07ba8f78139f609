import json

from click.testing import CliRunner

from pipelines import cifar10_arms


def run(folder, *arguments):
    command = [*arguments, "--stores", str(folder / "stores"), "--results", str(folder / "results")]
    return CliRunner().invoke(cifar10_arms.main, command, catch_exceptions=False)


def test_every_arm_runs_and_is_reported_by_seed(tmp_path):
    done = run(tmp_path, "--smoke", "--json", "--seed", "0,1")
    assert done.exit_code == 0, done.output
    content = json.loads((tmp_path / "results" / "cifar10_arms-1000-smoke.json").read_text())
    assert [found["seed"] for found in content["runs"]] == [0, 1]
    for name in cifar10_arms.ARMS:
        figure = f"{name}_test_accuracy"
        values = [found[figure] for found in content["runs"]]
        assert content["summary"][figure]["mean"] == sum(values) / 2
        assert [len(found["arms"][name]) for found in content["runs"]] == [2, 2]
    losses = {name: content["runs"][0]["arms"][name][0]["loss"] for name in cifar10_arms.ARMS}
    assert len(set(losses.values())) == len(losses), "two arms saw the same batches"
    assert (tmp_path / "results" / "cifar10_arms-1000-smoke.png").stat().st_size > 1000


def test_arms_can_be_chosen(tmp_path):
    done = run(tmp_path, "--smoke", "--json", "--arm", "none", "--arm", "pixels")
    names = json.loads(done.stdout)["summary"]
    assert list(names) == ["none_test_accuracy", "pixels_test_accuracy"]
