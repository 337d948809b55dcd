r"""Files of any size over a connection, in constant memory.

    +-- header length --+----------- header -----------+-- body --+
    |    00 00 00 19    | {"name":"a.txt","size":5}    | h e l l o |

A file is a message of :class:`~framing.HeaderBodyFramer`: its header holds the file's name and
size, and its SHA-256 digest if the sender wants that.  Files and other messages may follow one
another on a connection::

    framing.files.send_file(sock, "photo.jpg", checksum=True)
    path = framing.files.recv_file(sock, "downloads")      # downloads/photo.jpg

The peer chooses the name, and you choose the directory: only the name of one plain file is
accepted, and the file appears under it when it is complete.

- ``transfer``: the two functions.
- ``new_file``: a file that appears whole or not at all.
- ``names``: which names a peer may give to a file.
"""

from .transfer import recv_file, send_file

__all__ = ["recv_file", "send_file"]
