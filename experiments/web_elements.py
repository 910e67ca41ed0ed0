"""Elements as the page sees them: names, places in the periodic table, decision boundaries."""

import functools
import math
import pathlib
import threading
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from experiments import web_studies
from experiments.shell.web import backend, frames

METRICS = {
    "test_accuracy": {"label": "held-out accuracy", "percent": True, "higher": True},
    "train_accuracy": {"label": "training accuracy", "percent": True, "higher": True},
    "validation_accuracy": {"label": "validation accuracy", "percent": True, "higher": True},
    "test_loss": {"label": "held-out loss, nats", "percent": False, "higher": False},
    "train_loss": {"label": "training loss, nats", "percent": False, "higher": False},
    "validation_loss": {"label": "validation loss, nats", "percent": False, "higher": False},
    "memorised": {"label": "memorised wrong labels", "percent": True, "higher": None},
    "diverged": {"label": "diverged", "percent": True, "higher": False},
}
MARGIN = 0.06  # of a picture around its points
POINTS = 240  # shown of several trials together
MOST_DRAWN = 4  # trials whose points are shown together
MOST_FRAMES = 60
MOST_ANIMATED = 10  # trials averaged in an animation


class Elements:
    """`experiments.shell.web.backend.Backend`; what needs JAX starts it at the first call."""

    title = "The periodic table of small networks"
    element = "symbol"
    metrics = METRICS

    def __init__(self, prepare: Callable[[], None] = lambda: None):
        self._prepare, self._lock = prepare, threading.Lock()
        self._trained, self._said = frames.Kept(8), frames.Kept(64)

    def warm(self) -> None:
        self.datasets(), self.activations(), self.elements(), self.studies()

    @functools.cached_property
    def _jax(self):
        """JAX, prepared before its first computation."""
        self._prepare()
        import jax

        return jax

    def _ready(self):
        with self._lock:
            return self._jax

    def elements(self) -> list[dict]:
        self._ready()
        from elements import activations

        return [
            {
                "activation": a.name,
                "letters": a.name[:3],
                "family": a.family,
                "grammar": f"{a.name[:3]}-3x8, {a.name[:3]}-32_8_32 or {a.name[:3]}-4x8-skip",
                "most_layers": web_studies.MOST_LAYERS,
                "most_width": web_studies.MOST_WIDTH,
            }
            for a in activations.TABLE
        ]

    def describe(self, symbol: str) -> dict:
        self._ready()
        from elements import activations, element

        try:
            one = element.parse(symbol)
        except ValueError as error:
            raise backend.Absent(str(error)) from error
        about = activations.find(one.activation)
        near = {}
        if len(set(one.widths)) == 1:
            for word, depth in (
                ("one layer less", one.depth - 1),
                ("one layer more", one.depth + 1),
            ):
                if depth:
                    near[word] = element.square(one.activation, depth, one.width, one.skip)
        for word, factor in (("half as wide", 0.5), ("twice as wide", 2)):
            widths = tuple(max(1, int(w * factor)) for w in one.widths)
            if widths != one.widths:
                near[word] = element.Element(one.activation, widths, one.skip)
        word = "without skips" if one.skip else "with skips"
        near[word] = element.Element(one.activation, one.widths, not one.skip)
        for name in activations.NAMES:
            if name != one.activation:
                near[name] = element.Element(name, one.widths, one.skip)
        return {
            "symbol": one.symbol,
            "activation": one.activation,
            "family": about.family,
            "reference": about.reference,
            "widths": list(one.widths),
            "depth": one.depth,
            "skip": one.skip,
            "parameters": one.parameters,
            "neighbours": [{"how": how, "symbol": e.symbol} for how, e in near.items()],
        }

    @functools.cache  # noqa: B019 (one science a server)
    def datasets(self) -> list[dict]:
        jax = self._ready()
        from elements import datasets

        found = []
        for one in datasets.TABLE:
            points = datasets.sample(jax.random.key(0), one.name, 100)
            found.append(
                {
                    "name": one.name,
                    "noise": one.noise,
                    "chance": one.chance,
                    "description": one.description,
                    "points": np.round(np.asarray(points.x, float).T, 3).tolist(),
                    "labels": np.asarray(points.y, int).tolist(),
                }
            )
        return found

    @functools.cache  # noqa: B019
    def activations(self) -> list[dict]:
        self._ready()
        from elements import activations

        z = np.linspace(-4, 4, 81, dtype=np.float32)
        finite = lambda values: [v if math.isfinite(v) else None for v in values]
        return [
            {
                "name": a.name,
                "letters": a.name[:3],
                "family": a.family,
                "reference": a.reference,
                "range": finite(a.range),
                "slope_at_0": a.slope,
                "z": np.round(z, 2).astype(float).tolist(),
                "values": np.round(np.asarray(a.function(z), float), 4).tolist(),
            }
            for a in activations.TABLE
        ]

    def places(self, elements: Sequence[Mapping]) -> tuple[str, str, list[backend.Place]]:
        rows = list(dict.fromkeys(e.get("activation", e["symbol"][:3]) for e in elements))
        shapes = [_shape(e) for e in elements]
        by_depth_only = len({(squares, width, skip) for squares, width, skip, *_ in shapes}) == 1
        by_depth_only &= all(shape[0] for shape in shapes)
        places = []
        for one, shape in zip(elements, shapes, strict=True):
            square, width, skip, depth, widths, parameters = shape
            if by_depth_only:
                column = str(depth)
            else:
                column = f"{depth}×{width}" if square else "·".join(map(str, widths))
                column += " skip" * skip
            order = (not square, skip, width if square else parameters, depth, widths)
            row = one.get("activation", one["symbol"][:3])
            places.append(backend.Place(row, column, (rows.index(row),), order))
        title = "hidden layers" if by_depth_only else "hidden layers × width, or widths"
        return "activation", title, places

    def studies(self) -> list[backend.Study]:
        self._ready()
        return web_studies.studies()

    def title_of(self, study: str) -> str:
        return web_studies.TITLES.get(study, study)

    def check(self, study: str, flags: Mapping[str, str]) -> int | None:
        self._ready()
        return web_studies.check(study, flags)

    def get_ready(self, folder: pathlib.Path, networks: Sequence[Sequence[int]]) -> None:
        self._ready()
        trained, shapes = self._open(folder), set()
        for arm in networks:
            one = trained.arm(arm[0]).element
            if (one.widths, one.skip, len(arm)) not in shapes:
                shapes.add((one.widths, one.skip, len(arm)))
                self.picture(folder, arm, None, backend.RESOLUTION, False)

    def picture(
        self,
        folder: pathlib.Path,
        networks: Sequence[int],
        which: int | None,
        resolution: int,
        animated: bool,
    ) -> backend.Picture:
        self._ready()
        try:
            return self._picture(folder, networks, which, resolution, animated)
        except ValueError as error:
            raise backend.Invalid(str(error)) from error

    def _open(self, folder):
        from experiments.elements_trained import Trained

        began = (folder / "manifest.json").stat().st_ino  # a folder made again is another one
        try:
            return self._trained.get((str(folder), began), lambda: Trained(folder))
        except (KeyError, TypeError) as error:
            raise backend.Invalid(
                f"the networks of {folder.name} cannot be read: its settings are of another version"
            ) from error

    def _picture(self, folder, networks, which, resolution, animated):
        trained = self._open(folder)
        trials = [trained.trial(n) for n in networks]
        x, y, plane = _plane(trials, resolution)
        epochs = trained.population.epochs_recorded
        shown = range(len(networks)) if which is None else [which]
        if animated:
            moments = np.unique(np.linspace(0, len(epochs) - 1, MOST_FRAMES).round().astype(int))
            few = [networks[i] for i in shown][:MOST_ANIMATED]
            said = [_share(trained.logits_over_time(n, plane)[moments]) for n in few]
            frame, epochs = np.mean(said, axis=0), epochs[moments]
        else:
            # All trials at once, whichever is shown: one compiled program serves them all.
            key = (str(folder), trained, tuple(networks), resolution)
            said = self._said.get(key, lambda: trained.logits(networks, plane))
            frame, epochs = _share(said[list(shown)]).mean(0, keepdims=True), epochs[-1:]
        points, labels = _points([trials[i] for i in shown][:MOST_DRAWN])
        frame = frame.reshape(-1, resolution, resolution)
        return backend.Picture(x, y, frame, epochs, points, labels)


