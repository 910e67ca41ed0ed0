"""The page's server: what it reads, what it refuses, and the processes that it starts and ends."""

import contextlib
import csv
import fcntl
import http.client
import io
import json
import pathlib
import signal
import subprocess
import sys
import textwrap
import threading
import time
import types
import urllib.parse

import numpy as np
import pytest
import uvicorn

from experiments.lab import statistics
from experiments.shell import storage
from experiments.shell.web import app, backend, frames, guard, jobs, runs

ROOT = pathlib.Path(__file__).resolve().parents[1]
TRIALS, EPOCHS = 3, (0, 5, 10)
STUDY_FLAGS = (
    backend.Flag("seconds", "number", "0.1", "how long", least=0, most=60),
    backend.Flag("stubborn", "boolean", "false", "heeds no interrupt"),
    backend.Flag("kinds", "text", "a", "some of them", many=True, choices=("a", "b")),
)


class Science:
    """A science of two kinds of things, with depths; it draws what it is asked for as numbers."""

    title, element = "Things", "symbol"
    metrics = types.MappingProxyType(
        {"score": {"label": "score", "percent": True, "higher": True}},
    )

    def warm(self):
        pass

    def elements(self):
        return [{"letters": "ab"}]

    def describe(self, symbol):
        if symbol not in ("ab-1", "ab-2", "cd-1", "cd-2"):
            raise backend.Absent(f"{symbol!r} is no thing")
        return {"symbol": symbol, "neighbours": []}

    datasets = activations = lambda self: []

    def places(self, elements):
        places = [
            backend.Place(e["kind"], str(e["depth"]), (e["kind"],), (e["depth"],)) for e in elements
        ]
        return "kind", "depth", places

    def studies(self):
        return [backend.Study("fake", "fake_study", "A fake", "Does it?", STUDY_FLAGS)]

    def title_of(self, study):
        return f"The {study}"

    def check(self, study, flags):
        if flags.get("kinds") == "b,a":
            raise backend.Invalid("kinds must be in order")
        return 7

    def get_ready(self, folder, networks):
        pass

    def picture(self, folder, networks, which, resolution, animated):
        chosen = networks if which is None else [networks[which]]
        value = np.mean([n / 1000 for n in chosen])
        frame = np.full((2 if animated else 1, resolution, resolution), value)
        x = np.linspace(-1, 1, resolution)
        return backend.Picture(x, x, frame, [1, 2][: len(frame)], np.zeros((1, 2)), np.ones(1))


def results(factor=None) -> dict:
    """Rows of 2 kinds × 2 depths × levels of a factor × 2 datasets × 3 trials."""
    generator, rows = np.random.default_rng(0), []
    for kind in ("cd", "ab"):
        for depth in (1, 2):
            for level in factor or (None,):
                for dataset in ("moons", "rings"):
                    for trial in range(TRIALS):
                        own = {} if level is None else {"noise": level}
                        rows.append(
                            {
                                "network": len(rows),
                                "symbol": f"{kind}-{depth}",
                                "kind": kind,
                                "depth": depth,
                                **own,
                                "dataset": dataset,
                                "trial": trial,
                                "score": generator.uniform(),
                                "loss": generator.uniform(),
                            }
                        )
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def store(out: pathlib.Path, name="fake-1", columns=None, finished=True, shards=2, layers=False):
    """A run folder as `shell.run` leaves it, cut into shards."""
    folder = out / name
    columns = results() if columns is None else columns
    size = len(columns["network"])
    for table in ("results", "curves", *(["layers"] if layers else [])):
        (folder / table).mkdir(parents=True)
    for part, rows in enumerate(np.array_split(np.arange(size), shards)):
        own = {name: column[rows] for name, column in columns.items()}
        repeat = lambda values: np.repeat(values, len(EPOCHS))
        curve = {"network": repeat(own["network"]), "symbol": repeat(own["symbol"])}
        curve["epoch"] = np.tile(np.array(EPOCHS, np.int32), len(rows))
        curve["score"] = repeat(own["score"]) * (1 + curve["epoch"])
        storage.write_table(folder / "curves" / f"{part}.parquet", curve, {})
        if layers:
            table = {name: np.tile(curve[name], 2) for name in ("network", "epoch")}
            table["layer"] = np.repeat([1, 2], len(curve["epoch"]))
            table["gradient_norm"] = table["layer"] * 10.0 + np.tile(curve["network"], 2)
            storage.write_table(folder / "layers" / f"{part}.parquet", table, {})
        storage.write_table(folder / "results" / f"{part}.parquet", own, {})
    storage.write_json(folder / "manifest.json", manifest(size, finished))
    return folder


