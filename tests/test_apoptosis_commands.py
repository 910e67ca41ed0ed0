"""The commands of the studies of plasticity and fitness: what they refuse, and announce."""

import pytest

from tests.commands import Line, forked

REFUSED = {
    "apoptosis_plasticity": {
        "--recipes=prayer": "recipe must be one of backprop",
        "--kinds=sorted": "kind must be one of permuted, random_labels, got 'sorted'",
        "--tasks=1": "tasks must be at least 2, early and late ones, got 1",
        "--seeds=many": "--seeds takes a whole number, got 'many'",
        "--settings=redo.interval=7": "redo.interval must divide the steps of a task, 200, got 7",
        "--held_out=1797": "examples and held_out must be at most the 1797 images together",
        "--mnist=/nowhere": "--mnist=/nowhere is not a folder",
    },
    "apoptosis_fitness": {
        "--measures=luck": "measure must be one of taylor",
        "--moments=5,2": "moments must rise from at least 1 to at most 500",
        "--share=1": "share must lie strictly between 0 and 1, got 1.0",
        "--preset=huge": "preset must be one of prototype, nanogpt, big, tiny, got 'huge'",
        "--compute=float16": "compute must be one of float32, bfloat16, got 'float16'",
        "--corpus=nowhere": "neither a file nor one of documentation",
        "--windows=100000": "windows must be at most the",
        "--export_json=json": "--export_json has no meaning here",
    },
}
ANNOUNCED = {
    "apoptosis_plasticity": (
        "--recipes=redo --kinds=permuted --seeds=2 --tasks=3",
        "3 arms × 2 seeds, 3 tasks of 200 steps on digits",
    ),
    "apoptosis_fitness": (
        "--seeds=2 --moments=1,9 --windows=3",
        "2 networks of preset tiny, judged after (1, 9) steps by 3 windows of documentation",
    ),
}


@pytest.fixture(scope="module", params=REFUSED)
def ended(request, tmp_path_factory):
    """A study's name, its folder of runs, and how its lines ended: refusals, then a good one."""
    out = tmp_path_factory.mktemp("runs")
    where = [f"--out={out}", "--cache="]
    lines = [Line([flag, *where]) for flag in REFUSED[request.param]]
    lines.append(Line([*ANNOUNCED[request.param][0].split(), *where, "--dry_run"]))
    return request.param, out, forked(request.param, lines)


def test_what_cannot_be_run_is_refused_in_a_sentence(ended):
    study, _, (*refused, _) = ended
    for (flag, sentence), one in zip(REFUSED[study].items(), refused, strict=True):
        assert (one.code, one.out) == (2, ""), flag
        assert one.err.startswith(f"{study}: ")
        assert sentence in one.err
        assert len(one.err.splitlines()) == 1


def test_what_is_fine_is_announced_and_nothing_written(ended):
    study, out, (*_, fine) = ended
    assert fine.code == 0, fine.err
    assert ANNOUNCED[study][1] in fine.out
    assert fine.out.splitlines()[-1].startswith(f"{out}/{study}-")
    assert list(out.iterdir()) == []
