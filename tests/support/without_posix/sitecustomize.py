"""On PYTHONPATH: a process, and those it starts, without what Windows has not.

POSIX's modules and names are gone, and `os.fsync` refuses a handle that cannot write, as there.
"""

# What Python itself needs of them here is loaded before they go.
import multiprocessing.popen_spawn_posix
import multiprocessing.resource_tracker
import os
import selectors  # noqa: F401
import signal
import sys
import tempfile  # noqa: F401

multiprocessing.resource_tracker._HAVE_SIGMASK = False
_get_access_mode = __import__("fcntl").fcntl
_fsync = os.fsync

for _name in ("fcntl", "grp", "pwd", "resource", "termios", "tty", "pty", "readline"):
    sys.modules[_name] = None  # type: ignore[assignment]  # importing it raises ImportError
for _name in (
    *("getuid", "geteuid", "getgid", "getegid", "getpgid", "chown", "fchmod", "fchown"),
    *("sched_getaffinity", "sysconf", "statvfs", "mkfifo", "killpg", "nice", "getloadavg"),
    *("O_NOFOLLOW", "O_NONBLOCK", "O_DIRECTORY", "O_CLOEXEC", "posix_fadvise", "pread", "pwrite"),
):
    if hasattr(os, _name):
        delattr(os, _name)
for _name in ("pthread_sigmask", "pthread_kill", "SIGKILL", "SIGHUP", "SIGPIPE", "SIGUSR1"):
    if hasattr(signal, _name):
        delattr(signal, _name)


def _windows_fsync(descriptor):  # type: ignore[no-untyped-def]
    if _get_access_mode(descriptor, 3) & 3 == os.O_RDONLY:  # F_GETFL
        raise OSError(9, "Bad file descriptor")
    _fsync(descriptor)


os.fsync = _windows_fsync