def manifest(size, finished=True) -> dict:
    arms = ["cd-1", {"symbol": "cd-2", "samples": 3}, "ab-1", "ab-2"]
    settings = {"arms": arms, "datasets": ["moons", "rings"], "trials": TRIALS, "epochs": 10}
    return {
        "format": 1,
        "name": "fake",
        "settings": settings,
        "layout": [],
        "size": size,
        "commit": None,
        "started": "2026-01-01T00:00:00+00:00",
        "finished": "2026-01-01T00:01:00+00:00" if finished else None,
        "seconds": 60.0,
    }


class Client:
    """Requests to a server at `port`."""

    def __init__(self, port):
        self.port = port

    def ask(self, path, method="GET", body=None, **headers):
        """(code, body); headers are given by name, `_` for `-`."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is not None:
            sent.setdefault("Content-Type", "application/json")
        connection.request(method, path, body, sent)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        return answer.status, text

    def get(self, path, **parameters):
        """The JSON at `path`, which must be there."""
        code, text = self.ask(f"{path}?{urllib.parse.urlencode(parameters, doseq=True)}")
        assert code == 200, text
        return json.loads(text)

    def post(self, path, content):
        code, text = self.ask(path, "POST", json.dumps(content))
        return code, json.loads(text)


@contextlib.contextmanager
def serving(science, out, root=ROOT):
    server = uvicorn.Server(
        uvicorn.Config(app.create(science, out, root), port=0, log_level="error")
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until(lambda: server.started)
        yield Client(server.servers[0].sockets[0].getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


def until(condition, seconds=20.0):
    """What `condition()` gives as soon as it is true."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)
    return found


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    folder = store(out, layers=True)
    told = {"title": "T", "question": "Q?", "findings": [["H", "S."]]}
    told["figures"] = [{"stem": "a", "caption": "A"}, {"stem": "lost", "caption": "not there"}]
    storage.write_json(folder / "findings.json", told)
    for name in ("a.png", "b.png"):
        (folder / name).write_bytes(b"\x89PNG")
    (folder / "report.html").write_text("<p>report</p>")
    store(out, "fake-factor", results(factor=(0.1, 0.2)))
    return out


@pytest.fixture(scope="module")
def client(out):
    with serving(Science(), out) as client:
        yield client


def test_the_table_has_the_interval_of_each_element(client):
    found, columns = client.get("/api/runs/fake-1/table", metric="score"), results()
    (panel,) = found["panels"]
    assert found["rows"]["names"] == ["ab", "cd"]
    assert found["columns"]["names"] == ["1", "2"]
    assert len(panel["cells"]) == 4
    for cell in panel["cells"]:
        own = columns["symbol"] == cell["element"]
        expected = statistics.mean(columns["score"][own].reshape(2, TRIALS).mean(0))
        shown = [cell[name] for name in ("value", "low", "high")]
        np.testing.assert_allclose(shown, expected[:3], rtol=1e-12)
        assert cell["n"] == TRIALS
        assert found["rows"]["names"][cell["row"]] == cell["element"][:2]
        assert found["columns"]["names"][cell["column"]] == cell["element"][3:]


def test_the_table_of_one_dataset_is_of_that_dataset(client):
    found, columns = client.get("/api/runs/fake-1/table", dataset="rings"), results()
    cell = found["panels"][0]["cells"][0]
    own = (columns["symbol"] == cell["element"]) & (columns["dataset"] == "rings")
    assert cell["value"] == pytest.approx(columns["score"][own].mean())


