"""Routes to what the science knows: elements, datasets, activations, and what networks say."""

from typing import Annotated

import numpy as np
from fastapi import APIRouter, Path, Query

from experiments.shell.web import api_runs, backend, estimates, service

MEAN = "mean"


def router(s: service.Service) -> APIRouter:
    api = APIRouter(prefix="/api", tags=["science"])

    @api.get("/elements")
    def elements():
        """The kinds of elements there are: the symbol's grammar is in each."""
        return service.reply(s.science.elements())

    @api.get("/elements/{symbol}")
    def element(symbol: Annotated[str, Path(max_length=100)]):
        """An element, its neighbours in the table, and the runs that hold it."""
        found, held = s.science.describe(symbol), []
        for name in s.catalogue.names():
            settings = s.catalogue.settings(name)
            arms = [a["symbol"] if isinstance(a, dict) else a for a in settings.get("arms", ())]
            if symbol in arms:
                held.append(name)
        return service.reply(found | {"runs": held})

    @api.get("/datasets")
    def datasets():
        """The datasets, with the noise they have by default and some of their points."""
        return service.reply(s.science.datasets())

    @api.get("/activations")
    def activations():
        """The activations, with their ranges, sources and values."""
        return service.reply(s.science.activations())

    @api.get("/runs/{run}/boundaries")
    def boundaries(
        run: api_runs.Run,
        arm: api_runs.Arm,
        dataset: Annotated[str, Query(description="a dataset of the run", max_length=100)],
        trial: Annotated[
            str,
            Query(description="a trial's number, or `mean` over all", pattern=r"^(\d{1,9}|mean)$"),
        ] = MEAN,
        animated: Annotated[bool, Query(description="over the recorded epochs")] = False,
        resolution: Annotated[int, Query(ge=8, le=128)] = backend.RESOLUTION,
    ):
        """The probability of label 1 over the plane, and the points that were trained on."""
        folder, frame, own = s.results(run)
        place, on = s.arm(own, arm), service.dataset(own, dataset)
        number = None if trial == MEAN else int(trial)
        if number is not None and number not in own.trials:
            raise backend.Absent(f"{own.arms[place]} on {on} has no trial {number} in this run")

        def make():
            chosen, which = own.rows([place], on)[: service.MOST_AVERAGED], None
            if not len(chosen):
                raise backend.Absent(f"{own.arms[place]} on {on} is not stored yet")
            trials = [own.trials[t] for t in own.trial[chosen]]
            if number is not None:
                if number not in trials:
                    raise backend.Absent(f"trial {number} of {own.arms[place]} is not to be shown")
                which = trials.index(number)
            networks = [int(n) for n in frame.columns["network"][chosen]]
            picture = s.science.picture(folder, networks, which, resolution, animated)
            return {
                "arm": own.arms[place],
                "dataset": on,
                "trial": trial,
                "trials": trials,
                "x": estimates.numbers(picture.x, 5),
                "y": estimates.numbers(picture.y, 5),
                "epochs": [int(e) for e in picture.epochs],
                "frames": np.round(picture.frames.astype(float), 3).tolist(),
                "points": estimates.numbers(picture.points, 4),
                "labels": np.asarray(picture.labels).astype(int).tolist(),
            }

        return s.answer(run, ("boundaries", place, on, trial, animated, resolution), make)

    return api
