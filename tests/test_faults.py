"""Kills, damage, full disks, other processes: the numbers are those of an undisturbed run.

All here starts the study as a user does. `tests/soak.py` does the same for longer.
"""

import concurrent.futures
import multiprocessing
import os
import random
import resource
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest

from experiments.shell import run
from tests import commands, soak


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def undisturbed(home):
    """A whole run: how it ended, its folder and its numbers."""
    ended = commands.end(soak.start(home, out="undisturbed"))
    (folder,) = (home / "undisturbed").iterdir()
    return ended, folder, soak.numbers(folder)


@pytest.fixture
def copied(home, undisturbed, tmp_path):
    """The undisturbed run in a place of its own, to be damaged."""
    _, folder, _ = undisturbed
    copy = shutil.copytree(folder, tmp_path / "runs" / folder.name)
    (tmp_path / "cache").symlink_to(home / "cache")
    return copy


def state(folder):
    """Bytes and time of every file of whole chunks."""
    return {
        path.relative_to(folder).as_posix(): (path.read_bytes(), path.stat().st_mtime_ns)
        for table in ("results", "curves", "checkpoints")
        for path in (folder / table).rglob("*")
        if path.is_file()
    }


def assert_undisturbed(ended, folder, undisturbed):
    """It ended well, and its numbers are those of the undisturbed run, to the last bit."""
    assert ended.code == 0, ended.err
    assert "Traceback" not in ended.err
    assert ended.out.splitlines()[-1] == str(folder)
    assert soak.differences(soak.numbers(folder), undisturbed[2]) == []
    chunks = {path.stem for path in soak.stored(folder.parent)}
    assert len(chunks) == soak.CHUNKS
    assert set(os.listdir(folder / "checkpoints")) == chunks | {f"{c}.sha256" for c in chunks}
    assert run.manifest(folder)["finished"] is not None


def test_a_study_ends_with_its_folder_and_tells_of_its_progress(undisturbed):
    ended, folder, numbers = undisturbed
    assert_undisturbed(ended, folder, undisturbed)
    assert "2048/2048" in ended.err
    assert {"table.png", "report.html", "summary.csv"} <= set(os.listdir(folder))
    assert len(numbers["results.network"]) == 2048


def test_networks_that_diverge_are_no_failure_of_the_run(undisturbed):
    _, folder, numbers = undisturbed
    lost = numbers["results.diverged"]
    assert 0 < lost.sum() < 2048
    losses = [numbers[f"results.{part}_loss"] for part in ("train", "test")]
    np.testing.assert_array_equal(lost, ~np.isfinite(losses).all(0))
    assert f"{lost.sum()} of 2048 networks" in (folder / "report.html").read_text().replace(",", "")


def test_the_comparison_sees_a_single_bit(undisturbed):
    _, _, numbers = undisturbed
    for name in (
        "results.train_accuracy",
        "curves.test_accuracy",
        "trial000000-group00-0007.network",
    ):
        changed = numbers[name].copy()
        changed[-1] = np.nextafter(changed[-1], 2) if changed.dtype.kind == "f" else 0
        assert soak.differences(numbers | {name: changed}, numbers) == [name]
    assert soak.differences({}, numbers) == sorted(numbers)


def test_kill_nine_twice_and_the_numbers_are_the_same(home, undisturbed):
    chance, out, stored = random.Random(7), home / "killed", []
    for _ in range(2):
        process = soak.start(home, out="killed")
        soak.await_chunk(process, out, before=len(soak.stored(out)))
        time.sleep(chance.uniform(0, 0.03))
        process.kill()
        assert commands.end(process).code == -signal.SIGKILL
        stored.append(len(soak.stored(out)))
    assert 0 < stored[0] <= stored[1]
    assert stored[0] < soak.CHUNKS
    (folder,) = out.iterdir()
    before = state(folder)
    ended = commands.end(soak.start(home, out="killed"))
    assert_undisturbed(ended, folder, undisturbed)
    assert f"resuming: {256 * stored[1]} networks are already stored" in ended.err
    after = state(folder)
    kept = [name for name in before if name.startswith("results")]
    assert len(kept) == stored[1]
    assert [name for name in kept if after[name] != before[name]] == []


