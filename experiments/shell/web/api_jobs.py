"""Routes that start, follow and cancel studies."""

from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field

from experiments.shell.web import backend, jobs, service

MOST_FLAGS = 60
LONGEST_VALUE = 2000


class Order(BaseModel):
    """A study by name, and the flags that are not to have their defaults."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"study": "elements_phase3", "flags": {"activations": "sine,tanh", "trials": "5"}}
            ]
        },
    )
    study: str = Field(max_length=100)
    flags: dict[str, str | int | float | bool] = Field(default={}, max_length=MOST_FLAGS)


Number = Annotated[int, Path(description="number of a job", ge=1, le=10**9)]


def router(s: service.Service) -> APIRouter:
    api = APIRouter(prefix="/api", tags=["jobs"])

    @api.get("/studies")
    def studies():
        """The studies that can be started, with their flags and bounds."""
        return service.reply(
            [
                {
                    **study._asdict(),
                    "flags": [flag._asdict() for flag in study.flags],
                    "command": f"python -m {study.module}",
                }
                for study in s.science.studies()
            ]
        )

    @api.get("/jobs")
    def list_jobs():
        """Jobs of this server, the newest first."""
        return service.reply([_told(s, job) for job in s.jobs.known()])

    @api.get("/jobs/{job}")
    def one_job(job: Number):
        """A job: its state, the last lines it wrote, and the progress of its runs."""
        return service.reply(_told(s, s.jobs.find(job)))

    @api.post("/jobs", status_code=201)
    def start(order: Order):
        """Starts a study, or queues it behind the one that runs."""
        study = next((x for x in s.science.studies() if x.name == order.study), None)
        if study is None:
            names = ", ".join(x.name for x in s.science.studies())
            raise backend.Invalid(f"unknown study {order.study!r} (allowed: {names})")
        flags = {name: _text(value) for name, value in order.flags.items()}
        for name, value in flags.items():
            known = next((flag for flag in study.flags if flag.name == name), None)
            if known is None:
                raise backend.Invalid(f"{study.name} has no flag {name[:60]!r}")
            check(known, value)
        size = s.science.check(study.name, flags)
        told = _told(s, s.jobs.start(study, flags))
        return service.reply({**told, "size": size}, 201)

    @api.post("/jobs/{job}/cancel")
    def cancel(job: Number):
        """Cancels a job; what it has stored stays, and the same study would go on from there."""
        return service.reply(_told(s, s.jobs.cancel(job)))

    return api


def check(flag: backend.Flag, text: str) -> None:
    """Refuses a value that is not of the flag's kind or not within its bounds."""
    if len(text) > LONGEST_VALUE or not text.isprintable():
        raise backend.Invalid(f"{flag.name} must be one line of at most {LONGEST_VALUE} letters")
    values = [v.strip() for v in text.split(",")] if flag.many else [text.strip()]
    for value in values:
        if value == "" and flag.kind != "text":
            raise backend.Invalid(f"{flag.name} is empty: leave it out for its default")
        if flag.choices and value not in flag.choices:
            allowed = ", ".join(flag.choices)
            raise backend.Invalid(f"unknown {flag.name} {value!r} (allowed: {allowed})")
        if flag.kind == "boolean" and value not in ("true", "false"):
            raise backend.Invalid(f"{flag.name} takes true or false, got {value!r}")
        if flag.kind in ("integer", "number"):
            _check_number(flag, value)


def _check_number(flag, value):
    kind, name = (int, "a whole number") if flag.kind == "integer" else (float, "a number")
    try:
        number = kind(value)
    except ValueError:
        raise backend.Invalid(f"{flag.name} takes {name}, got {value[:40]!r}") from None
    inside = (flag.least is None or number >= flag.least) and (
        flag.most is None or number <= flag.most
    )
    if not inside or number != number:
        bounds = f"{_said(flag.least)} to {_said(flag.most)}"
        raise backend.Invalid(f"{flag.name} takes {bounds} here, got {value[:40]}")


def _said(bound) -> str:
    return "any" if bound is None else f"{bound:,g}" if bound < 1e6 else f"{bound:,.0f}"


def _text(value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _told(s, job: jobs.Job) -> dict:
    progress = s.jobs.progress(job)
    return {**job.describe(), "progress": progress}
