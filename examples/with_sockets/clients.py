#!/usr/bin/env python3
"""Runs the gateway with some clients, checks that each gets every quote, and ends the gateway with SIGINT.

usage: clients.py GATEWAY CLIENTS QUOTES ORDERS

Each client reads so many quotes, which have to come without a gap. All but the last send so many orders and say that
these were all; the last one is still there, and sends half an order, when the SIGINT comes.
"""

import signal
import socket
import subprocess
import sys

PATIENCE_S = 40  # a watchdog, shorter than that of whoever runs this


def check(condition, words):
    if not condition:
        raise SystemExit(f"FAULT: {words}")


def main():
    path, client_count, quote_count, order_count = sys.argv[1], *map(int, sys.argv[2:])
    signal.alarm(PATIENCE_S)  # ends this by a signal; the gateway is ended below, or with its output
    gateway = subprocess.Popen([path, "--subscribers", "1"], stdout=subprocess.PIPE, text=True)
    signal.signal(signal.SIGALRM, lambda *_: (gateway.kill(), sys.exit("FAULT: still waiting")))
    try:
        first = gateway.stdout.readline()
        check(first.startswith("listening on 127.0.0.1:"), f"the gateway says {first!r}")
        port = int(first.rsplit(":", 1)[1])
        clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(client_count)]
        lines = [client.makefile("r") for client in clients]
        for line in lines:
            numbers = [int(line.readline().split()[0]) for _ in range(quote_count)]
            check(numbers == list(range(quote_count)), f"the quotes are {numbers}")
        for number, client in enumerate(clients[:-1]):
            for order in range(order_count):
                client.sendall(f"client {number} buys".encode())
                client.sendall(f" {order}\n".encode())
            client.shutdown(socket.SHUT_WR)
            lines[number].read()  # to its end: the gateway has taken everything
        clients[-1].sendall(b"half an ord")
        gateway.send_signal(signal.SIGINT)
        rest = gateway.stdout.read()
        check(gateway.wait() == 0, f"the gateway ended with status {gateway.returncode}")
        wanted = f"stopped; published {(client_count - 1) * order_count} orders"
        check(wanted in rest, f"the gateway says {rest!r}")
        lines[-1].read()
    finally:
        gateway.kill()
    print(f"{client_count} clients had {quote_count} quotes each, and the gateway stopped")


if __name__ == "__main__":
    main()
