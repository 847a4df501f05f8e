#!/usr/bin/env python3
"""Reads a lane on disk, written from docs/format/segment.md alone: read_segments.py LANE_DIRECTORY

Verifies everything that it reads, and prints the messages, `sequence stamp hex`, a line each.
"""

import os
import re
import struct
import sys

CLAIMED, MESSAGE, VOID, SKIP = 1, 2, 3, 4


class Corrupt(Exception):
    pass


def make_table():
    table = []
    for i in range(256):
        for _ in range(8):
            i = (i >> 1) ^ (0x82F63B78 if i & 1 else 0)
        table.append(i)
    return table


TABLE = make_table()


def crc(begin, data):
    for byte in data:
        begin = (begin >> 8) ^ TABLE[(begin ^ byte) & 0xFF]
    return begin


def u32(data, at):
    return struct.unpack_from("<I", data, at)[0]


def u64(data, at):
    return struct.unpack_from("<Q", data, at)[0]


def align_up(value, alignment):
    return (value + alignment - 1) // alignment * alignment


class Segment:
    def __init__(self, directory, name):
        with open(os.path.join(directory, name), "rb") as file:
            self.bytes = file.read()
        data = self.bytes
        if data[0:8] != b"oqtsegm1" or struct.unpack_from("<H", data, 8)[0] != 2 or u64(data, 16) != 0:
            raise Corrupt(f"{name}: no segment, or of another version")
        if u64(data, 2304) != crc(0xFFFFFFFF, data[0:2304]) + 2**32:
            raise Corrupt(f"{name}: the header's check is wrong")
        if u64(data, 64) != int(name.split(".")[0]) or len(data) < u64(data, 40):
            raise Corrupt(f"{name}: another number, or cut short")
        self.name, self.entries = name, u32(data, 36)
        self.data_offset, self.data_bytes = u64(data, 72), u64(data, 80)
        self.alignment, self.payload_max, self.shift = u32(data, 88), u32(data, 96), u32(data, 100)
        self.salt, self.lane = u32(data, 104), data[112:128]
        self.topic = data[152:320].split(b"\0", 1)[0].decode()
        self.started = u64(data, 2472) != 0
        if self.started and u64(data, 2472) != crc(self.salt, data[2432:2472]) + 2**32:
            raise Corrupt(f"{name}: the start's check is wrong")
        self.position, self.sequence, self.voids, self.stamp, self.epoch = struct.unpack_from("<QQQQQ", data, 2432)
        if any(data[2488:2536]) and u64(data, 2528) != crc(self.salt, data[2488:2528]) + 2**32:
            raise Corrupt(f"{name}: the check of the clock's record is wrong")
        # offset, zone, first, since, before
        self.clock = struct.unpack_from("<qQQQQ", data, 2488) if u64(data, 2528) != 0 else None

    def follows(self, position, sequence, voids):
        """With the next sequence, or with an epoch that passes over some."""
        skipped = self.sequence - sequence
        begins_epoch = self.epoch == self.sequence and skipped >= 0
        return self.position == position and self.voids - voids == skipped and (skipped == 0 or begins_epoch)

    def index(self):
        """What the entries say that are right: {offset: (sequence, voids, stamp)}."""
        found = {}
        for i in range(self.entries):
            sequence, voids, stamp, place = struct.unpack_from("<QQQQ", self.bytes, 4096 + 32 * i)
            offset = place & 0xFFFFFFFF
            check = crc(self.salt, struct.pack("<QQQQ", sequence, voids, stamp, offset)) | 1
            if place >> 32 == check and offset >> self.shift == i:
                found[offset] = (sequence, voids, stamp)
        return found

    def frames(self):
        """(offset, sequence, voids, stamp, kind, payload) of each; ends with kind SKIP at a roll."""
        offset, sequence, voids, last = 0, self.sequence, self.voids, self.stamp
        while True:
            at = self.data_offset + offset
            header = u64(self.bytes, at)
            size, kind, flags = header & 0xFFFFFFFF, header >> 32 & 15, header >> 36 & 15
            if header == 0 or kind == CLAIMED:
                return
            if kind == SKIP:
                words = struct.pack("<QQ", self.position + offset, header & (2**40 - 1))
                if header >> 40 != crc(self.salt, words) & 0xFFFFFF:
                    raise Corrupt(f"{self.name}: a skip's check is wrong")
                offset += 8 + size
                if offset == self.data_bytes:
                    yield offset, sequence, voids, last, SKIP, b""
                    return
                continue
            extent = align_up(24 + size, self.alignment)
            if flags != 3 or size > self.payload_max or offset + extent + 8 > self.data_bytes or header >> 40 != sequence & 0xFFFFFF:
                raise Corrupt(f"{self.name}: no frame at {at}")
            frame = self.bytes[at : at + extent]
            stamp, check = u64(frame, 8), u64(frame, 16)
            if check != crc(self.salt, frame[0:16] + frame[24 : 24 + align_up(size, 8)]):
                raise Corrupt(f"{self.name}: a frame's check is wrong at {at}")
            if stamp < last or any(frame[24 + (size if kind == MESSAGE else 0) :]):
                raise Corrupt(f"{self.name}: time goes back, or padding that is not zero, at {at}")
            yield offset, sequence, voids, stamp, kind, frame[24 : 24 + size]
            last, sequence, voids = stamp, sequence + 1, voids + (kind == VOID)
            offset += extent