def test_a_further_factor_makes_a_panel_for_each_of_its_levels(client):
    found = client.get("/api/runs/fake-factor/table")
    assert [panel["levels"] for panel in found["panels"]] == [{"noise": "0.1"}, {"noise": "0.2"}]
    columns = results(factor=(0.1, 0.2))
    cell = found["panels"][1]["cells"][0]
    assert cell["arm"] == "cd-1 noise=0.2"
    own = (columns["symbol"] == "cd-1") & (columns["noise"] == 0.2)
    assert cell["value"] == pytest.approx(columns["score"][own].mean())
    details = client.get("/api/runs/fake-factor")
    assert details["factors"] == {"noise": ["0.1", "0.2"]}
    assert [metric["name"] for metric in details["metrics"]] == ["score", "loss"]


def test_levels_are_the_columns_where_all_elements_have_one_shape(tmp_path):
    columns = results(factor=(0.1, 0.2))
    flat = {name: column[columns["depth"] == 1] for name, column in columns.items()}
    store(tmp_path, columns=flat)
    with serving(Science(), tmp_path) as client:
        found = client.get("/api/runs/fake-1/table")
        assert found["columns"] == {"title": "noise", "names": ["0.1", "0.2"]}
        (panel,) = found["panels"]
        places = {(c["row"], c["column"]): c["arm"] for c in panel["cells"]}
        assert places[0, 1] == "ab-1 noise=0.2"
        assert len(places) == 4


def test_curves_are_means_over_trials_with_their_band(client):
    found, columns = client.get("/api/runs/fake-1/curves", arm="ab-1"), results()
    trials = columns["score"][columns["symbol"] == "ab-1"].reshape(2, TRIALS).mean(0)
    assert found["epochs"] == list(EPOCHS)
    score = found["metrics"]["score"]
    for i, epoch in enumerate(EPOCHS):
        expected = statistics.mean(trials * (1 + epoch))
        shown = [score[name][i] for name in ("value", "low", "high")]
        np.testing.assert_allclose(shown, expected[:3], rtol=1e-5)


def test_layers_are_means_over_networks(client):
    found, columns = client.get("/api/runs/fake-1/layers", arm="ab-2", dataset="moons"), results()
    own = (columns["symbol"] == "ab-2") & (columns["dataset"] == "moons")
    mean = columns["network"][own].mean()
    assert found["layers"] == ["1", "2"]
    assert found["quantities"]["gradient_norm"] == [[10 + mean, 20 + mean]] * len(EPOCHS)
    code, text = client.ask("/api/runs/fake-factor/layers?arm=ab-2")
    assert (code, json.loads(text)) == (404, {"detail": "fake-factor records no layers"})


def test_comparison_is_the_paired_one_of_the_lab(client):
    found, columns = client.get("/api/runs/fake-1/compare", arm=["ab-1", "cd-2", "cd-1"]), results()
    samples = np.stack(
        [columns["score"][columns["symbol"] == s].reshape(2, TRIALS).mean(0) for s in
         ("ab-1", "cd-2", "cd-1")]
    )  # fmt: skip
    expected = statistics.compare(samples, ["ab-1", "cd-2", "cd-1"], margin=found["margin"])
    assert [(p["first"], p["second"], p["verdict"]) for p in found["pairs"]] == [
        (c.first, c.second, c.verdict) for c in expected
    ]
    for shown, c in zip(found["pairs"], expected, strict=True):
        assert shown["p_holm"] == pytest.approx(c.p_holm)
        assert shown["difference"]["low"] == pytest.approx(c.difference.low)


def test_pictures_are_of_the_networks_asked_for(client):
    columns = results()
    own = columns["network"][(columns["symbol"] == "ab-1") & (columns["dataset"] == "rings")]
    ask = lambda **more: client.get(
        "/api/runs/fake-1/boundaries", arm="ab-1", dataset="rings", resolution=8, **more
    )
    assert ask(trial=2)["frames"][0][0][0] == own[2] / 1000
    assert ask()["frames"][0][7][7] == pytest.approx(own.mean() / 1000, abs=1e-3)
    assert len(ask(animated=True)["frames"]) == 2


