"""A run folder is filled once, resumed after anything, and given to nobody else.

The study here is a counter: four chunks of two networks whose numbers follow from their names.
"""

import errno
import fcntl
import json
import os
import re
import shutil
from importlib import metadata

import numpy as np
import pytest
from pyarrow import parquet

from experiments.shell import run, storage

CHUNKS, SIZE, EPOCHS = 4, 2, (0, 5)
SETTINGS = {"elements": ["rel-1x8"], "trials": CHUNKS * SIZE, "noise": None, "margin": 1.0}


def output(chunk):
    network = np.arange(SIZE) + SIZE * chunk
    results = {
        "network": network,
        "symbol": np.array(["rel-1x8", "tan-2x8"]),
        "test_loss": np.where(network == 3, np.nan, network / 3).astype(np.float32),
    }
    curves = {
        "network": np.repeat(network, len(EPOCHS)),
        "epoch": np.tile(np.array(EPOCHS, np.int32), SIZE),
        "test_loss": (np.repeat(network, len(EPOCHS)) / 7).astype(np.float32),
    }
    tree = {"network": network, "kernel": np.full((SIZE, 3), chunk, np.float32)}
    return run.Output({"results": results, "curves": curves}, tree)


class Counter:
    """A study that remembers what it was asked to train, and `before(chunk)` may stop it."""

    def __init__(self, settings=SETTINGS, name="counter", layout=(16, 16), before=None):
        self.settings, self.name, self.layout = settings, name, layout
        self.before = before or (lambda chunk: None)
        self.trained, self.layouts = [], []

    def train(self, layout, pending):
        for task in pending:
            chunk = int(task.name[-1])
            self.before(chunk)
            self.trained.append(chunk)
            yield task, output(chunk)

    def tasks(self, layout):
        self.layouts.append(tuple(layout))
        return [run.Task(f"chunk{i}", SIZE) for i in range(CHUNKS)]

    def into(self, out):
        plan = run.Plan(
            self.name, self.settings, self.layout, self.tasks, self.train, unit="network"
        )
        return run.execute(plan, out)


def stop(at, error):
    def before(chunk):
        if chunk == at:
            raise error

    return before


