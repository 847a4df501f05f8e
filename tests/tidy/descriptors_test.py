#!/usr/bin/env python3
"""The library makes file descriptors in one place: each call that makes one is in src/base/fd.cpp.

The functions there see to it that the number is 3 or higher, and that a forked child closes the descriptor. A call
whose descriptor is somebody else's has a comment that begins with `descriptor:` on its line or above, and says whose.
"""

import re

import tidy

# Also the name of methods and functions of the project: these count where they are qualified as the C library's.
AMBIGUOUS = "open|creat|socket|accept|pipe|dup|fopen|freopen|popen|tmpfile"
UNMISTAKABLE = (
    "openat2?|socketpair|accept4|pipe2|dup[23]|eventfd|epoll_create1?|memfd_create|memfd_secret|signalfd|timerfd_create"
    "|inotify_init1?|fanotify_init|pidfd_open|pidfd_getfd|perf_event_open|shm_open|mq_open|mkstemps?|mkostemps?|opendir"
    "|io_uring_setup|io_uring_queue_init(?:_params)?"
)
CALL = re.compile(
    r"(?:(?<![\w>)])(?:std)?::(?:" + AMBIGUOUS + r")|(?<![\w.>])(?:::)?(?:" + UNMISTAKABLE + r"))\s*\("
    r"|\bF_DUPFD\w*|\bSCM_RIGHTS\b|\bSYS_\w*(?:open|socket|dup|pipe|eventfd|memfd|pidfd|timerfd|signalfd|epoll_create)\w*"
    r"|\b(?:if|of|f)stream\b|\b(?:recursive_)?directory_iterator\b"
)
WORDS = re.compile(r"//.*|\"(?:\\.|[^\"\\\n])*\"")
MARK = re.compile(r"//\s*descriptor: \S")
MAKERS = ("src/base/fd.cpp",)


def check(tree):
    faults = []
    for path in tree.paths("src", "include"):
        if path in MAKERS:
            continue
        text = tree.text(path)
        marked = {i for i, line in enumerate(tree.lines(path), 1) if MARK.search(line)}
        code = WORDS.sub(lambda m: " " * len(m.group()), text)
        for call in CALL.finditer(code):
            number = code.count("\n", 0, call.start()) + 1
            if {number, number - 1} & marked:
                continue
            faults.append(f"{path}:{number}: {call.group().rstrip('( ')}: call the function of base/fd.hpp that does it")
    return faults


def in_source(line):
    return {"src/exec/a.cpp": line + "\n"}


tidy.main(
    check,
    bad=[
        ("naked", in_source("const int f = ::open(path, O_RDONLY);"), "src/exec/a.cpp:1: ::open"),
        ("in a header", {"include/quoit/a.hpp": "inline int f() { return ::dup(1); }\n"}, "::dup"),
        ("unqualified", in_source("int f = eventfd(0, 0);"), "eventfd"),
        ("as an argument", in_source("keep(::socket(AF_UNIX, SOCK_STREAM, 0));"), "::socket"),
        ("owned, but too late", in_source("fd f(::open(path, O_RDONLY));"), "::open"),
        ("duplicated", in_source("fd f(::fcntl(1, F_DUPFD_CLOEXEC, 0));"), "F_DUPFD_CLOEXEC"),
        ("a stream", in_source("std::ifstream file(path);"), "ifstream"),
        ("a C stream", in_source('std::FILE* f = std::fopen("/proc/locks", "re");'), "std::fopen"),
        ("a ring", in_source("io_uring_queue_init_params(8, &ring, &params);"), "io_uring_queue_init_params"),
        ("the mark is elsewhere", in_source("// descriptor: of the caller\n\nint f = ::dup(1);"), "::dup"),
    ],
    good=[
        ("made in that place", in_source("fd f = open_file(path, O_RDONLY); fd g = make_eventfd(0);")),
        ("marked", in_source("// descriptor: of the application\nreturn ::accept4(s, nullptr, nullptr, 0);")),
        ("methods", in_source("auto b = bus::open(name); x.open(); p->eventfd(1); node::open(n); quoit::accept(s);")),
        ("in words", in_source('// not ::open(path)\nfail("::dup() failed");')),
        ("where it is done", {"src/base/fd.cpp": "const int copy = ::fcntl(d, F_DUPFD_CLOEXEC, 3);\n"}),
        ("elsewhere", {"tests/a.cpp": "int f = ::open(path, 0);\n"}),
    ],
)
