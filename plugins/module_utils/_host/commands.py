# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Running programs. Private to this collection."""

import os
import subprocess
from typing import List, NamedTuple, Optional


class Result(NamedTuple):
    """What a program did: its argv, exit code (-1 for one that could not be started), output as text."""

    argv: List[str]
    rc: int
    out: str
    err: str


def run(argv: List[str], timeout: Optional[float] = None, stdin: Optional[bytes] = None) -> Result:
    """Run one program in the C locale, without a shell. Never raises for what the program does."""
    env = dict(os.environ, LC_ALL="C", LANGUAGE="C")
    try:
        done = subprocess.run(  # pylint: disable=ansible-bad-function # AnsibleModule is not there at boot time
            argv,
            input=b"" if stdin is None else stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=timeout,
            env=env,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Result(argv, -1, "", "%s did not end within %s seconds" % (argv[0], timeout))
    except OSError as error:
        return Result(argv, -1, "", "%s: %s" % (argv[0], error.strerror))
    return Result(argv, done.returncode, _text(done.stdout), _text(done.stderr))


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")
