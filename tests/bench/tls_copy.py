"""The least that bulk over TLS costs in Python: blocking sockets, OpenSSL, one buffer, a thread for each connection.

    python tls_copy.py PORT TLS_PORT CA

carries each connection to PORT of 127.0.0.1 over TLS to TLS_PORT. It has no handshake of a proxy, no log, no timeout.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import sys
import threading

_BUFFER = 256 * 1024


def _carry(client: socket.socket, tls_port: int, context: ssl.SSLContext) -> None:
    buffer = memoryview(bytearray(_BUFFER))
    with (
        client,
        socket.create_connection(("127.0.0.1", tls_port)) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as server,
        contextlib.suppress(OSError),
    ):
        while True:
            if client in (ready := select.select([client, server], [], [])[0]):
                if not (count := client.recv_into(buffer)):
                    return
                server.sendall(buffer[:count])
            if server in ready:
                server.setblocking(False)
                with contextlib.suppress(ssl.SSLWantReadError):  # a session ticket, for instance, is no data
                    while count := server.recv_into(buffer):
                        client.sendall(buffer[:count])
                    return
                server.setblocking(True)


def main() -> None:
    port, tls_port, ca = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    context = ssl.create_default_context(cafile=ca)
    with socket.create_server(("127.0.0.1", port), backlog=128) as listener:
        while True:
            client, _ = listener.accept()
            threading.Thread(target=_carry, args=(client, tls_port, context), daemon=True).start()


if __name__ == "__main__":
    main()
