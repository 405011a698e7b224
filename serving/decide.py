"""`firstmile decide USER`: one decision through the HTTP API; `--replay REQUEST_ID`: one of the log, made again."""

import urllib.error
import urllib.request
from typing import Annotated, Any

import orjson
import typer

from firstmile.cli import emit
from firstmile.errors import DataError, DependencyError, UsageError
from firstmile.setting_sections import ServingSettings
from firstmile.settings import load_settings
from serving.address import PREFIX, ROUTE, base_address

TIMEOUT_S = 5.0


def run(
    user: Annotated[str, typer.Argument(help="user_id, for example u17")] = "",
    page: Annotated[str, typer.Option(help="the page that asks, for example /welcome")] = "",
    limit: Annotated[int, typer.Option(min=1, max=50, help="how many recommendations")] = 5,
    explain: Annotated[bool, typer.Option("--explain", help="say which features moved the scores most")] = False,
    replay: Annotated[str, typer.Option(help="request_id of a logged decision to make again")] = "",
) -> None:
    """Ask the decision API for one user, or make a logged decision again."""
    if replay:
        from serving.replay import run as run_replay  # loads models, which who asks the API does not need

        run_replay(replay)
        return
    if not user:
        raise UsageError("whom to decide for? give a user_id, or --replay REQUEST_ID")
    context = {"page": page} if page else {}
    wanted = {"user_id": user, "context": context, "limit": limit, "explain": explain}
    emit(ask(load_settings().serving, wanted))


def ask(serving: ServingSettings, body: dict[str, Any]) -> dict[str, Any]:
    """The answer to one request.

    Raises DependencyError when the API is not up, DataError when it refuses the request.
    """
    url = base_address(serving) + PREFIX + ROUTE
    headers = {
        "Authorization": f"Bearer {serving.api_key.get_secret_value()}",
        "Content-Type": "application/json",
    }
    request = urllib.request.Request(url, orjson.dumps(body), headers)
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
            found: dict[str, Any] = orjson.loads(answer.read())
            return found
    except urllib.error.HTTPError as error:
        raise DataError(f"{url} answered {error.code}: {_said(error.read())}") from error
    except OSError as error:
        reason = getattr(error, "reason", error)
        raise DependencyError(
            f"the decision API at {base_address(serving)} does not answer ({reason}); start it with `firstmile serve`"
        ) from error


def _said(body: bytes) -> str:
    try:
        error = orjson.loads(body)["error"]
        return f"{error['message']}; {error['hint']}"
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return body[:200].decode(errors="replace")
