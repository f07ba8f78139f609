import click
import pytest
from click.testing import CliRunner

import scatcache
from pipelines.recipe import Options, recipe


def call(*arguments, raising=None):
    seen = []

    @recipe
    @click.option("--k", type=int, default=8)
    def main(options: Options, k: int) -> None:
        """Do nothing."""
        seen.append((options, k))
        if raising is not None:
            raise raising

    return CliRunner().invoke(main, list(arguments)), seen


@pytest.mark.parametrize(
    ("typed", "seeds"), [("0", (0,)), ("0-4", (0, 1, 2, 3, 4)), ("0,2", (0, 2)), ("1-2,7", (1, 2, 7))]
)
def test_seeds_are_numbers_and_ranges(typed, seeds):
    ended, seen = call("--seed", typed)
    assert ended.exit_code == 0 and seen[0][0].seeds == seeds


@pytest.mark.parametrize("typed", ["", "a", "0-", "-1", "3-1", "0,0", "0.5"])
def test_other_seeds_are_refused(typed):
    ended, seen = call("--seed", typed)
    assert ended.exit_code == 2 and not seen and "--seed" in ended.output


def test_own_options_come_beside_the_common_ones():
    (ended, seen), (_, defaults) = call("--k", "3", "--limit", "5"), call()
    assert ended.exit_code == 0 and seen[0][1] == 3 and seen[0][0].limit == 5
    assert defaults[0][1] == 8 and defaults[0][0].limit is None


def test_command_is_told_without_folders(tmp_path):
    _, seen = call("--root", str(tmp_path), "--seed", "0-1", "--validate", "--k", "3")
    assert seen[0][0].command.endswith(" --root ROOT --seed 0,1 --validate --k 3")


def test_suffix_tells_controls_from_results():
    _, seen = call("--smoke", "--permute-labels", "--validate", "--limit", "7")
    assert seen[0][0].suffix == "-smoke-permuted-validation-limit7"
    assert call()[1][0][0].suffix == ""


def test_error_of_scatcache_ends_with_its_message():
    ended, _ = call(raising=scatcache.StoreDamaged("shard 3 is torn"))
    assert ended.exit_code == 1 and "shard 3 is torn" in ended.output and "Traceback" not in ended.output