def state(folder):
    """Bytes and time of every file, by its name below `folder`."""
    return {
        path.relative_to(folder).as_posix(): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def assert_whole(folder):
    expected = storage.concatenate([output(i).tables["results"] for i in range(CHUNKS)])
    for name, column in run.read(folder, "results").items():
        np.testing.assert_array_equal(column, expected[name])
    np.testing.assert_array_equal(
        run.read(folder, "curves")["epoch"], np.tile(EPOCHS, CHUNKS * SIZE)
    )
    for i in range(CHUNKS):
        tree = storage.load_tree(folder / "checkpoints" / f"chunk{i}")
        np.testing.assert_array_equal(tree["kernel"], output(i).tree["kernel"])


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return Counter().into(tmp_path_factory.mktemp("runs"))


@pytest.fixture
def folder(whole, tmp_path):
    """A whole run under `tmp_path`, to be damaged."""
    return shutil.copytree(whole, tmp_path / whole.name)


def test_the_name_is_pinned():
    """Another name for the same study would orphan every run folder there is."""
    assert run.identity("elements", {"a": [1, 2.5], "b": None}) == "elements-5d7f5854fca7"


def test_equal_settings_have_equal_names_in_any_order():
    turned = dict(reversed(SETTINGS.items()))
    assert run.identity("counter", turned) == run.identity("counter", SETTINGS)


@pytest.mark.parametrize(
    "other",
    [
        ("counter", SETTINGS | {"trials": 9}),
        ("counter", SETTINGS | {"noise": 0.0}),
        ("counter", SETTINGS | {"elements": ["rel-1x8", "tan-1x8"]}),
        ("counter", SETTINGS | {"seed": 0}),
        ("counters", SETTINGS),
    ],
    ids=["a number", "none", "a list", "a new setting", "a name"],
)
def test_anything_changed_changes_the_name(other):
    assert run.identity(*other) != run.identity("counter", SETTINGS)


def test_a_run_is_whole(folder, tmp_path):
    assert folder == tmp_path / run.identity("counter", SETTINGS)
    assert_whole(folder)
    stems = {f"chunk{i}" for i in range(CHUNKS)}
    for table in ("results", "curves"):
        assert set(os.listdir(folder / table)) == {f"{stem}.parquet" for stem in stems}
    assert set(os.listdir(folder / "checkpoints")) == stems | {f"{s}.sha256" for s in stems}


def test_the_manifest_says_what_was_asked_where_and_when(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest == run.manifest(folder)
    assert manifest["format"] == run.FORMAT
    assert (manifest["name"], manifest["settings"]) == ("counter", SETTINGS)
    assert manifest["layout"] == [16, 16]
    assert manifest["versions"]["jax"] == metadata.version("jax")
    assert set(manifest["versions"]) == set(run.PACKAGES)
    assert re.fullmatch(r"4 × cpu \(cpu\)", manifest["device"])
    assert re.fullmatch(r"3\.\d+\.\d+\S*", manifest["python"])
    assert manifest["commit"] is None or re.match(r"[0-9a-f]{7,}", manifest["commit"])
    times = [manifest[name] for name in ("started", "finished")]
    assert times == sorted(times)
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", t) for t in times)
    assert 0 < manifest["seconds"] < 60


def test_tables_carry_the_name_of_their_study(folder):
    for table in ("results", "curves"):
        about = parquet.read_schema(folder / table / "chunk2.parquet").metadata
        assert about[b"study"].decode() == folder.name
        assert about[b"commit"].decode() == str(run.manifest(folder)["commit"])


def test_a_whole_run_is_not_trained_again(folder, tmp_path, capsys):
    before, again = state(folder), Counter()
    assert again.into(tmp_path) == folder
    assert again.trained == []
    assert state(folder) == before
    assert capsys.readouterr().err == "resuming: 8 networks are already stored\n"


def test_changed_settings_leave_the_old_run_alone(folder, tmp_path):
    before = state(folder)
    other = Counter(SETTINGS | {"seed": 1}).into(tmp_path)
    assert other != folder
    assert state(folder) == before


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("a bug")], ids=repr)
def test_an_interrupted_run_resumes_where_it_stopped(tmp_path, error, capsys):
    with pytest.raises(type(error)):
        Counter(before=stop(2, error)).into(tmp_path)
    (folder,) = tmp_path.iterdir()
    manifest = run.manifest(folder)
    assert manifest["finished"] is None
    before, again = state(folder), Counter()
    again.into(tmp_path)
    assert again.trained == [2, 3]
    assert "resuming: 4 networks" in capsys.readouterr().err
    assert_whole(folder)
    after = state(folder)
    assert {name for name in before if after[name] != before[name]} == {"manifest.json"}
    assert run.manifest(folder)["finished"] is not None
    assert run.manifest(folder)["started"] == manifest["started"]


def test_the_time_of_a_resumed_run_is_added(folder, tmp_path):
    manifest = run.manifest(folder)
    storage.write_json(folder / "manifest.json", manifest | {"seconds": 1000.0})
    storage.discard(folder / "results" / "chunk1.parquet")
    Counter().into(tmp_path)
    assert 1000 < run.manifest(folder)["seconds"] < 1060


def test_a_kill_after_the_last_chunk_still_ends_in_a_finished_run(folder, tmp_path):
    manifest = run.manifest(folder)
    storage.write_json(folder / "manifest.json", manifest | {"finished": None})
    again = Counter()
    again.into(tmp_path)
    assert again.trained == []
    assert run.manifest(folder)["finished"] is not None


def test_a_run_keeps_the_cut_it_began_with(folder, tmp_path):
    other = Counter(layout=(8192, 8))
    assert other.into(tmp_path) == folder
    assert other.layouts == [(16, 16)]


