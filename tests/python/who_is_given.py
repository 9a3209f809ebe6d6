"""Who is given a port by the kernel: everybody here leaves it no other choice (IP_LOCAL_PORT_RANGE, Linux 6.3).

Usage: who_is_given.py PORT. Prints "unsupported" where the kernel does not know that option."""

import errno
import socket
import struct
import sys

IP_LOCAL_PORT_RANGE = 51
REFUSED = (errno.EADDRINUSE, errno.EADDRNOTAVAIL)

port = int(sys.argv[1])
listener = socket.create_server(("127.0.0.1", 0))


def bind(address, reuse):
    def act(own):
        own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse)
        own.bind((address, 0))

    return act


ACTS = {
    "bind": bind("127.0.0.1", 0),
    "bind with SO_REUSEADDR": bind("127.0.0.1", 1),
    "bind on all addresses": bind("0.0.0.0", 0),
    "call a server": lambda own: own.connect(listener.getsockname()),
    "call the port itself": lambda own: own.connect(("127.0.0.1", port)),
}


def is_given(act):
    with socket.socket() as own:
        own.setsockopt(socket.IPPROTO_IP, IP_LOCAL_PORT_RANGE, struct.pack("=I", port << 16 | port))
        # Closed at once: nothing of this caller stays on the port.
        own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        try:
            act(own)
        except OSError as error:
            if error.errno not in REFUSED:
                raise
            return False
        assert own.getsockname()[1] == port
        return True


try:
    print(", ".join(name for name, act in ACTS.items() if is_given(act)) or "nobody")
except OSError as error:
    if error.errno != errno.ENOPROTOOPT:
        raise
    print("unsupported")
