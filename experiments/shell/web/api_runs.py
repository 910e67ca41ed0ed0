"""Routes that read runs: their state, results, estimates and pictures."""

import contextlib
import mimetypes
import pathlib
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Path, Query
from starlette.responses import FileResponse, StreamingResponse

from experiments.shell.web import backend, estimates, frames, rows, service

Run = Annotated[str, Path(description="name of a run folder", max_length=200)]
Metric = Annotated[
    str | None, Query(description="a column of results, for example test_accuracy", max_length=100)
]
Dataset = Annotated[str, Query(description="a dataset, or `all`", max_length=100)]
Arm = Annotated[
    str, Query(description="an element's symbol, or an arm's label of a run", max_length=200)
]
Where = Annotated[list[str] | None, Query(description="conditions such as `depth>=3`")]
Search = Annotated[str, Query(description="words that the text columns hold", max_length=200)]
Sort = Annotated[str | None, Query(description="column to sort by", max_length=100)]
MOST_CONDITIONS = 20


def router(s: service.Service) -> APIRouter:
    api = APIRouter(prefix="/api/runs", tags=["runs"])

    @api.get("")
    def runs():
        """All runs, the latest first: finished, running (with their progress) or interrupted."""
        writing = s.jobs.writing()
        found = s.catalogue.states()
        for one in found:
            one["job"] = writing.get(one["run"])
            one["title"] = s.science.title_of(one.get("study", one["run"]))
        return service.reply(found)

    @api.get("/{run}")
    def details(run: Run):
        """A run: settings, findings, figures, and what its columns are."""
        found = s.catalogue.details(run)
        found["title"] = found["title"] or s.science.title_of(found["study"])
        found["job"] = s.jobs.writing().get(run)
        s.look_at(run)
        found |= {"columns": [], "elements": [], "arms": [], "datasets": [], "metrics": []}
        found |= {"factors": {}, "trials_stored": [], "tables": []}
        with contextlib.suppress(backend.Absent):  # nothing stored yet, or not of elements
            folder, frame = s.frame(run)
            found["tables"] = sorted(p.name for p in folder.iterdir() if any(p.glob("*.parquet")))
            found["columns"] = _columns(frame)
            found |= _designed(s, s.results(run)[2])
        return service.reply(found)

    @api.get("/{run}/files/{file}")
    def file(run: Run, file: Annotated[str, Path(max_length=200)]):
        """`report.html`, `summary.csv` or a figure of the run."""
        path = s.catalogue.file(run, file)
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        return FileResponse(path, media_type=kind, headers={"cache-control": "no-cache"})

    @api.get("/{run}/table")
    def table(run: Run, metric: Metric = None, dataset: Dataset = estimates.ALL):
        """The periodic table: each element's mean over trials with its 95 % interval."""
        _, frame, own = s.results(run)
        chosen = s.metric(own, metric)
        on = service.dataset(own, dataset, estimates.ALL)
        make = lambda: estimates.table(frame, own, chosen, on, s.science)
        return s.answer(run, ("table", chosen, on), make)

    @api.get("/{run}/results")
    def results(
        run: Run,
        where: Where = None,
        search: Search = "",
        sort: Sort = None,
        descending: bool = False,
        page: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
        size: Annotated[int, Query(ge=1, le=rows.MOST_ON_A_PAGE)] = 50,
    ):
        """A page of the rows, one for each network."""
        _, frame = s.frame(run)
        order = _chosen(frame, where, search, sort, descending)
        shown = rows.records(frame.columns, order[page * size : (page + 1) * size])
        return service.reply({"total": len(order), "page": page, "size": size, "rows": shown})

    @api.get("/{run}/results.csv")
    def results_csv(
        run: Run,
        where: Where = None,
        search: Search = "",
        sort: Sort = None,
        descending: bool = False,
    ):
        """All rows that meet the conditions, as CSV."""
        _, frame = s.frame(run)
        order = _chosen(frame, where, search, sort, descending)
        text = rows.as_csv(frame.columns, order)
        return _download(s, run, text, "text/csv; charset=utf-8", "csv")

    @api.get("/{run}/results.json")
    def results_json(
        run: Run,
        where: Where = None,
        search: Search = "",
        sort: Sort = None,
        descending: bool = False,
    ):
        """All rows that meet the conditions, as JSON."""
        _, frame = s.frame(run)
        order = _chosen(frame, where, search, sort, descending)
        return _download(s, run, rows.as_json(frame.columns, order), "application/json", "json")

    @api.get("/{run}/summary")
    def summary(
        run: Run,
        metric: Annotated[list[str] | None, Query(description="columns of results")] = None,
        arm: Annotated[list[str] | None, Query(description="elements; by default all")] = None,
    ):
        """Each arm's estimates by dataset and over all of them."""
        _, frame, own = s.results(run)
        chosen = tuple(s.metric(own, m) for m in (metric or [None])[:8])
        arms = tuple(s.arm(own, a) for a in arm) if arm else tuple(range(len(own.arms)))
        make = lambda: estimates.summary(frame, own, chosen, arms)
        return s.answer(run, ("summary", chosen, arms), make)

    @api.get("/{run}/curves")
    def curves(
        run: Run,
        arm: Arm,
        dataset: Dataset = estimates.ALL,
        metric: Annotated[list[str] | None, Query(description="by default all recorded")] = None,
    ):
        """Learning curves: each metric's mean over trials with its 95 % band."""
        folder, frame, own = s.results(run)
        only = tuple(metric or ())
        place, on = s.arm(own, arm), service.dataset(own, dataset, estimates.ALL)

        def make():
            chosen = own.rows([place], None if on == estimates.ALL else on)
            found = _rows(s, folder, "curves", frame, chosen)
            metrics = [n for n, c in found.items() if c.dtype.kind in "fiub" and n != "epoch"]
            metrics = [n for n in metrics if n not in _LABELS and (n in only or not only)]
            trials = np.asarray(own.trials)[own.trial[chosen]]
            trial_of = dict(zip(frame.columns["network"][chosen], trials, strict=True))
            return {"arm": own.arms[place], **estimates.curves(found, metrics, trial_of)}

        return s.answer(run, ("curves", place, on, only), make)

    @api.get("/{run}/layers")
    def layers(run: Run, arm: Arm, dataset: Dataset = estimates.ALL):
        """Gradients, weights and activity by layer and epoch, means over networks."""
        folder, frame, own = s.results(run)
        place, on = s.arm(own, arm), service.dataset(own, dataset, estimates.ALL)

        def make():
            chosen = own.rows([place], None if on == estimates.ALL else on)
            found = _rows(s, folder, "layers", frame, chosen)
            leave = {*_LABELS, "epoch", "layer"}
            return {"arm": own.arms[place], **estimates.layers(found, leave)}

        return s.answer(run, ("layers", place, on), make)

    @api.get("/{run}/compare")
    def compare(
        run: Run,
        arm: Annotated[list[str], Query(description="two to six elements or arms")],
        metric: Metric = None,
        dataset: Dataset = estimates.ALL,
    ):
        """Two to six arms side by side: paired differences with interval, test and verdict."""
        _, frame, own = s.results(run)
        arms = tuple(s.arm(own, one) for one in arm[:7])
        if not 2 <= len(arms) <= 6 or len(set(arms)) < len(arms):
            raise backend.Invalid(f"compare takes two to six different elements, got {len(arms)}")
        chosen, on = s.metric(own, metric), service.dataset(own, dataset, estimates.ALL)
        make = lambda: estimates.compare(frame, own, arms, chosen, on)
        return s.answer(run, ("compare", arms, chosen, on), make)

    return api


