"""The service with one more route, which blocks the event loop of the worker that takes it: a planted fault."""

import sys
import time

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from serving.service import Personalization as Personalization
from serving.service import app


async def block(request: Request) -> Response:
    """Says in the log that nothing else is answered from here on, and never gives the loop back."""
    sys.stderr.write("blocked from here on\n")
    time.sleep(600)
    return Response()


app.router.routes.insert(0, Route("/block", block))  # before the one that takes every other path