def test_rows_are_filtered_searched_sorted_and_paged(client):
    columns, path = results(), "/api/runs/fake-1/results"
    found = client.get(path, where=["depth>=2", "dataset=moons"], sort="score", descending=True)
    own = (columns["depth"] >= 2) & (columns["dataset"] == "moons")
    assert [row["score"] for row in found["rows"]] == sorted(columns["score"][own], reverse=True)
    assert found["total"] == own.sum()
    assert client.get(path, search="AB rings")["total"] == 2 * TRIALS
    assert client.get(path, search="nothing")["total"] == 0
    page = client.get(path, page=1, size=5, sort="network")
    assert [row["network"] for row in page["rows"]] == [5, 6, 7, 8, 9]
    assert client.get(path, where="symbol!=ab-1")["total"] == 3 * 2 * TRIALS


def test_downloads_hold_all_that_is_chosen(client):
    columns = results()
    code, text = client.ask("/api/runs/fake-1/results.csv?where=kind=ab")
    rows = list(csv.DictReader(io.StringIO(text.decode())))
    assert code == 200
    assert [float(r["score"]) for r in rows] == columns["score"][columns["kind"] == "ab"].tolist()
    whole = client.get("/api/runs/fake-1/results.json")
    assert [row["symbol"] for row in whole] == columns["symbol"].tolist()


def test_unknown_numbers_are_null_and_never_dropped(tmp_path):
    columns = results()
    columns["score"] = np.where(columns["network"] == 0, np.nan, columns["score"])
    store(tmp_path, columns=columns)
    with serving(Science(), tmp_path) as client:
        cells = client.get("/api/runs/fake-1/table")["panels"][0]["cells"]
        assert [cell["value"] is None for cell in cells] == [True, False, False, False]
        first = client.get("/api/runs/fake-1/results", size=1)["rows"][0]
        assert first["score"] is None


def test_a_run_has_its_findings_figures_and_report(client):
    found = client.get("/api/runs/fake-1")
    assert (found["title"], found["question"]) == ("T", "Q?")
    assert found["findings"] == [{"headline": "H", "sentence": "S."}]
    assert found["figures"] == [{"stem": "a", "caption": "A"}, {"stem": "b", "caption": ""}]
    assert client.ask("/api/runs/fake-1/files/a.png") == (200, b"\x89PNG")
    assert client.ask("/api/runs/fake-1/files/report.html") == (200, b"<p>report</p>")
    other = client.get("/api/runs/fake-factor")
    assert (other["title"], other["findings"]) == ("The fake", [])


def test_a_folder_of_a_report_alone_is_shown_as_one(tmp_path):
    (tmp_path / "plan-1").mkdir()
    (tmp_path / "plan-1" / "report.html").write_text("<p>all phases</p>")
    with serving(Science(), tmp_path) as client:
        (run,) = client.get("/api/runs")
        assert (run["run"], run["study"], run["status"]) == ("plan-1", "plan", "finished")
        found = client.get("/api/runs/plan-1")
        assert (found["report"], found["columns"], found["title"]) == (True, [], "The plan")
        assert client.ask("/api/runs/plan-1/files/report.html")[1] == b"<p>all phases</p>"
        assert client.ask("/api/runs/plan-1/table")[0] == 404


def test_a_run_whose_rows_are_no_networks_is_told_by_what_it_left(tmp_path):
    columns = {"arm": np.array([0, 1, 1]), "step": np.array([0, 0, 80]), "loss": np.ones(3)}
    folder = tmp_path / "course-1"
    (folder / "results").mkdir(parents=True)
    about = manifest(4800) | {"name": "course", "settings": {"arms": ["a", "b"], "seeds": 2}}
    storage.write_json(folder / "manifest.json", about | {"unit": "step"})
    with serving(Science(), tmp_path) as client:
        found = client.get("/api/runs/course-1")  # nothing is stored yet
        assert (found["columns"], found["unit"], found["size"]) == ([], "rows", None)
        storage.write_json(folder / "manifest.json", about)  # of a version that told no unit
        storage.write_table(folder / "results" / "steps-0.parquet", columns, {})
        (folder / "report.html").write_text("<p>a course</p>")
        (folder / "summary.csv").write_text("arm,loss\n")
        (run,) = client.get("/api/runs")
        assert (run["stored"], run["unit"], run["size"]) == (3, "rows", None)  # 4800 are steps
        found = client.get("/api/runs/course-1")
        assert (found["report"], found["summary"], found["unit"]) == (True, True, "rows")
        assert (found["arms"], found["tables"]) == ([], ["results"])
        assert [column["name"] for column in found["columns"]] == ["arm", "step", "loss"]
        assert client.ask("/api/runs/course-1/files/report.html")[1] == b"<p>a course</p>"
        assert client.ask("/api/runs/course-1/files/summary.csv")[0] == 200
        assert client.get("/api/runs/course-1/results")["total"] == 3
        code, body = client.ask("/api/runs/course-1/table")
        assert (code, b"no trials of elements" in body) == (404, True)


