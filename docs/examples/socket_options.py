"""What you can ask a socket, and what you can set: type, family, addresses, options.

Run it: everything is shown on real sockets of this machine, with what it is for.
"""

import socket


def main() -> None:
    """Show the attributes and options of a connection and of a datagram socket."""
    show_attributes()
    show_options()


def show_attributes() -> None:
    """Connect to ourselves, and show both ends."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        show("listener.getsockname()", listener.getsockname(), "the port 0 has become a free one")
        with socket.create_connection(listener.getsockname()) as client:
            server, peer = listener.accept()
            with server:
                show("client.family", client.family.name, "AF_INET6 for IPv6, AF_UNIX for files")
                show("client.type", client.type.name, "a stream; SOCK_DGRAM is for datagrams")
                show("client.fileno()", client.fileno(), "the system's number for it")
                show("client.gettimeout()", client.gettimeout(), "None waits for ever")
                show("client.getsockname()", client.getsockname(), "its own address")
                show("client.getpeername()", client.getpeername(), "the other's address")
                show("server.getsockname()", server.getsockname(), "as the listener's")
                show("accept()[1]", peer, "as server.getpeername(): where the client is")
        show("client.fileno()", client.fileno(), "-1: it is closed")


def show_options() -> None:
    """Read options, set them, and read them again."""
    with socket.socket() as sock:
        change(sock, "SO_REUSEADDR", 1, "bind although old connections to the port linger")
        change(sock, "SO_KEEPALIVE", 1, "find out after hours that a silent peer is gone")
        # Linux makes it twice as much as was asked for, since it counts its own structures too.
        change(sock, "SO_RCVBUF", 50_000, "how much may arrive before recv is called")
        change(sock, "SO_SNDBUF", 50_000, "how much send takes before it blocks")
        before = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        after = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        show("TCP_NODELAY", f"{before} -> {after}", "send small messages at once")
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        change(sock, "SO_BROADCAST", 1, "for datagrams: allow to send to everybody")


def change(sock: socket.socket, name: str, value: int, purpose: str) -> None:
    """Set an option of all kinds of sockets, and show it before and after."""
    option = getattr(socket, name)
    before = sock.getsockopt(socket.SOL_SOCKET, option)
    sock.setsockopt(socket.SOL_SOCKET, option, value)
    show(name, f"{before} -> {sock.getsockopt(socket.SOL_SOCKET, option)}", purpose)


def show(name: str, value: object, purpose: str) -> None:
    """Print one line of the table."""
    print(f"{name:<23}{value!s:<24}{purpose}")


if __name__ == "__main__":
    main()