def _plane(trials, resolution):
    """Coordinates `[X]` and `[Y]`, and all their pairs `[2, Y X]`: the same for any trial."""
    points = np.concatenate([np.asarray(trial.x) for trial in trials], axis=1)
    low, high = points.min(1), points.max(1)
    pad = MARGIN * (high - low).max()
    x, y = (np.linspace(low[i] - pad, high[i] + pad, resolution) for i in (0, 1))
    return x, y, np.stack([a.ravel() for a in np.meshgrid(x, y)]).astype(np.float32)


def _share(logits) -> np.ndarray:
    """The probability of label 1; a NaN, as of a network that diverged, says nothing: ½."""
    logits = np.nan_to_num(np.asarray(logits, np.float64), nan=0.0, posinf=50.0, neginf=-50.0)
    return 1 / (1 + np.exp(-np.clip(logits, -50, 50)))


def _points(trials) -> tuple[np.ndarray, np.ndarray]:
    """Points `[N, 2]` that were trained on and the labels they had then, a few of each trial."""
    most, found = POINTS // len(trials), []
    for trial in trials:
        used = np.flatnonzero(np.asarray(trial.train.weight) > 0)[:most]
        found.append((np.asarray(trial.x).T[used], np.asarray(trial.train.y)[used]))
    return tuple(map(np.concatenate, zip(*found, strict=True)))


def _shape(one: Mapping) -> tuple:
    """(square, width, skip, depth, widths, parameters) of the properties that results have."""
    widths = [int(w) for w in str(one.get("hidden_layers", "")).split("_") if w]
    if not widths:
        widths = [int(one.get("width", 0))] * int(one.get("depth", 1))
    skip = bool(one.get("skip", "skip" in one["symbol"]))
    square = len(set(widths)) == 1
    return square, max(widths), skip, len(widths), widths, int(one.get("parameters", 0))
