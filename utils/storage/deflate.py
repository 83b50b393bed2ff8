"""The codec of gzip and zip files: ISA-L where it is installed, else Python's own."""

import gzip
import zlib

try:
    from isal import igzip
    from isal import isal_zlib as codec
except ImportError:  # no wheel for this processor; same files to read, other bytes, slower
    igzip, codec = gzip, zlib  # type: ignore[misc]
