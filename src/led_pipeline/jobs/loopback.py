"""Run torchrun on one machine with a rendezvous that listens on 127.0.0.1 only.

torchrun's own rendezvous listens on all interfaces, even with a local address. This one gives its store a socket that
is already bound. Run as `python -m led_pipeline.jobs.loopback --nproc-per-node=N -m MODULE ARGUMENTS`, with torchrun's
options.
"""

import socket
import sys

from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]  # public, but not in its __all__
from torch.distributed.elastic.rendezvous import (
    RendezvousHandler,
    RendezvousInfo,
    RendezvousParameters,
    RendezvousStoreInfo,
    rendezvous_handler_registry,
)
from torch.distributed.run import main

ADDRESS = "127.0.0.1"
NAME = "loopback"


class Loopback(RendezvousHandler):
    """The rendezvous of a single node: its agent owns the store through which the agent's processes meet."""

    def __init__(self, parameters: RendezvousParameters):
        self.parameters = parameters
        listening = socket.create_server((ADDRESS, 0))
        self.port = listening.getsockname()[1]
        self.store = TCPStore(
            ADDRESS, self.port, is_master=True, wait_for_workers=False, master_listen_fd=listening.detach()
        )

    def get_backend(self) -> str:
        return NAME

    @property
    def use_agent_store(self) -> bool:
        return True

    def next_rendezvous(self) -> RendezvousInfo:
        store = PrefixStore(self.get_run_id(), self.store)
        return RendezvousInfo(store, 0, 1, RendezvousStoreInfo(ADDRESS, self.port))

    def is_closed(self) -> bool:
        return False

    def set_closed(self) -> None:
        pass

    def num_nodes_waiting(self) -> int:
        return 0

    def get_run_id(self) -> str:
        return self.parameters.run_id

    def shutdown(self) -> bool:
        return True


if __name__ == "__main__":
    rendezvous_handler_registry.register(NAME, Loopback)
    main(["--nnodes=1", f"--rdzv-backend={NAME}", f"--rdzv-endpoint={ADDRESS}", *sys.argv[1:]])