def test_ctrl_c_a_second_writer_and_two_readers(home, undisturbed):
    _, reference, _ = undisturbed
    out, signs = home / "shared", home / "signs"
    signs.mkdir()
    first = soak.start(home, out="shared")
    soak.await_chunk(first, out)
    first.send_signal(signal.SIGSTOP)  # so that it surely is in the middle
    try:
        (folder,) = out.iterdir()
        second = commands.end(soak.start(home, out="shared"))
        sentence = f"elements_phase3: another process is writing to {folder}\n"
        assert second == (2, "", sentence)
    finally:
        first.send_signal(signal.SIGCONT)
    first.send_signal(signal.SIGINT)
    ended = commands.end(first)
    assert ended.code == 130
    assert ended.out == ""
    assert ended.err.splitlines()[-1] == "interrupted; the same command resumes"
    assert "Traceback" not in ended.err
    begun = len(soak.stored(out))
    assert 0 < begun < soak.CHUNKS

    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=spawn) as pool:
        readers = [pool.submit(soak.watch, folder, reference, signs) for _ in range(2)]
        try:
            while len(os.listdir(signs)) < 2 and not any(reader.done() for reader in readers):
                time.sleep(0.01)
            ended = commands.end(soak.start(home, out="shared"))
        finally:
            (signs / "ended").touch()
        seen = [reader.result(timeout=60) for reader in readers]
    assert_undisturbed(ended, folder, undisturbed)
    for sizes in seen:
        assert sizes == sorted(sizes)
        assert sizes[0] == 256 * begun
        assert sizes[-1] == 2048
        assert all(size % 256 == 0 for size in sizes)


def test_damage_is_named_and_only_what_is_damaged_is_made_again(copied, tmp_path, undisturbed):
    chance, chunks = random.Random(3), soak.stored(tmp_path / "runs")
    cases = [
        ("results", "flip"),
        ("results", "truncate"),
        ("curves", "flip"),
        ("curves", "remove"),
        ("checkpoint", "flip"),
        ("checkpoint", "truncate"),
    ]
    before = state(copied)
    names = [soak.damage(chunks[i], *case, chance) for i, case in enumerate(cases)]
    began = time.time_ns()
    ended = commands.end(soak.start(tmp_path))
    assert_undisturbed(ended, copied, undisturbed)
    told = [line for line in ended.err.splitlines() if "damaged" in line]
    assert len(told) == len(names)
    for line, name in zip(told, names, strict=True):
        assert line.startswith(f"{name} is damaged: ")
        assert line.endswith("; its 256 rows will be made again")
    assert "resuming: 512 networks are already stored" in ended.err
    after = state(copied)
    for i, path in enumerate(chunks):
        files = [name for name in after if path.stem in name]
        assert len(files) > 8
        if i < len(cases):
            assert all(after[name][1] >= began for name in files)
        else:
            assert all(after[name] == before[name] for name in files)


def test_a_full_disk_keeps_what_it_took_and_the_same_command_resumes(home, undisturbed):
    place = home / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=600k", "none", str(place)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root may mount a disk small enough to be filled")
    try:
        ended = commands.end(soak.start(home, out="small"))
        (folder,) = place.iterdir()
        kept = len(soak.stored(place))
        assert 0 < kept < soak.CHUNKS
        assert ended.code == 2
        assert ended.out == ""
        assert "Traceback" not in ended.err
        assert ended.err.splitlines()[-1] == (
            f"elements_phase3: {folder} cannot be written to: No space left on device; "
            f"{256 * kept} of 2048 networks are kept in {folder}, the same command resumes"
        )
        subprocess.run(["mount", "-o", "remount,size=20m", str(place)], check=True)
        ended = commands.end(soak.start(home, out="small"))
        assert f"resuming: {256 * kept} networks" in ended.err
        assert_undisturbed(ended, folder, undisturbed)
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_a_file_that_cannot_grow_is_refused_and_nothing_is_lost(copied, tmp_path):
    """What a quota does; for this no root is needed."""

    lost = soak.stored(tmp_path / "runs")[5]
    lost.unlink()
    before = state(copied)
    process = soak.start(tmp_path)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (40_000, 40_000))  # Python: no SIGXFSZ
    ended = commands.end(process)
    assert ended.code == 2
    assert "Traceback" not in ended.err
    assert ended.err.splitlines()[-1] == (
        f"elements_phase3: {copied} cannot be written to: File too large; "
        f"1792 of 2048 networks are kept in {copied}, the same command resumes"
    )
    after = state(copied)
    others = [name for name in before if lost.stem not in name]
    assert [name for name in others if after[name] != before[name]] == []