class Lane:
    def __init__(self, directory):
        with open(os.path.join(directory, "lane"), "rb") as file:
            data = file.read()
        if data[0:8] != b"oqtlogl1" or struct.unpack_from("<H", data, 8)[0] != 2 or u64(data, 16) != 0 or len(data) < 4096:
            raise Corrupt("lane: no lane, or of another version")
        self.id = data[64:80]
        if u64(data, 80) != crc(0xFFFFFFFF, self.id) + 2**32:
            raise Corrupt("lane: the check of its id is wrong")
        self.durable = self.checked(data, 256, 8) or (0,)
        self.end = self.checked(data, 160, 16)
        self.home = self.checked(data, 184, 16)
        self.limit = max((self.checked(data, at, 8) or (0,))[0] for at in (512, 1024))
        self.begun = u64(data, 296) & (2**40 - 1)
        if u64(data, 296) != 0 and u64(data, 296) >> 40 != crc(0xFFFFFFFF, struct.pack("<Q", self.begun) + self.id) & 0xFFFFFF:
            self.begun = 0

    def checked(self, data, at, size):
        """What is in a record, or None if its check is another one."""
        if u64(data, at + size) != crc(0xFFFFFFFF, data[at : at + size] + self.id) + 2**32:
            return None
        return struct.unpack_from(f"<{size // 8}Q", data, at)


def messages(directory):
    """The messages of a lane, the oldest first: (sequence, stamp, payload). Holds the index against them, too."""
    Lane(directory)
    expected, clock, last = None, None, 0
    for name in sorted(name for name in os.listdir(directory) if re.fullmatch(r"\d{12,}\.seg", name)):
        segment = Segment(directory, name)
        if not segment.started:
            return
        if expected is not None and not segment.follows(*expected):
            raise Corrupt(f"{name}: does not begin where the one before ends")
        if segment.clock is not None and segment.clock == clock and segment.stamp < last:
            raise Corrupt(f"{name}: time goes back without a new clock")
        if segment.clock is not None and segment.clock[2] == int(name.split(".")[0]) and segment.stamp != segment.clock[3]:
            raise Corrupt(f"{name}: does not begin when its clock does")
        clock = segment.clock
        index, before, rolled = segment.index(), segment.stamp, False
        for offset, sequence, voids, stamp, kind, payload in segment.frames():
            if index.get(offset, (sequence, voids, before)) != (sequence, voids, before):
                raise Corrupt(f"{name}: the index is wrong at {offset}")
            before = last = stamp
            if kind == MESSAGE:
                yield sequence, stamp, payload
            if kind == SKIP:
                rolled, expected = True, (segment.position + segment.data_bytes, sequence, voids)
        if not rolled:
            return


def main():
    for sequence, stamp, payload in messages(sys.argv[1]):
        print(sequence, stamp, payload.hex())


if __name__ == "__main__":
    main()
