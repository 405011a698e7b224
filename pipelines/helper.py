"""More processes for the stream's Python: one core is what its batches wait for.

The stream hands over a share (records as Arrow's IPC bytes, and the store as the batch found it); the helper carries it
out and answers with what became of it, or what was raised. Between batches it does nothing, and it ends with the
stream, however that ends.
"""

import gc
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from multiprocessing.connection import Connection

import pyarrow as pa
import redis

from firstmile.errors import DependencyError, FirstmileError
from firstmile.local.process import die_with_parent
from firstmile.settings import Settings, as_environment, load_settings
from pipelines.share import Before, Done, share_writer

log = logging.getLogger(__name__)

STOP_S = 30.0


class Helper:
    """A process that does shares of batches, begun at once and ready a few seconds later; whoever hands it one waits.

    To be made in the main thread: the process ends with the thread that made it.
    """

    def __init__(self, settings: Settings, topic_ids: Mapping[str, str]) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pipelines.helper", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr.fileno(),
                pass_fds=[theirs.fileno()],
                env={**os.environ, **as_environment(settings)},
                preexec_fn=die_with_parent(signal.SIGKILL),
            )
        self._connection = Connection(ours.detach())
        self._connection.send(dict(topic_ids))

    def begin(self, records: pa.Table, before: Before) -> None:
        """Hand a share over; `end` says what became of it."""
        try:
            self._connection.send(before)
            self._connection.send_bytes(_bytes_of(records))
        except OSError:
            log.warning("the stream's helper, pid %s, does not take its share", self.process.pid)

    def end(self) -> Done | Exception:
        """Wait for it: what became of it, or what was raised; DependencyError when the process has ended."""
        try:
            answer: Done | Exception = self._connection.recv()
        except (EOFError, OSError):
            return DependencyError(
                f"the stream's helper, pid {self.process.pid}, ended in the middle of a batch, which will be done "
                "again: start the stream again"
            )
        return answer

    def close(self) -> None:
        """End it."""
        self._connection.close()
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _bytes_of(records: pa.Table) -> pa.Buffer:
    out = pa.BufferOutputStream()
    with pa.ipc.new_stream(out, records.schema) as stream:
        stream.write_table(records)
    return out.getvalue()


def _serve(connection: Connection) -> None:
    share = share_writer(load_settings(), connection.recv())
    gc.freeze()
    while True:
        before: Before = connection.recv()
        with pa.ipc.open_stream(pa.py_buffer(connection.recv_bytes())) as stream:
            records = stream.read_all()
        answer: Done | Exception
        try:
            answer = share.write(records, before)
        except (FirstmileError, redis.RedisError) as error:
            answer = error
        except Exception as error:  # the process's edge: the stream raises it
            log.exception("a share of a batch was not carried out")
            answer = FirstmileError(f"a helper of the stream failed: {error!r}; the lines above have the whole trace")
        connection.send(answer)


def _main() -> None:
    # The stream ends it, by closing the connection: a Ctrl-C at a terminal and a manager's SIGTERM go to both.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    logging.basicConfig(level="WARNING", format="%(asctime)s %(levelname)s %(message)s")
    try:
        _serve(Connection(int(sys.argv[1])))
    except EOFError:
        return


if __name__ == "__main__":
    _main()
