# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How long verifying a vmcore page by page takes beside what a user would run instead, on the same file in one run.

    python3 -m benchmarks.vmcore_verify VMCORE

For a flattened dump that is `makedumpfile -R`, the way to learn whether the stream is whole; for others
`makedumpfile -c -d 31`, which reads each page. `sha256sum` is the price of reading every byte. Best of three each, with
the file in the page cache; the ratio is that time over the verification's.
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile
import time
from typing import Callable, List, Optional

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "plugins"))

from module_utils.vmcore.dump import inspect  # noqa: E402
from module_utils.vmcore.result import VmcoreInfo  # noqa: E402


def best(run: Callable[[], object], before: Callable[[], object] = lambda: None) -> float:
    """Seconds of the fastest of three runs."""
    seconds = []
    for _number in range(3):
        before()
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def verify(path: pathlib.Path, deep: bool) -> VmcoreInfo:
    with path.open("rb") as file:
        return inspect(file, path.stat().st_size, deep)


def command(argv: List[str], stdin: Optional[pathlib.Path] = None) -> None:
    with (stdin or pathlib.Path("/dev/null")).open("rb") as source:
        subprocess.run(argv, stdin=source, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("vmcore", type=pathlib.Path)
    path = parser.parse_args().vmcore
    info = verify(path, True)
    print(
        f"{path.name}: {info.bytes / 1e6:.0f} MB, {info.pages} pages, {info.format}, {info.compression}, {info.verdict}"
    )
    ours = best(lambda: verify(path, True))
    print(f"verify, deep      {ours:7.3f} s")
    print(f"verify            {best(lambda: verify(path, False)):7.3f} s")
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder, "out")
        rearrange = ["makedumpfile", "-R", str(out)]
        filtered = ["makedumpfile", "-c", "-d", "31", str(path), str(out)]
        others = {"sha256sum": (["sha256sum", str(path)], None)}
        others["makedumpfile"] = (rearrange, path) if info.flattened else (filtered, None)
        for name, (argv, stdin) in others.items():
            seconds = best(lambda argv=argv, stdin=stdin: command(argv, stdin), lambda: out.unlink(missing_ok=True))
            print(f"{name:17} {seconds:7.3f} s   {seconds / ours:6.1f} times as long   {' '.join(argv[:2])}")


if __name__ == "__main__":
    main()
