"""How this process asks MLflow: not for long, and telling nobody. MLflow is imported only then: it takes 2 s."""


def keep_requests_short(*, timeout_s: int, retries: int = 0) -> None:
    """Short waits, no telemetry, no progress bars of artifacts. What the environment says of waits counts more.

    timeout_s, retries
        Of each request. MLflow's own 120 s and seven retries with back-off take minutes to say that nobody is there.
    """
    from mlflow import environment_variables as knobs
    from mlflow.telemetry import set_telemetry_client

    for knob, value in (
        (knobs.MLFLOW_HTTP_REQUEST_MAX_RETRIES, retries),
        (knobs.MLFLOW_HTTP_REQUEST_TIMEOUT, timeout_s),
    ):
        if not knob.is_set():
            knob.set(value)
    knobs.MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR.set(False)
    knobs.MLFLOW_DISABLE_TELEMETRY.set(True)
    set_telemetry_client()
