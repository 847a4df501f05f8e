// io_uring as Linux 5.15 has it (QUOIT_TEST_KERNEL=5.15), or 5.10: preloaded before liburing by `without`.
//
// Flags that it does not know are refused, as it refuses them. Operations that came later, and ways of registering, the
// kernel itself refuses: each ring is made with restrictions. What is left is how this kernel does what the older one
// did otherwise: tools/test-old-kernel runs the real one.
#include <dlfcn.h>
#include <liburing.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace {

struct known {
  unsigned setup_flags;
  unsigned features;
  unsigned last_code;
  unsigned last_register;
};
constexpr known of_5_15{(IORING_SETUP_R_DISABLED << 1) - 1, (IORING_FEAT_RSRC_TAGS << 1) - 1, IORING_OP_LINKAT,
                        IORING_REGISTER_IOWQ_MAX_WORKERS};
constexpr known of_5_10{(IORING_SETUP_R_DISABLED << 1) - 1, (IORING_FEAT_SQPOLL_NONFIXED << 1) - 1, IORING_OP_TEE,
                        IORING_REGISTER_ENABLE_RINGS};

const known& kernel() {
  const char* const text = std::getenv("QUOIT_TEST_KERNEL");
  return text != nullptr && std::strcmp(text, "5.10") == 0 ? of_5_10 : of_5_15;
}

// What was preloaded over.
template <class F>
F* the_other(const char* name, F*) {
  return reinterpret_cast<F*>(::dlsym(RTLD_NEXT, name));
}

int registering(int ring, unsigned what, const void* about, unsigned count) {
  return ::syscall(SYS_io_uring_register, ring, what, about, count) < 0 ? -errno : 0;
}

int restrict_to(const known& k, int ring) {
  io_uring_restriction rules[96] = {};
  unsigned count = 0;
  for (unsigned code = 0; code <= k.last_code; ++code) {
    rules[count].opcode = IORING_RESTRICTION_SQE_OP;
    rules[count++].sqe_op = static_cast<__u8>(code);
  }
  for (unsigned what = 0; what <= k.last_register; ++what) {
    rules[count].opcode = IORING_RESTRICTION_REGISTER_OP;
    rules[count++].register_op = static_cast<__u8>(what);
  }
  rules[count].opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED;
  rules[count++].sqe_flags = IOSQE_FIXED_FILE | IOSQE_IO_DRAIN | IOSQE_IO_LINK | IOSQE_IO_HARDLINK | IOSQE_ASYNC;
  return registering(ring, IORING_REGISTER_RESTRICTIONS, rules, count);
}

}  // namespace

extern "C" {

int io_uring_queue_init_params(unsigned entries, io_uring* ring, io_uring_params* params) {
  const known& k = kernel();
  if ((params->flags & ~k.setup_flags) != 0) return -EINVAL;
  const bool enable = (params->flags & IORING_SETUP_R_DISABLED) == 0;
  params->flags |= IORING_SETUP_R_DISABLED;
  static auto* const make = the_other("io_uring_queue_init_params", &io_uring_queue_init_params);
  if (const int status = make(entries, ring, params); status < 0) return status;
  int status = restrict_to(k, ring->ring_fd);
  if (status == 0 && enable) status = registering(ring->ring_fd, IORING_REGISTER_ENABLE_RINGS, nullptr, 0);
  if (status < 0) {
    io_uring_queue_exit(ring);
    return status;
  }
  params->features &= k.features;
  ring->features &= k.features;
  return 0;
}

int io_uring_register_probe(io_uring* ring, io_uring_probe* probe, unsigned room) {
  static auto* const ask = the_other("io_uring_register_probe", &io_uring_register_probe);
  const int status = ask(ring, probe, room);
  const unsigned last = kernel().last_code;
  if (status < 0 || probe->last_op <= last) return status;
  probe->last_op = static_cast<__u8>(last);
  probe->ops_len = static_cast<__u8>(last + 1);
  for (unsigned code = last + 1; code < room; ++code) probe->ops[code].flags = 0;
  return status;
}

// RWF_NOSIGNAL is of Linux 6.18.
ssize_t pwritev64v2(int file, const iovec* from, int count, off64_t at, int flags) {
  constexpr int known_flags = RWF_HIPRI | RWF_DSYNC | RWF_SYNC | RWF_NOWAIT | RWF_APPEND;
  if ((flags & ~known_flags) == 0) {
    static auto* const write_there = the_other("pwritev64v2", &pwritev64v2);
    return write_there(file, from, count, at, flags);
  }
  errno = EOPNOTSUPP;
  return -1;
}
}
