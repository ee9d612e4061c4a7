"""simulation: benchmarks: the bare app's server: rounds of empty messages to all nodes by `send_and_receive`.

The time of every round goes to a file, a line a round, as rounds end.
"""

import time
from pathlib import Path

from flwr.app import Context, Message, RecordDict
from flwr.serverapp import Grid, ServerApp

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Do `rounds` rounds with `nodes` nodes; the seconds of each go to the file `out`."""
    count, out = int(str(context.run_config["nodes"])), Path(str(context.run_config["out"]))
    while len(nodes := list(grid.get_node_ids())) < count:
        time.sleep(0.1)
    for _ in range(int(str(context.run_config["rounds"]))):
        begun = time.perf_counter()
        messages = [Message(RecordDict(), dst_node_id=node, message_type="query") for node in nodes]
        replies = list(grid.send_and_receive(messages))
        if len(replies) != count or any(reply.has_error() for reply in replies):
            raise RuntimeError("a node did not answer")
        with out.open("a", encoding="utf-8") as file:
            file.write(f"{time.perf_counter() - begun}\n")
