"""Whole messages over sockets: the functions, ``MessageSocket``, and what both stand on.

- ``functions``: ``send_msg`` and ``recv_msg``, for any connected stream.
- ``message_socket``: ``MessageSocket`` and ``connect``, for apps.
- ``channel``: attempts on one socket that never wait, and the waiting between them.  Bytes come
  in and go out there, and nowhere else but in the short paths of the two functions.
- ``turn``: one direction of a socket, which one call at a time may use.
- ``checks``: what a socket and an address have to be.
"""
