# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Runs the programs of the contracts, all in one Python: these tests run thousands, and starting one takes 50 times as long.

It is a process of its own, whose environment and standard streams are each program's for as long as it runs; so are they for
what a program runs in its turn, where that is a Python program too. A line of JSON goes in for each program, {"path", "argv",
"env", "stdin"}, and one comes out, {"rc", "out", "err"}; a byte is a character.
"""

import atexit
import contextlib
import functools
import io
import json
import os
import subprocess
import sys
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
    answers = sys.stdout
    subprocess.run = functools.partial(run_from_program, subprocess.run)
    for line in iter(sys.stdin.readline, ""):
        request = json.loads(line)
        request["stdin"] = request["stdin"].encode("latin-1")
        rc, out, err = run(**request)
        answer = {"rc": rc, "out": out.decode("latin-1"), "err": err.decode("latin-1")}
        print(json.dumps(answer), file=answers, flush=True)


def run(path, argv, env, stdin=b"", merged=False):
    """A program's exit code, and the bytes of its standard output and error; `merged`: all in the first."""
    streams = [
        io.TextIOWrapper(io.BytesIO(data), "utf-8", "surrogateescape", write_through=True) for data in (stdin, b"", b"")
    ]
    if merged:
        streams[2] = streams[1]
    with as_program(argv, env, streams):
        rc = ended(path)
    return (rc, *[stream.buffer.getvalue() for stream in streams[1:]])


@contextlib.contextmanager
def as_program(argv, env, streams):
    before = dict(os.environ), sys.argv, sys.stdin, sys.stdout, sys.stderr
    sys.argv, (sys.stdin, sys.stdout, sys.stderr) = argv, streams
    surroundings(env)
    try:
        yield
    finally:
        surroundings(before[0])
        sys.argv, sys.stdin, sys.stdout, sys.stderr = before[1:]


def surroundings(env):
    os.environ.clear()
    os.environ.update(env)


def ended(path):
    """Do what a program does; its exit code."""
    try:
        with open(path, encoding="utf-8") as file:
            exec(compiled(file.read(), os.path.basename(path)), {"__name__": "__main__", "__file__": path})
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        return end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except Exception:
        traceback.print_exc()
        return 1
    return 0


@functools.lru_cache(maxsize=None)
def compiled(text, name):
    """By its text, for each made-up machine has copies of its own."""
    return compile(text, name, "exec")


def run_from_program(real, argv, stdin=None, stdout=None, stderr=None, env=None, check=False):
    """subprocess.run() as the programs find it: `[sys.executable, "-S", path, …]` runs here, anything else as ever."""
    words = [word for word in argv[1:] if word != "-S"]
    if argv[0] != sys.executable or not os.path.isfile(words[0]):
        return real(argv, stdin=stdin or subprocess.DEVNULL, stdout=stdout, stderr=stderr, env=env, check=check)
    rc, out, err = run(words[0], words, env or dict(os.environ), merged=stderr == subprocess.STDOUT)
    if stdout != subprocess.PIPE:
        sys.stdout.buffer.write(out)
    if stderr is None:
        sys.stderr.buffer.write(err)
    return subprocess.CompletedProcess(argv, rc, out if stdout == subprocess.PIPE else None)


if __name__ == "__main__":
    serve()