_LABELS = ("network", "trial", "seed", "epochs")


def _chosen(frame: frames.Frame, where, search, sort, descending):
    if len(where or []) > MOST_CONDITIONS:
        raise backend.Invalid(f"at most {MOST_CONDITIONS} conditions, got {len(where)}")
    return rows.choose(frame.columns, where or [], search, sort, descending)


def _rows(s, folder: pathlib.Path, table, frame, chosen) -> dict:
    if not len(chosen):
        raise backend.Absent(f"{folder.name} holds no such network yet")
    found = s.tables.rows(folder, table, frame, chosen, leave=("symbol", "dataset"))
    if found is None:
        raise backend.Absent(f"{folder.name} records no {table}")
    return found


def _download(s, run, text, kind, ending):
    name = s.catalogue.folder(run).name
    headers = {"content-disposition": f'attachment; filename="{name}.{ending}"'}
    return StreamingResponse(text, media_type=kind, headers=headers)


def _columns(frame: frames.Frame) -> list[dict]:
    kind = lambda column: "text" if column.dtype.kind == "O" else "number"
    return [{"name": name, "kind": kind(column)} for name, column in frame.columns.items()]


def _designed(s, own) -> dict:
    arms = zip(own.arms, own.arm_element, own.arm_levels, strict=True)
    return {
        "elements": own.elements,
        "arms": [{"arm": a, "element": own.elements[e], "levels": lv} for a, e, lv in arms],
        "datasets": own.datasets,
        "metrics": _metrics(s, own),
        "factors": own.factors,
        "trials_stored": own.trials,
    }


def _metrics(s, own) -> list[dict]:
    known = [name for name in s.science.metrics if name in own.metrics]
    others = [name for name in own.metrics if name not in known]
    share = lambda name: name.endswith("accuracy")
    plain = lambda name: {"label": name.replace("_", " "), "percent": share(name), "higher": None}
    return [
        *({"name": name, **s.science.metrics[name]} for name in known),
        *({"name": name, **plain(name)} for name in others),
    ]
