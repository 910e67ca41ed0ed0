"""The application: routes, static files, docs without a network, and errors of one sentence."""

import asyncio
import contextlib
import pathlib
import threading

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, JSONResponse
from starlette.staticfiles import StaticFiles

from experiments.shell import run, storage
from experiments.shell.web import (
    api_jobs,
    api_runs,
    api_science,
    backend,
    guard,
    service,
)

STATIC = pathlib.Path(__file__).parent / "static"
ABOUT = """
Runs are read live from their folders; nothing here changes them. Studies are started and
cancelled through `/api/jobs`. An error is one sentence in `detail`.
"""


def create(
    science: backend.Backend, out: pathlib.Path, root: pathlib.Path, host: str = "127.0.0.1"
) -> FastAPI:
    """The application over the runs in `out`; studies are started in folder `root`."""
    s = service.Service(science, out, root)

    @contextlib.asynccontextmanager
    async def lifespan(app):
        threading.Thread(target=s.get_ready, daemon=True).start()
        yield
        await asyncio.to_thread(s.jobs.close)

    app = FastAPI(
        title=science.title,
        description=ABOUT,
        version="1",
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
        lifespan=lifespan,
    )
    app.state.service = s
    for made in (api_runs, api_science, api_jobs):
        app.include_router(made.router(s))
    app.add_middleware(guard.Guard, host=host)
    _errors(app)

    @app.get("/docs", include_in_schema=False)
    def docs():
        return FileResponse(STATIC / "docs.html")

    @app.get("/", include_in_schema=False)
    def page():
        return FileResponse(STATIC / "index.html", headers={"cache-control": "no-cache"})

    app.mount("/static", _Static(directory=STATIC))
    return app


class _Static(StaticFiles):
    """Static files that a browser asks after each time: they change with the program."""

    async def get_response(self, path, scope):
        response = await super().get_response(path, scope)
        response.headers["cache-control"] = "no-cache"
        return response


def _errors(app: FastAPI) -> None:
    codes = {
        backend.Invalid: 400,
        backend.Absent: 404,
        run.Refused: 409,
        storage.Damaged: 409,
    }

    def tell(code):
        return lambda request, error: JSONResponse({"detail": _sentence(str(error))}, code)

    for kind, code in codes.items():
        app.add_exception_handler(kind, tell(code))

    @app.exception_handler(RequestValidationError)
    def unfit(request, error):
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:]) or "the body"
        return JSONResponse({"detail": _sentence(f"{where}: {first['msg']}")}, 422)

    @app.exception_handler(HTTPException)
    def other(request, error):
        said = {404: f"there is nothing at {request.url.path[:100]}"}
        detail = said.get(error.status_code, str(error.detail))
        return JSONResponse({"detail": detail}, error.status_code, headers=error.headers)

    @app.exception_handler(Exception)
    def broken(request, error):
        detail = (
            f"this failed in the server, which tells why in its terminal: {type(error).__name__}"
        )
        return JSONResponse({"detail": detail}, 500)


def _sentence(text: str) -> str:
    return " ".join(text.split())
