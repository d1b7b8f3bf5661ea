# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a vmcore is and whether it is whole, from its bytes alone. Private to this collection.

`inspect(file, size, deep)` gives a VmcoreInfo, whatever the file holds; `signature(text)` says what panicked, out of a
vmcore-dmesg.txt.
"""

from .dump import inspect
from .result import VmcoreInfo
from .triage import Signature, signature

__all__ = ["Signature", "VmcoreInfo", "inspect", "signature"]