@pytest.mark.parametrize("last", ["checkpoints", "curves", "results"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_kill_between_the_files_of_a_chunk_is_no_damage(
    tmp_path, monkeypatch, capsys, last, when
):
    def dying(write):
        def one(path, *rest):
            fatal = path.stem == "chunk2" and path.parent.name == last
            if not (fatal and when == "before"):
                write(path, *rest)
            if fatal:
                raise RuntimeError("killed")

        return one

    for name in ("write_table", "save_tree"):
        monkeypatch.setattr(storage, name, dying(getattr(storage, name)))
    with pytest.raises(RuntimeError, match="killed"):
        Counter().into(tmp_path)
    monkeypatch.undo()
    again = Counter()
    folder = again.into(tmp_path)
    assert again.trained == ([3] if (last, when) == ("results", "after") else [2, 3])
    assert "damaged" not in capsys.readouterr().err
    assert_whole(folder)


def test_what_is_damaged_is_not_read_while_it_is_made_again(folder, tmp_path):
    empty(folder / "curves" / "chunk1.parquet")
    seen = []
    Counter(before=lambda chunk: seen.append(run.read(folder, "results")["network"])).into(tmp_path)
    np.testing.assert_array_equal(seen, [[0, 1, 4, 5, 6, 7]])


def flip(path):
    data = bytearray(path.read_bytes())
    if path.suffix == ".parquet":  # inside a page: much of such a file is never read
        page = parquet.read_metadata(path).row_group(0).column(1)
        first = page.dictionary_page_offset or page.data_page_offset
        place = first + page.total_compressed_size - 1
    else:
        place = len(data) // 2
    data[place] ^= 1
    path.write_bytes(data)


def truncate(path):
    os.truncate(path, path.stat().st_size // 2)


def empty(path):
    os.truncate(path, 0)


@pytest.mark.parametrize(
    ("where", "damage"),
    [
        (where, damage)
        for where in ("results", "curves", "checkpoints", "checksum")
        for damage in (flip, truncate, empty, storage.discard)
        if (where, damage) != ("results", storage.discard)  # such a chunk was never stored
    ],
)
def test_damage_is_named_and_made_again_and_the_rest_is_kept(
    folder, tmp_path, capsys, where, damage
):
    path = folder / where / "chunk1.parquet"
    if where == "checkpoints":
        files = (folder / where / "chunk1").rglob("*")
        path = max((p for p in files if p.is_file()), key=lambda p: (p.stat().st_size, p))
    elif where == "checksum":
        path = folder / "checkpoints" / "chunk1.sha256"
    before, again = state(folder), Counter()
    damage(path)
    again.into(tmp_path)
    assert again.trained == [1]
    named = folder / ("checkpoints/chunk1" if "check" in where else f"{where}/chunk1.parquet")
    first, second, *_ = capsys.readouterr().err.splitlines()
    assert first.startswith(f"{named} is damaged: ")
    assert first.endswith("; its 2 rows will be made again")
    assert second == "resuming: 6 networks are already stored"
    after = state(folder)
    others = [name for name in before if re.search(r"chunk[023]", name)]
    assert len(others) > 3 * 5
    assert [name for name in others if after.get(name) != before[name]] == []
    assert_whole(folder)


def edit(folder, **changes):
    manifest = json.loads((folder / "manifest.json").read_text())
    storage.write_json(folder / "manifest.json", manifest | changes)


NOT_A_MANIFEST = {
    "truncated": '{"format": 1, "na',
    "empty": "",
    "a list": "[]",
    "incomplete": '{"format": 1}',
    "of no version": '{"format": "new"}',
    "binary": "\0\1\2",
}


@pytest.mark.parametrize("text", NOT_A_MANIFEST.values(), ids=NOT_A_MANIFEST)
def test_what_is_not_a_manifest_is_refused(folder, tmp_path, text):
    (folder / "manifest.json").write_text(text)
    before, again = state(folder), Counter()
    with pytest.raises(run.Refused, match=r"manifest\.json is not the manifest of a run"):
        again.into(tmp_path)
    assert again.trained == []
    assert state(folder) == before


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"settings": SETTINGS | {"trials": 9}}, r"belongs to another study \(counter\)"),
        ({"name": "elements_phase2"}, r"belongs to another study \(elements_phase2\)"),
        ({"format": run.FORMAT + 1}, r"newer version \(format 3, known is 2\)"),
    ],
    ids=["settings", "name", "version"],
)
def test_a_folder_of_another_kind_is_refused(folder, tmp_path, changes, sentence):
    edit(folder, **changes)
    storage.discard(folder / "results" / "chunk1.parquet")
    before, again = state(folder), Counter()
    with pytest.raises(run.Refused, match=sentence) as refusal:
        again.into(tmp_path)
    assert str(folder) in str(refusal.value)
    assert again.trained == []
    assert state(folder) == before