def test_an_element_knows_the_runs_that_hold_it(client):
    assert set(client.get("/api/elements/cd-2")["runs"]) == {"fake-1", "fake-factor"}


@contextlib.contextmanager
def held(folder):
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def test_runs_are_finished_running_interrupted_or_unreadable(tmp_path):
    store(tmp_path, "done")
    begun = store(tmp_path, "begun", finished=False)
    storage.write_json(begun / "manifest.json", manifest(100, finished=False))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "manifest.json").write_text("{")
    (tmp_path / "no run").mkdir()
    (tmp_path / "a file").write_text("")
    states = lambda: {run["run"]: run["status"] for run in client.get("/api/runs")}
    with serving(Science(), tmp_path) as client:
        assert states() == {"done": "finished", "begun": "interrupted", "broken": "unreadable"}
        with held(begun):
            assert states()["begun"] == "running"
            run = next(run for run in client.get("/api/runs") if run["run"] == "begun")
            assert (run["stored"], run["size"], run["job"]) == (24, 100, None)
        assert states()["begun"] == "interrupted"
        code, text = client.ask("/api/runs/broken")
        assert code == 409
        assert "not the manifest of a run" in json.loads(text)["detail"]


def test_what_a_run_stores_meanwhile_appears(tmp_path):
    columns = results()
    few = {name: column[:12] for name, column in columns.items()}
    folder = store(tmp_path, columns=few, finished=False, shards=1)
    with serving(Science(), tmp_path) as client:
        shown = lambda: client.get("/api/runs/fake-1/table")["panels"][0]["cells"]
        assert [cell["element"] for cell in shown()] == ["cd-1", "cd-2"]
        rest = {name: column[12:] for name, column in columns.items()}
        storage.write_table(folder / "results" / "9.parquet", rest, {})
        assert len(shown()) == 4


def test_half_stored_elements_count_the_trials_they_have(tmp_path):
    columns = results()
    late = (columns["symbol"] == "ab-2") & (columns["trial"] == 2)
    keep = ~(late & (columns["dataset"] == "rings"))
    store(tmp_path, columns={name: column[keep] for name, column in columns.items()})
    with serving(Science(), tmp_path) as client:
        cells = client.get("/api/runs/fake-1/table")["panels"][0]["cells"]
        assert [cell["n"] for cell in cells] == [3, 3, 3, 2]
        own = (columns["symbol"] == "ab-2") & (columns["trial"] < 2)
        assert cells[3]["value"] == pytest.approx(columns["score"][own].mean())
        assert client.get("/api/runs/fake-1/compare", arm=["ab-1", "ab-2"])["trials"] == 2
        cells = client.get("/api/runs/fake-1/table", dataset="moons")["panels"][0]["cells"]
        assert [cell["n"] for cell in cells] == [3, 3, 3, 3]


def test_a_damaged_file_is_told_in_a_sentence(tmp_path):
    folder = store(tmp_path)
    path = folder / "results" / "1.parquet"
    path.write_bytes(path.read_bytes()[:-50])
    with serving(Science(), tmp_path) as client:
        code, text = client.ask("/api/runs/fake-1/table")
        assert code == 409
        assert "1.parquet is damaged" in json.loads(text)["detail"]


def test_no_runs_is_an_empty_list(tmp_path):
    with serving(Science(), tmp_path / "not there") as client:
        assert client.get("/api/runs") == []


