"""What a user could have caused ends a program with a sentence, not with a traceback."""

import errno

import pytest

from crayfish.spec import errors
from crayfish.spec.errors import CrayfishError


def raising(error: Exception):
    def program() -> None:
        raise error

    return program


def test_an_error_for_people_is_its_text():
    with pytest.raises(SystemExit) as ended:
        errors.main(raising(CrayfishError("no such thing")))
    assert ended.value.code == "error: no such thing"


def test_a_full_disk_says_so():
    with pytest.raises(SystemExit) as ended:
        errors.main(raising(OSError(errno.ENOSPC, "No space left on device", "/data/x")))
    assert "the disk is full while writing /data/x" in ended.value.code


def test_a_programming_error_keeps_its_traceback():
    with pytest.raises(OSError, match="x"):
        errors.main(raising(OSError(errno.EIO, "x")))
