"""deny.py NAME:ERRNO[,NAME:ERRNO..] -- PROGRAM ARGS: runs the program with system calls that answer an error (seccomp)."""
import ctypes
import errno
import os
import struct
import sys

NUMBERS = {
    "pwritev2": 328, "fallocate": 285, "copy_file_range": 326, "statx": 332, "mlock": 149, "mlock2": 325, "prctl": 157,
    "getrandom": 318, "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "madvise": 28,
    "fadvise64": 221, "pidfd_open": 434, "pidfd_getfd": 438, "umask": 95, "setrlimit": 160, "prlimit64": 302, "statfs": 137,
    "fstatfs": 138, "sched_getaffinity": 204, "membarrier": 324, "rseq": 334, "eventfd2": 290, "close_range": 436,
    "fdatasync": 75, "sync_file_range": 277, "mincore": 27, "renameat2": 316,
}
LOAD, JUMP_EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, ERRNO = 0x7FFF0000, 0x00050000

denied, program = sys.argv[1], sys.argv[3:]
code = [struct.pack("HBBI", LOAD, 0, 0, 0)]
for rule in denied.split(","):
    name, error = rule.split(":")
    code.append(struct.pack("HBBI", JUMP_EQUAL, 0, 1, NUMBERS[name]))
    code.append(struct.pack("HBBI", RETURN, 0, 0, ERRNO | getattr(errno, error)))
code.append(struct.pack("HBBI", RETURN, 0, 0, ALLOW))
filters = b"".join(code)
buffer = ctypes.create_string_buffer(filters, len(filters))


class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filters", ctypes.c_void_p)]


libc = ctypes.CDLL(None, use_errno=True)
argument = Program(len(code), ctypes.addressof(buffer))
NO_NEW_PRIVS, SET_SECCOMP, MODE_FILTER = 38, 22, 2
if libc.prctl(NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(SET_SECCOMP, MODE_FILTER, ctypes.byref(argument), 0, 0):
    sys.exit("seccomp: " + os.strerror(ctypes.get_errno()))
os.execvp(program[0], program)