def test_results_without_a_manifest_are_refused(folder, tmp_path):
    storage.discard(folder / "manifest.json")
    with pytest.raises(run.Refused, match=r"has results but no manifest\.json"):
        Counter().into(tmp_path)


@pytest.mark.parametrize("out", ["file", "file/runs"])
def test_a_place_that_cannot_be_written_to_is_refused(tmp_path, out):
    (tmp_path / "file").write_text("")
    with pytest.raises(run.Refused, match=rf"--out={tmp_path / out} cannot be written to: Not a"):
        Counter().into(tmp_path / out)


def test_a_second_writer_is_refused_and_the_first_goes_on(tmp_path):
    second, refusals = Counter(), []

    def before(chunk):
        with pytest.raises(run.Refused) as refusal:
            second.into(tmp_path)
        refusals.append(str(refusal.value))

    folder = Counter(before=before).into(tmp_path)
    assert refusals == [f"another process is writing to {folder}"] * CHUNKS
    assert second.trained == []
    assert_whole(folder)


def test_the_lock_ends_with_its_holder(tmp_path):
    with pytest.raises(RuntimeError, match="a bug"):
        Counter(before=stop(0, RuntimeError("a bug"))).into(tmp_path)
    folder = Counter().into(tmp_path)
    with (folder / ".lock").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with pytest.raises(run.Refused, match="another process"):
            Counter().into(tmp_path)
    assert Counter().into(tmp_path) == folder


def test_a_reader_sees_whole_chunks_while_they_are_written(tmp_path):
    seen = []

    def before(chunk):
        (folder,) = tmp_path.iterdir()
        if chunk:
            seen.append([run.read(folder, table)["network"] for table in ("results", "curves")])
        else:
            with pytest.raises(run.Refused, match=r"holds no results"):
                run.read(folder, "results")

    Counter(before=before).into(tmp_path)
    for chunks, (results, curves) in enumerate(seen, start=1):
        np.testing.assert_array_equal(results, np.arange(chunks * SIZE))
        np.testing.assert_array_equal(curves, np.repeat(np.arange(chunks * SIZE), len(EPOCHS)))
    assert len(seen) == CHUNKS - 1


@pytest.mark.parametrize("where", ["training", "a table", "a checkpoint"])
def test_a_full_disk_keeps_what_is_stored(tmp_path, monkeypatch, where):
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if where == "training":
        study = Counter(before=stop(2, full))
    else:
        study, name = Counter(), "write_table" if where == "a table" else "save_tree"
        write = getattr(storage, name)

        def third_fails(path, *rest):
            if path.stem == "chunk2":
                raise full
            write(path, *rest)

        monkeypatch.setattr(storage, name, third_fails)
    with pytest.raises(run.Refused) as refusal:
        study.into(tmp_path)
    monkeypatch.undo()
    (folder,) = tmp_path.iterdir()
    assert str(refusal.value) == (
        f"{folder} cannot be written to: No space left on device; "
        f"4 of 8 networks are kept in {folder}, the same command resumes"
    )
    again = Counter()
    again.into(tmp_path)
    assert again.trained == [2, 3]
    assert_whole(folder)


def test_a_bug_that_looks_like_a_full_disk_is_not_hidden(tmp_path):
    with pytest.raises(OSError, match="an errorless one"):
        Counter(before=stop(1, OSError("an errorless one"))).into(tmp_path)


def test_progress_is_told_in_networks(tmp_path, capsys):
    Counter().into(tmp_path)
    assert re.search(r"100%.* 8/8 \[.* network/s\]", capsys.readouterr().err)


def test_an_export_has_a_file_of_row_and_curve_for_every_network(folder, tmp_path):
    target = tmp_path / "json" / "files"
    assert run.export_json(folder, target, "network", ("symbol", "network")) == CHUNKS * SIZE
    files = sorted(target.iterdir())
    assert len(files) == CHUNKS * SIZE
    assert (target / "tan-2x8_5.json") in files
    assert json.loads((target / "tan-2x8_5.json").read_text()) == {
        "network": 5,
        "symbol": "tan-2x8",
        "test_loss": pytest.approx(5 / 3),
        "curve": {"epoch": list(EPOCHS), "test_loss": pytest.approx([5 / 7] * 2)},
    }
    assert json.loads((target / "tan-2x8_3.json").read_text())["test_loss"] is None