REFUSED = {
    "/api/runs/nothing": (404, "no run 'nothing'"),
    "/api/runs/nothing/table": (404, "no run 'nothing'"),
    "/api/runs/..": (404, "no run '..'"),
    "/api/runs/..%2F..%2Fetc": (404, "nothing at"),
    "/api/runs/%2E%2E/table": (404, ""),
    "/api/runs/fake-1/files/manifest.json": (404, "has no 'manifest.json'"),
    "/api/runs/fake-1/files/..%2Ffake-1%2Fa.png": (404, ""),
    "/static/../app.py": (404, ""),
    "/static/%2E%2E/app.py": (404, ""),
    "/api/runs/fake-1/table?metric=nothing": (400, "unknown metric 'nothing' (allowed: score"),
    "/api/runs/fake-1/table?dataset=nothing": (400, "allowed: moons, rings, all"),
    "/api/runs/fake-1/results?size=501": (422, "size"),
    "/api/runs/fake-1/results?page=-1": (422, "page"),
    "/api/runs/fake-1/results?sort=nothing": (400, "unknown column 'nothing'"),
    "/api/runs/fake-1/results?where=depth": (400, "is no condition"),
    "/api/runs/fake-1/results?where=depth>many": (400, "compared with a number"),
    "/api/runs/fake-1/results?where=kind>ab": (400, "takes = and !="),
    "/api/runs/fake-1/results?" + "&".join(["where=depth>1"] * 21): (400, "at most 20"),
    "/api/runs/fake-1/compare?arm=ab-1": (400, "two to six"),
    "/api/runs/fake-1/compare?arm=ab-1&arm=ab-1": (400, "different"),
    "/api/runs/fake-1/compare": (422, "arm"),
    "/api/runs/fake-1/curves?arm=ef-1": (404, "no element of this run"),
    "/api/runs/fake-1/boundaries?arm=ab-1&dataset=all": (400, "unknown dataset 'all'"),
    "/api/runs/fake-1/boundaries?arm=ab-1&dataset=moons&trial=9": (404, "no trial 9"),
    "/api/runs/fake-1/boundaries?arm=ab-1&dataset=moons&trial=x": (422, "trial"),
    "/api/runs/fake-1/boundaries?arm=ab-1&dataset=moons&resolution=9999": (422, "resolution"),
    "/api/elements/ef-1": (404, "'ef-1' is no thing"),
    "/api/jobs/7": (404, "no job 7"),
    "/api/jobs/x": (422, "job"),
    "/nothing": (404, "nothing at /nothing"),
}


@pytest.mark.parametrize("path", REFUSED)
def test_a_bad_request_gets_a_sentence(client, path):
    code, text = client.ask(path.replace(">", "%3E").replace(" ", "%20"))
    expected, said = REFUSED[path]
    detail = json.loads(text)["detail"]
    assert (code, said in detail) == (expected, True), (code, detail)
    assert isinstance(detail, str)
    assert "\n" not in detail


