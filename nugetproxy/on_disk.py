"""On_disk says what lies at a path: that a look failed is no "nothing".

The methods of pathlib say False there, from Python 3.14 on.
"""

from __future__ import annotations

import errno
import stat
from pathlib import Path
from typing import Final

_NOTHING: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})


def exists(path: Path) -> bool:
    """Whether anything lies at ``path``, links followed; raises OSError where that cannot be told."""
    return _mode(path) != 0


def is_file(path: Path) -> bool:
    """Whether an ordinary file does; raises OSError."""
    return stat.S_ISREG(_mode(path))


def is_dir(path: Path) -> bool:
    """Whether a directory does; raises OSError."""
    return stat.S_ISDIR(_mode(path))


def _mode(path: Path) -> int:
    """0 of nothing."""
    try:
        return path.stat().st_mode
    except OSError as error:
        if error.errno in _NOTHING:
            return 0
        raise
    except ValueError:  # a NUL: nothing can be called so
        return 0
