"""Ray Serve: the HTTP application of `hcflow serve` as a deployment of several replicas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hcflow.models.load import computation
from runtime.errors import ParameterError


def deployment(
    bundles: Sequence[str],
    *,
    token_file: str | None = None,
    no_auth: bool = False,
    load: Mapping[str, Any] | None = None,
    limits: Mapping[str, Any] | None = None,
    **options: Any,
) -> Any:
    """An application for `ray.serve.run`: every path of docs/serving.md, the page included.

        from ray import serve
        from hcflow.batch.ray_serve import deployment

        one_gpu = {"num_gpus": 1}
        serve.run(deployment(["sr_x4"], num_replicas=4, ray_actor_options=one_gpu))

    Each replica opens the models, and is up after one inference of each.

    Args:
        bundles: folders or names of models, on every node; the first is the default.
        token_file: a file, on every node, with the token that requests must carry.
        no_auth: let in everyone who reaches Ray's proxy; without either only requests that call it
            by a name of this machine.
        load: options of `hcflow.load`; by default the fastest here within the budgets.
        limits: fields of `hcflow.serving.limits.Limits`, of each replica.
        **options: of `ray.serve.deployment`.

    Raises:
        ParameterError: both a token file and `no_auth`.
    """
    from ray import serve

    if token_file is not None and no_auth:
        raise ParameterError("token_file and no_auth: give one of them")
    how = {**computation(), **(load or {})}

    def build() -> Any:
        """The application, in the replica that is to serve it."""
        from hcflow.serving.access import Access, read_token
        from hcflow.serving.app import application
        from hcflow.serving.limits import Limits
        from hcflow.serving.served import ServedModels
        from hcflow.serving.server import own_names
        from hcflow.serving.service import Service

        token = None if token_file is None else read_token(token_file)
        is_bare = token is None and not no_auth
        service = Service(ServedModels(list(bundles), how), Limits(**(limits or {})))
        service.models.warm_up()
        service.health.is_warm = True
        return application(service, Access(token, own_names("localhost") if is_bare else None))

    deployed: Any = serve.deployment(**{"name": "hcflow", **options})  # its types know no classes
    return deployed(serve.ingress(build)()).bind()
