# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether the time that something takes grows with its input no more than its input does.

Seconds say nothing here: the machines are shared.
"""

import time

FACTOR = 16
TRIES = 3


def is_linear(work, make, size):
    """Whether work(make(size)) takes about 16 times the CPU time of a sixteenth of that, and not 256 times, as a square."""
    small, large = make(size // FACTOR), make(size)
    return any(_seconds(work, large) < 4 * FACTOR * _seconds(work, small) for dummy in range(TRIES))


def _seconds(work, given):
    start = time.process_time()
    work(given)
    return time.process_time() - start
