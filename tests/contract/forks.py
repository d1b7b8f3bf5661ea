# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Runs the programs of the contracts, each in a fork of this one: these tests run thousands, and starting a Python takes long.

It is a process of its own, because those of pytest-xdist have threads, which no fork survives. A line of JSON goes in for
each program, {"path", "argv", "env", "stdin"}, and one comes out, {"rc", "out", "err"}; a byte is a character.
"""

import atexit
import functools
import io
import json
import os
import subprocess
import sys
import tempfile
import traceback


class Server:
    """The other side: starts this file once, and asks it."""

    def __init__(self):
        self._pid = 0

    def run(self, **request):
        if self._pid != os.getpid():
            self._start()
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline().decode())

    def _start(self):
        argv = [sys.executable, "-S", os.path.abspath(__file__)]
        self._process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._pid = os.getpid()
        atexit.register(self._end)

    def _end(self):
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()


SERVER = Server()


def serve():
    for line in iter(sys.stdin.readline, ""):
        print(json.dumps(run(**json.loads(line))), flush=True)


def run(path, argv, env, stdin):
    code = compiled(path, os.stat(path).st_mtime_ns)
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        given.write(stdin.encode("latin-1"))
        given.seek(0)
        child = os.fork()
        if not child:
            become(code, argv, env, [given, out, err])
        rc = os.waitpid(child, 0)[1] >> 8
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode("latin-1"))
    return {"rc": rc, "out": texts[0], "err": texts[1]}


@functools.lru_cache()
def compiled(path, changed):
    with open(path, encoding="utf-8") as file:
        return compile(file.read(), path, "exec")


def become(code, argv, env, files):
    """The child: does what the program does, and ends with its exit code."""
    rc = 1
    try:
        for number, file in enumerate(files):
            os.dup2(file.fileno(), number)
        sys.stdin = io.TextIOWrapper(io.FileIO(0))
        sys.stdout, sys.stderr = (io.TextIOWrapper(io.FileIO(number, "w")) for number in (1, 2))
        os.environ.clear()
        os.environ.update(env)
        sys.argv = argv
        exec(code, {"__name__": "__main__", "__file__": code.co_filename})
        rc = 0
    except SystemExit as end:
        rc = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except Exception:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(rc)


if __name__ == "__main__":
    serve()
