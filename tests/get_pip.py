# Copyright: the vmcore.kdump authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What ansible-test calls to get pip into an environment, in place of a script that it would download: pip is in Python.

The packages to be installed, pip among them, and options are in sys.argv; two of those are get-pip.py's own.
"""

import subprocess
import sys

# In a process of its own: ensurepip turns off pip's configuration files for the rest of its process.
subprocess.check_call([sys.executable, "-m", "ensurepip"])
arguments = [word for word in sys.argv[1:] if word not in ("--no-setuptools", "--no-wheel")]
sys.exit(subprocess.call([sys.executable, "-m", "pip", "install", *arguments]))