ORDER = json.dumps({"study": "fake"})
FOREIGN = {
    "another name": ("GET", "/api/runs", None, {"Host": "evil.example"}, 421),
    "another name, our port": ("GET", "/", None, {"Host": "evil.example:5000"}, 421),
    "another origin": ("POST", "/api/jobs", ORDER, {"Origin": "http://evil.example"}, 403),
    "another port": ("POST", "/api/jobs", ORDER, {"Origin": "http://127.0.0.1:1"}, 403),
    "no origin": ("POST", "/api/jobs", ORDER, {"Origin": "null"}, 403),
    "cross-site": ("POST", "/api/jobs", ORDER, {"Sec_Fetch_Site": "cross-site"}, 403),
    "a form": ("POST", "/api/jobs", ORDER, {"Content_Type": "text/plain"}, 415),
    "too long": ("POST", "/api/jobs", " " * (guard.LARGEST_BODY + 1), {}, 413),
    "no body": ("POST", "/api/jobs", None, {"Content_Type": "application/json"}, 422),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_requests_of_other_sites_are_refused(client, case):
    method, path, body, headers, expected = FOREIGN[case]
    code, text = client.ask(path, method, body, **headers)
    assert code == expected, text
    assert isinstance(json.loads(text)["detail"], str)
    assert client.get("/api/jobs") == []


def test_every_name_of_this_machine_is_answered(client):
    for host in (f"localhost:{client.port}", "127.0.0.1", "[::1]:80"):
        assert client.ask("/api/jobs", Host=host) == (200, b"[]")


def test_the_page_and_its_documents_need_no_other_server(client):
    static = app.STATIC
    own = [p for p in static.rglob("*") if p.is_file() and "vendor" not in p.parts]
    assert len(own) > 10
    for path in own:
        text = path.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in text, path
        assert "https://" not in text, path
    for path in ("/", "/docs", "/static/main.js", "/static/vendor/swagger-ui/swagger-ui.css"):
        assert client.ask(path)[0] == 200
    described = client.get("/api/openapi.json")["paths"]
    assert {"/api/runs/{run}/boundaries", "/api/jobs", "/api/jobs/{job}/cancel"} <= set(described)


# A study without a science: it locks its folder, stores rows, and heeds an interrupt or not.
FAKE = """
import argparse, fcntl, pathlib, signal, sys, time
sys.path.insert(0, {root!r})
from tests import test_web
flags = argparse.ArgumentParser()
for name in ("seconds", "stubborn", "kinds", "out"):
    flags.add_argument("--" + name, default="0")
given = flags.parse_args()
if given.stubborn == "true":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
if given.kinds == "b":
    sys.exit("kinds b is out of stock")
print("12%|#  ", end="\\r", file=sys.stderr, flush=True)
print("24%|## ", file=sys.stderr, flush=True)
folder = pathlib.Path(given.out) / ("fake-" + given.seconds)
folder.mkdir(parents=True)
with (folder / ".lock").open("w") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    columns = test_web.results()
    (folder / "results").mkdir()
    half = {{name: column[:12] for name, column in columns.items()}}
    test_web.storage.write_table(folder / "results" / "0.parquet", half, {{}})
    test_web.storage.write_json(folder / "manifest.json", test_web.manifest(24, finished=False))
    try:
        time.sleep(float(given.seconds))
    except KeyboardInterrupt:
        sys.exit(130)
    rest = {{name: column[12:] for name, column in columns.items()}}
    test_web.storage.write_table(folder / "results" / "1.parquet", rest, {{}})
    test_web.storage.write_json(folder / "manifest.json", test_web.manifest(24))
print(folder)
"""


@pytest.fixture
def root(tmp_path):
    """The folder of a study; jobs must not inherit from a background shell that it ignores ^C."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    (tmp_path / "fake_study.py").write_text(textwrap.dedent(FAKE).format(root=str(ROOT)))
    return tmp_path


def begin(client, **flags):
    code, told = client.post("/api/jobs", {"study": "fake", "flags": flags})
    assert code == 201, told
    return told["job"]


def reached(client, job, *states):
    def look():
        told = client.get(f"/api/jobs/{job}")
        return told if told["state"] in states else None

    return until(look, 40)


def test_a_job_runs_stores_and_names_its_run(root):
    with serving(Science(), root / "runs", root) as client:
        job = begin(client, seconds=0.1)
        told = reached(client, job, "done", "failed")
        assert told["state"] == "done", told["log"]
        assert told["code"] == 0
        assert told["runs"] == ["fake-0.1"]
        assert (told["progress"][0]["stored"], told["progress"][0]["status"]) == (24, "finished")
        assert told["log"][0] == "24%|## "  # the bar's first state was overwritten
        assert [run["run"] for run in client.get("/api/runs")] == ["fake-0.1"]


def test_progress_is_live_and_a_cancel_cancels(root):
    with serving(Science(), root / "runs", root) as client:
        first, second = begin(client, seconds=50), begin(client, seconds=0.1)
        run = until(lambda: client.get(f"/api/jobs/{first}")["progress"], 40)[0]
        assert (run["run"], run["status"]) == ("fake-50", "running")
        assert until(lambda: client.get("/api/runs")[0]["stored"] == 12)
        assert client.get("/api/runs")[0]["job"] == first
        assert client.get(f"/api/jobs/{second}")["state"] == "queued"
        assert client.post(f"/api/jobs/{second}/cancel", {})[1]["state"] == "cancelled"
        begun = time.monotonic()
        assert client.post(f"/api/jobs/{first}/cancel", {})[0] == 200
        assert reached(client, first, *jobs.ENDED)["state"] == "cancelled"
        assert time.monotonic() - begun < 5  # interrupted, not killed
        assert client.get("/api/runs")[0]["status"] == "interrupted"
        code, told = client.post(f"/api/jobs/{first}/cancel", {})
        assert (code, "ended already" in told["detail"]) == (400, True)


def test_what_heeds_no_interrupt_is_killed(root, monkeypatch):
    monkeypatch.setattr(jobs, "GRACE", 0.3)
    with serving(Science(), root / "runs", root) as client:
        job = begin(client, seconds=50, stubborn=True)
        until(lambda: client.get(f"/api/jobs/{job}")["progress"], 40)
        client.post(f"/api/jobs/{job}/cancel", {})
        told = reached(client, job, *jobs.ENDED)
        assert (told["state"], told["code"]) == ("cancelled", -9)


def test_a_job_that_fails_says_why(root):
    with serving(Science(), root / "runs", root) as client:
        told = reached(client, begin(client, kinds="b"), *jobs.ENDED)
        assert (told["state"], told["code"]) == ("failed", 1)
        assert told["log"] == ["kinds b is out of stock"]


def test_the_end_of_the_server_is_the_end_of_its_jobs(root):
    with serving(Science(), root / "runs", root) as client:
        begin(client, seconds=50)
        until(lambda: [r for r in client.get("/api/runs") if r["status"] == "running"], 40)
    assert runs.writer_of(root / "runs" / "fake-50", runs.locks()) is None


ORDERS = {
    "unknown study": ({"study": "os"}, 400, "unknown study 'os' (allowed: fake)"),
    "a path": ({"study": "../fake"}, 400, "unknown study"),
    "unknown flag": ({"study": "fake", "flags": {"out": "/etc"}}, 400, "no flag 'out'"),
    "not a number": ({"study": "fake", "flags": {"seconds": "x"}}, 400, "takes a number, got 'x'"),
    "too large": ({"study": "fake", "flags": {"seconds": 61}}, 400, "takes 0 to 60 here, got 61"),
    "nan": ({"study": "fake", "flags": {"seconds": "nan"}}, 400, "takes 0 to 60"),
    "no choice": ({"study": "fake", "flags": {"kinds": "a,c"}}, 400, "'c' (allowed: a, b)"),
    "no truth": ({"study": "fake", "flags": {"stubborn": "maybe"}}, 400, "true or false"),
    "two lines": ({"study": "fake", "flags": {"kinds": "a\n--out=x"}}, 400, "one line"),
    "the science's": ({"study": "fake", "flags": {"kinds": "b,a"}}, 400, "must be in order"),
    "no study": ({"flags": {}}, 422, "study"),
    "more": ({"study": "fake", "shell": True}, 422, "shell"),
    "flags of flags": ({"study": "fake", "flags": {"kinds": ["a"]}}, 422, "flags"),
    "no object": ([], 422, ""),
}


@pytest.mark.parametrize("case", ORDERS)
def test_orders_are_checked_before_anything_starts(client, case):
    order, expected, said = ORDERS[case]
    code, told = client.post("/api/jobs", order)
    assert (code, said in told["detail"]) == (expected, True), told
    assert client.get("/api/jobs") == []


def test_the_queue_is_bounded(root, monkeypatch):
    monkeypatch.setattr(jobs, "MOST_WAITING", 1)
    with serving(Science(), root / "runs", root) as client:
        first = begin(client, seconds=50)
        reached(client, first, "running")
        begin(client)
        code, told = client.post("/api/jobs", {"study": "fake"})
        assert (code, "waiting already" in told["detail"]) == (400, True)


def test_an_answer_is_made_once():
    kept, made = frames.Kept(most=2), []
    ask = lambda key: kept.get(key, lambda: made.append(key) or time.sleep(0.05) or key)
    threads = [threading.Thread(target=ask, args=("a",)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == ["a"]
    ask("b"), ask("c"), ask("a")
    assert made == ["a", "b", "c", "a"]  # the oldest of three was forgotten


def test_the_server_starts_without_jax_and_refuses_in_a_sentence():
    code = "import sys; from experiments import web; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
    for flag, said in (("--port=x", "port"), ("--out=Makefile", "is a file"), ("x", "is a flag")):
        command = [sys.executable, "-m", "experiments.web", "--port=0", flag]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 1
        assert said in done.stderr
