"""Zip files as tools, downloads and faults leave them."""

import struct
import zipfile
import zlib
from pathlib import Path

STORED, DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED
# Of local header and directory: signature, field -> (place, format).
_LOCAL = b"PK\x03\x04", {"flags": (6, "H"), "method": (8, "H"), "crc": (14, "L")}
_LOCAL[1].update(stored_size=(18, "L"), size=(22, "L"))
_CENTRAL = b"PK\x01\x02", {"flags": (8, "H"), "method": (10, "H"), "crc": (16, "L")}
_CENTRAL[1].update(stored_size=(20, "L"), size=(24, "L"), begin=(42, "L"))


def put(path, members, method=DEFLATED, **options):
    """Write a zip file of {name: bytes}; its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", method, **options) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return path


def put_raw(path, members, flags=0, extra=b""):
    """Write a zip file of {name as bytes: bytes}, stored, with names in any encoding."""
    local, central = b"", b""
    for name, content in members.items():
        begin = len(local)
        sizes = zlib.crc32(content), len(content), len(content), len(name), len(extra)
        fields = struct.pack("<5H3L2H", 20, flags, 0, 0, 0x21, *sizes)
        local += b"PK\x03\x04" + fields + name + extra + content
        central += b"PK\x01\x02" + struct.pack("<H", 20) + fields
        central += struct.pack("<3H2L", 0, 0, 0, 0, begin) + name + extra
    counts = len(members), len(members), len(central), len(local), 0
    path.write_bytes(local + central + b"PK\x05\x06" + struct.pack("<2H2H2LH", 0, 0, *counts))
    return path


def pack(folder, zip_path, method=DEFLATED, names=lambda name: True):
    """Move the files below a folder whose relative names fit into a zip file, folders' too."""
    folder, zip_path = Path(folder), Path(zip_path)
    paths = [path for path in sorted(folder.rglob("*")) if path != zip_path]
    chosen = [path for path in paths if names(path.relative_to(folder).as_posix())]
    with zipfile.ZipFile(zip_path, "w", method) as archive:
        for path in chosen:
            archive.write(path, path.relative_to(folder))
    for path in chosen:
        if path.is_file():
            path.unlink()
    return zip_path


def edit(path, which=0, local=True, central=True, **fields):
    """Change fields of the so-manieth member in its own header, in the directory, or in both."""
    content = bytearray(path.read_bytes())
    for is_wanted, (signature, places) in ((local, _LOCAL), (central, _CENTRAL)):
        begin = -1
        for _ in range(which + 1):
            begin = content.index(signature, begin + 1)
        for name in fields if is_wanted else ():
            place, kind = places[name]
            struct.pack_into(f"<{kind}", content, begin + place, fields[name])
    path.write_bytes(content)
    return path


def flip(path, position, bit=0):
    """Flip one bit of a file."""
    with open(path, "r+b", buffering=0) as file:
        file.seek(position)
        (byte,) = file.read(1)
        file.seek(position)
        file.write(bytes([byte ^ 1 << bit]))


def data_begin(path, name):
    """Where the data of a member begin."""
    with zipfile.ZipFile(path) as archive:
        begin = archive.getinfo(name).header_offset
    n_name, n_extra = struct.unpack_from("<2H", path.read_bytes(), begin + 26)
    return begin + 30 + n_name + n_extra
