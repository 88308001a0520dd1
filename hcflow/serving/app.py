"""The HTTP application: its paths, and the boundary that every request and answer passes."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import FastAPI, Query
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from hcflow.pages import api, drop
from hcflow.serving import kserve
from hcflow.serving.access import Access
from hcflow.serving.exchange import IS_FULL, ClientGone, Exchange, error_body
from hcflow.serving.limits import RefusedError
from hcflow.serving.options import MEDIA_TYPES, DownscaleOptions, UpscaleOptions
from hcflow.serving.served import goes
from hcflow.serving.service import Service, refusal_of
from hcflow.version import __version__
from runtime.errors import HcflowError, one_line

_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_FILE = {"schema": {"type": "string", "format": "binary"}}
_FORM = {"schema": {"type": "object", "properties": {"image": _FILE["schema"]}}}
_BODY = {
    "requestBody": {
        "required": True,
        "description": "The file of an image, as the body or as the file of a form.",
        "content": {"image/*": _FILE, "multipart/form-data": _FORM},
    }
}
_ERRORS = {
    401: "The token is missing or wrong.",
    406: "No format is accepted that can be written.",
    408: "The body came too slowly.",
    413: "Too many bytes or pixels.",
    415: "There is no image.",
    422: "An option or the image cannot be used.",
    503: "Too many requests are waiting; Retry-After says when to try again.",
    504: "It took too long and was stopped.",
}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The result's file, in a format that Accept allows; else PNG.",
        "content": dict.fromkeys(MEDIA_TYPES.values(), _FILE),
    },
    **{status: {"description": text} for status, text in _ERRORS.items()},
}

_END = {"retry-after": "1", "connection": "close"}

_logger = logging.getLogger(__name__)


def application(service: Service, access: Access) -> ASGIApp:
    """The whole application, for any ASGI server.

    It finishes what runs when the server ends it. Whoever starts it calls `service.health.warm_up`
    once; until that has passed it is not ready.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await service.workers.close()

    app = FastAPI(
        title="hcflow serve",
        version=__version__,
        description="Images in, images out. Errors are JSON: an object with `error`.",
        docs_url=None,  # its pages load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    _add_conversions(app, service)
    _add_operations(app, service)
    app.include_router(kserve.router(service))
    _add_errors(app)
    return Boundary(app, service, access)


def _add_conversions(app: FastAPI, service: Service) -> None:
    how: dict[str, Any] = {
        "tags": ["Images"],
        "responses": _ANSWERS,
        "response_class": Response,
        "openapi_extra": _BODY,
    }

    @app.post("/v1/upscale", **how)
    async def upscale(request: Request, options: Annotated[UpscaleOptions, Query()]) -> Response:
        """Upscale an image as `hcflow upscale` does a file."""
        return await service.convert(request, options)

    @app.post("/v1/downscale", **how)
    async def downscale(
        request: Request, options: Annotated[DownscaleOptions, Query()]
    ) -> Response:
        """Downscale an image as `hcflow downscale` does a file, with its record."""
        return await service.convert(request, options)

    @app.get("/v1/models", tags=["Images"])
    async def models() -> list[dict[str, Any]]:
        """The models that are served; the first is the default."""
        return [
            {
                "name": name,
                "task": model.task,
                "scale": model.scale,
                "tau": model.default_tau,
                "directions": [d for d in ("upscale", "downscale") if goes(model, d)],
            }
            for name, model in service.models.by_name.items()
        ]


def _add_operations(app: FastAPI, service: Service) -> None:
    @app.get("/health/live", tags=["Operation"])
    async def live() -> dict[str, bool]:
        """Whether the server runs."""
        return {"live": True}

    @app.get("/health/ready", tags=["Operation"])
    async def ready() -> Response:
        """Whether an inference has passed, and the last one did; 503 otherwise."""
        problem = await service.problem()
        return JSONResponse({"ready": problem is None, "problem": problem}, 503 if problem else 200)

    @app.get("/metrics", tags=["Operation"])
    async def metrics() -> Response:
        """Figures in Prometheus's format."""
        return Response(service.metrics.text(), headers={"content-type": _METRICS_TYPE})

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return HTMLResponse(drop.served(), headers={"x-frame-options": "DENY"})

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return HTMLResponse(api.render(app.openapi()))


def _add_errors(app: FastAPI) -> None:
    """Every error is JSON with `error`, as the clients of KServe read it, too."""

    async def known(_: Request, error: Exception) -> Response:
        if isinstance(error, ClientGone):
            raise error
        refusal = refusal_of(error)
        if refusal.status == 500:
            _logger.error("a request failed: %s: %s", type(error).__name__, one_line(error))
        return Response(
            error_body(str(refusal)), refusal.status, refusal.headers, "application/json"
        )

    async def invalid(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"][1:2])
        return Response(error_body(f"option {name}: {first['msg']}"), 422, None, "application/json")

    async def unknown(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return Response(
            error_body(str(error.detail)), error.status_code, error.headers, "application/json"
        )

    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, unknown)
    kinds: tuple[type[Exception], ...] = (HcflowError, MemoryError, OSError, Exception)
    for kind in kinds:
        app.add_exception_handler(kind, known)


class Boundary:
    """What every request passes first and every answer last.

    Who may not enter is refused here, bytes are counted as held, clients are timed, and whatever
    goes wrong ends in an answer and a count.
    """

    def __init__(self, app: ASGIApp, service: Service, access: Access) -> None:
        self._app, self._service, self._access = app, service, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, as ASGI has it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        service = self._service
        lease = service.held.lease()
        exchange = Exchange(scope, receive, send, service.limits, lease)
        scope["hcflow.exchange"] = exchange
        try:
            if scope.get(IS_FULL, False):
                raise RefusedError(
                    503, "too many connections are open: try again in a moment", _END
                )
            self._access.check(scope)
            await self._app(scope, exchange.receive, exchange.send)
        except ClientGone:
            service.metrics.gone.inc()
        except RefusedError as refusal:
            await exchange.refuse(refusal)
        except Exception:
            # Starlette has answered, and raises again what is a fault of the program.
            _logger.exception("a request has met a fault of the program; please report it")
        finally:
            lease.close()
            if exchange.status is not None:
                path = getattr(scope.get("route"), "path", "other")
                service.metrics.requests.labels(path, str(exchange.status)).inc()
