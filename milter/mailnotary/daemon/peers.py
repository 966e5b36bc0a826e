"""Who may connect over TCP: a filter in the kernel on the listening socket (socket(7), SO_ATTACH_FILTER).

libmilter accepts connections by itself, and its callbacks see the address of the SMTP client, never that of the MTA
that speaks. So it is decided before: packets from anybody else never reach the socket, and to them it looks as if
nobody listened there and nobody said so. Connections inherit the filter. Linux wants no
privilege for that, but some kernels and container sandboxes do.
"""

import ctypes
import socket
import struct
from collections.abc import Iterable
from typing import Final

from mailnotary.config.settings import Network

_SO_ATTACH_FILTER: Final = 26  # asm-generic/socket.h; `socket` has no name for it
# Classic BPF (linux/bpf_common.h, linux/filter.h).
_LOAD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS: a word of the packet, in host order
_AND: Final = 0x54  # BPF_ALU | BPF_AND | BPF_K
_IF_EQUAL: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K: instructions to skip if so, and if not
_RETURN: Final = 0x06  # BPF_RET | BPF_K: how much of the packet is let through
_ALL, _NOTHING = 0xFFFF_FFFF, 0
_NETWORK_HEADER: Final = 0xFFF0_0000  # SKF_NET_OFF: where the IP header begins
_SOURCE = {4: 12, 6: 8}  # where in it the source address does (RFC 791 section 3.1, RFC 8200 section 3)

_Instruction = tuple[int, int, int, int]


def admit(sock: socket.socket, networks: Iterable[Network]) -> None:
    """Lets these connect to a TCP socket and nobody else. Call it before bind. Raises OSError; ValueError where none of
    the networks is of the socket's family."""
    version = 6 if sock.family == socket.AF_INET6 else 4
    blocks = [_block(network) for network in networks if network.version == version]
    if not blocks:
        raise ValueError(f"none of them is an IPv{version} network, so nobody could connect")
    program = [instruction for block in blocks for instruction in block] + [(_RETURN, 0, 0, _NOTHING)]
    octets = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *instruction) for instruction in program))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", len(program), ctypes.addressof(octets)))


def _block(network: Network) -> list[_Instruction]:
    """Lets a packet through whose source is in this network, else goes on behind itself."""
    words = network.max_prefixlen // 32
    program: list[_Instruction] = [(_RETURN, 0, 0, _ALL)]
    for number in reversed(range(words)):
        shift = 32 * (words - 1 - number)
        mask = int(network.netmask) >> shift & _ALL
        if mask:
            wanted = int(network.network_address) >> shift & _ALL
            place = _NETWORK_HEADER + _SOURCE[network.version] + 4 * number
            program = [(_LOAD, 0, 0, place), (_AND, 0, 0, mask), (_IF_EQUAL, 0, len(program), wanted), *program]
    return program
