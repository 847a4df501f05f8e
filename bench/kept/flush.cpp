// A flush after each message, and after a thousand, beside the same bytes written and synced without a lane.
#include <fcntl.h>
#include <liburing.h>

#include "kept.hpp"

namespace kept {

namespace {

constexpr u64 file_bytes = u64{64} << 20;

// A file that is allocated and not written yet, as a segment is: the first time that a block is flushed the file system
// writes its journal too.
struct raw_file {
  explicit raw_file(const std::string& directory) : file(::open(directory.c_str(), O_TMPFILE | O_RDWR, 0600)) {
    if (!file || ::fallocate(file.get(), 0, 0, file_bytes) != 0) std::perror("storage: raw file"), std::exit(1);
  }
  void write(const std::vector<char>& bytes) {
    if (at + bytes.size() > file_bytes) at = 0;
    if (::pwrite(file.get(), bytes.data(), bytes.size(), static_cast<off_t>(at)) < 0) std::exit(1);
    at += bytes.size();
  }
  fd file;
  u64 at = 0;
};

struct ring {
  ring() { ready = ::io_uring_queue_init(8, &uring, 0) == 0; }
  ~ring() {
    if (ready) ::io_uring_queue_exit(&uring);
  }
  ring(const ring&) = delete;
  ring& operator=(const ring&) = delete;
  void synchronize(int file) {
    io_uring_sqe* const sqe = ::io_uring_get_sqe(&uring);
    ::io_uring_prep_fsync(sqe, file, IORING_FSYNC_DATASYNC);
    ::io_uring_submit_and_wait(&uring, 1);
    io_uring_cqe* cqe = nullptr;
    if (::io_uring_wait_cqe(&uring, &cqe) == 0) ::io_uring_cqe_seen(&uring, cqe);
  }
  io_uring uring{};
  bool ready = false;
};

template <class F>
double us_of(F&& f) {
  const double begin = now();
  f();
  return (now() - begin) * 1e6;
}

}  // namespace

void flush_rows(const setting& s) {
  const std::byte payload[64]{};
  for (const u64 batch : {u64{1}, u64{1000}}) {
    open_lane lane(s.options("flush" + std::to_string(batch), log_durability::each));
    raw_file plain(s.directory), by_ring(s.directory);
    ring uring;
    const std::vector<char> bytes(88 * batch, 'x');
    std::vector<double> ours, raw, raw_uring;
    for (int i = 0; i < 300; ++i) {
      raw.push_back(us_of([&] {
        plain.write(bytes);
        ::fdatasync(plain.file.get());
      }));
      ours.push_back(us_of([&] {
        for (u64 n = 0; n < batch; ++n) lane.append(payload, sizeof payload);
        must(lane.writer().flush(std::chrono::hours(1)));
      }));
      if (!uring.ready) continue;
      raw_uring.push_back(us_of([&] {
        by_ring.write(bytes);
        uring.synchronize(by_ring.file.get());
      }));
    }
    if (batch == 1) {
      row("flush after each message", median(ours), "us", median(raw), "pwrite, fdatasync", 1.2, false);
      if (uring.ready) {
        row("flush after each message", median(ours), "us", median(raw_uring), "pwrite, io_uring fsync", 1.1, false);
      }
    } else {
      row("flush after 1,000, messages", 1e3 / median(ours), "M/s", 1e3 / median(raw), "pwrite, fdatasync", 0.8);
    }
    std::printf("  p99 %.0f us, raw %.0f us\n", share_of(ours, 0.99), share_of(raw, 0.99));
  }
}

}  // namespace kept
