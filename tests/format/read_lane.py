#!/usr/bin/env python3
"""Reads a live bus from its files, written from docs/format alone: read_lane.py BUS [TOPIC]

Nothing here changes anything, and no publisher notices. Without a topic it lists what is there; with one it prints the
messages that are whole, `lane sequence stamp hex`, a line each.
"""

import mmap
import os
import struct
import sys

SHM = "/dev/shm"
CLAIMED, MESSAGE, VOID, SKIP = 1, 2, 3, 4
STAMPED, CHECKED = 1, 2


class Corrupt(Exception):
    pass


def u32(data, at):
    return struct.unpack_from("<I", data, at)[0]


def u64(data, at):
    return struct.unpack_from("<Q", data, at)[0]


def text(data, at, size):
    return bytes(data[at : at + size]).split(b"\0", 1)[0].decode()


def align_up(value, alignment):
    return (value + alignment - 1) // alignment * alignment


def opened(name, magic, features=0):
    """The mapped file, checked as far as every file is: it has these features and no others."""
    with open(os.path.join(SHM, name), "rb") as file:
        data = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    if bytes(data[0:8]) != magic:
        raise Corrupt(f"{name}: another magic")
    major, _ = struct.unpack_from("<HH", data, 8)
    if major != 1 or u64(data, 16) != features:
        raise Corrupt(f"{name}: of another version")
    if u64(data, 40) > len(data):
        raise Corrupt(f"{name}: cut short")
    return data


def nodes(bus):
    data = opened(f"quoit.{bus}", b"\0oqtbus1", 1)
    for index in range(u32(data, 36)):
        at = 4096 + 384 * index
        if u64(data, at) == 1:
            yield {"index": index, "generation": u64(data, at + 8), "pid": u32(data, at + 40), "name": text(data, at + 48, 48)}


def topics(bus):
    prefix = f"quoit.{bus}."
    for name in sorted(os.listdir(SHM)):
        if name.startswith(prefix) and "@" not in name:
            yield name[len(prefix) :].replace("+", "/")


def topic(bus, name):
    data = opened("quoit." + bus + "." + name.lstrip("/").replace("/", "+"), b"oqttopc1", features=2)  # `storage` says where it is kept
    publishers, subscriptions = u32(data, 36), u32(data, 68)
    found = {
        "type": text(data, 256, 192), "fields": text(data, 448, 1792), "bytes": u32(data, 72), "publishers": [],
        "subscriptions": [],
    }  # fmt: skip
    for i in range(publishers):
        at = 4096 + 128 * i
        if u64(data, at) in (1, 2, 3):
            found["publishers"].append({"state": u64(data, at), "lane": u64(data, at + 8), "node": u32(data, at + 24)})
    for i in range(subscriptions):
        at = 4096 + 128 * publishers + 128 * i
        if u64(data, at) == 1:
            found["subscriptions"].append({"number": i, "node": u32(data, at + 16), "mode": u32(data, at + 24)})
    return found


class Lane:
    def __init__(self, bus, name, generation):
        self.data = opened(f"quoit.{bus}.{name.lstrip('/').replace('/', '+')}@{generation}", b"oqtlane1")
        self.ring, self.begin = u64(self.data, 64), u64(self.data, 72)
        self.strides, self.alignment = u32(self.data, 80), u32(self.data, 84)
        self.payload_max, self.flags = u32(self.data, 96), self.data[100]
        if self.ring & (self.ring - 1) or self.strides not in (8, 16, 32, 64) or self.begin + self.ring > len(self.data):
            raise Corrupt("a geometry that no lane has")
        self.stride = self.ring // self.strides

    def whole(self, position):
        """True if everything that was read from there on was of this lap. Asked after reading."""
        return u64(self.data, 128) <= position // self.stride * self.stride + self.ring

    def checkpoints(self):
        for i in range(self.strides):
            at = 384 + 32 * i
            position = u64(self.data, at + 16)
            sequence, voids = u64(self.data, at), u64(self.data, at + 8)
            if position // self.stride % self.strides == i and position % self.alignment == 0 and self.whole(position):
                yield position, sequence, voids

    def messages(self):
        """The messages that are whole, the oldest first: (sequence, stamp, payload)."""
        for position, sequence, _ in sorted(self.checkpoints()):
            read = list(self.walk(position, sequence))
            if self.whole(position):
                return read
        return []

    def walk(self, position, sequence):
        words = 8 + (8 if self.flags & STAMPED else 0) + (8 if self.flags & CHECKED else 0)
        begin = position
        while position < begin + self.ring:
            at = self.begin + position % self.ring
            header = u64(self.data, at)
            size, kind, flags = header & 0xFFFFFFFF, header >> 32 & 15, header >> 36 & 15
            if header == 0 or kind == CLAIMED:
                return
            if flags & ~(STAMPED | CHECKED):
                raise Corrupt("a flag of a later version")
            if kind == SKIP:
                position += 8 + size
                continue
            if kind in (MESSAGE, VOID) and (header >> 40 != sequence & 0xFFFFFF or flags != self.flags or size > self.payload_max):
                return  # overtaken, or corrupt: what whole() says decides
            if kind == MESSAGE:
                stamp = u64(self.data, at + 8) if flags & STAMPED else 0
                yield sequence, stamp, bytes(self.data[at + words : at + words + size])
            if kind in (MESSAGE, VOID):
                sequence += 1
            position += align_up(words + size, self.alignment)


def main():
    bus = sys.argv[1]
    if len(sys.argv) < 3:
        for node in nodes(bus):
            print("node", node["index"], "pid", node["pid"], node["name"])
        for name in topics(bus):
            found = topic(bus, name)
            print("topic", name, "type", found["type"], "publishers", len(found["publishers"]), "subscriptions",
                  len(found["subscriptions"]))  # fmt: skip
        return
    for publisher in topic(bus, sys.argv[2])["publishers"]:
        for sequence, stamp, payload in Lane(bus, sys.argv[2], publisher["lane"]).messages():
            print(publisher["lane"], sequence, stamp, payload.hex())


if __name__ == "__main__":
    main()
