// Names without a prefix that other headers of a Linux system define as macros, or programs for themselves.
//
// Standard headers come first: some of these macros are no business of theirs, and a few they undefine.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <coroutine>
#include <cstdio>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <thread>
#include <tl/expected.hpp>
#include <tuple>
#include <variant>
#include <vector>

// <X11/X.h>, <X11/Xlib.h>
#define Above 0
#define Always 2
#define Below 1
#define Bool int
#define Complex 0
#define Convex 2
#define CurrentTime 0L
#define CursorShape 0
#define DestroyAll 0
#define False 0
#define FocusIn 9
#define GrayScale 1
#define KeyPress 2
#define None 0L
#define Status int
#define StaticColor 2
#define Success 0
#define True 1
#define Unsorted 0

// <sys/sysmacros.h>, as some C libraries have it through <sys/types.h>
#define major(device) gnu_dev_major(device)
#define minor(device) gnu_dev_minor(device)
#define makedev(major, minor) gnu_dev_makedev(major, minor)

// Compilers, as GNU C++
#undef linux
#undef unix
#define linux 1
#define unix 1

// <linux/fs.h>, <sys/param.h>, <sys/user.h>, <termios.h>
#undef BLOCK_SIZE
#undef PAGE_SIZE
#undef NBBY
#define BLOCK_SIZE 1024
#define PAGE_SIZE 4096
#define NBBY 8
#define ECHO 0000010
#define B0 0000000
#define B50 0000001

// Headers that were first written for Windows
#define min(a, b) ((a) < (b) ? (a) : (b))
#define max(a, b) ((a) > (b) ? (a) : (b))
#define interface struct
#define small char
#define near
#define far
#define IN
#define OUT
#define ERROR 0
#define TRUE 1
#define FALSE 0

// Programs and their libraries
#define ASSERT(x)
#define BIT(n) (1u << (n))
#define CHECK(x)
#define DEBUG 1
#define LOG(x)
#define VERSION "1"
#define countof(array) (sizeof(array) / sizeof *(array))
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
