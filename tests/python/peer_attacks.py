"""Knocks at a zone's peer listener with nothing but the standard library.
Usage: peer_attacks.py HOST PORT ATTACK [CERTIFICATE KEY [FROM TO]]. Prints how it ended: "refused" when the other side ended
the connection before it had sent one frame, "hello" when it had greeted this side and then ended it."""

import socket
import ssl
import struct
import sys
import time

PATIENCE = 20  # seconds in which the other side must have ended the connection
LONGEST = 256 * 1024


def tls(address, identity):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    if identity:
        context.load_cert_chain(*identity)
    return context.wrap_socket(plain(address))


def plain(address):
    return socket.create_connection(address, timeout=PATIENCE)


def hello(sender, receiver):
    names = [bytes([len(name)]) + name.encode() for name in (sender, receiver)]
    return framed(bytes([1]) + b"".join(names))


def framed(content):
    return struct.pack(">I", len(content)) + content


def outcome(stream):
    """What comes until the other side ends the connection; a connection that stays open fails."""
    received = b""
    try:
        while True:
            piece = stream.recv(65536)
            if not piece:
                break
            received += piece
    except TimeoutError:
        raise SystemExit(f"the connection is still open after {PATIENCE} s")
    except (ssl.SSLError, ConnectionError):
        pass
    # Who does not get as far as TLS may be told so in an alert.
    is_alert = received[:1] == b"\x15" and len(received) <= 7
    return "hello" if received and not is_alert else "refused"


def attempt(stream, content):
    try:
        stream.sendall(content)
    except (ssl.SSLError, ConnectionError):
        pass
    return outcome(stream)


def main():
    host, port, attack, *rest = sys.argv[1:]
    address = (host, int(port))
    identity, names = tuple(rest[:2]), rest[2:]
    try:
        if attack == "garbage":
            ended = attempt(plain(address), b"GET / HTTP/1.1\r\nHost: kms\r\n\r\n" + bytes(range(256)) * 64)
        elif attack == "no-certificate":
            ended = attempt(tls(address, None), hello(*names) if names else framed(b"x"))
        elif attack == "oversized":
            ended = attempt(tls(address, identity), hello(*names) + struct.pack(">I", LONGEST + 1) + bytes(LONGEST + 1))
        elif attack == "oversized-hello":
            ended = attempt(tls(address, identity), struct.pack(">I", 0xFFFFFFFF) + bytes(LONGEST))
        elif attack == "nonsense":
            ended = attempt(tls(address, identity), hello(*names) + framed(b"\xa5" * 4096))
        elif attack == "tls-1.2":
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            context.load_cert_chain(*identity)
            ended = attempt(context.wrap_socket(plain(address)), hello(*names))
        else:
            raise SystemExit(f"unknown attack {attack}")
    except (ssl.SSLError, ConnectionError):
        ended = "refused"
    print(ended)


begin = time.monotonic()
main()
assert time.monotonic() - begin < PATIENCE, "the connection was held open"
