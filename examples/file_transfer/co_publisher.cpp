// publisher.cpp with coroutines: several reads are under way at once, each straight into a loan of its own.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <optional>
#include <quoit.hpp>

#include "../common/coroutines.hpp"
#include "../common/cost.hpp"
#include "part.hpp"
#include "progress.hpp"

using namespace std::chrono_literals;

namespace {

constexpr int readers_max = 4;

struct transfer {
  int file;
  std::uint64_t file_bytes;  // as it was found
  std::uint64_t sent = 0;    // in parts that are published
  std::uint64_t end = 0;     // where the last of them ends
  bool over = false;         // somebody has seen the end of the file
  std::optional<quoit::error> why;
  progress report;
  cost spent;
};

// As much as there is, which is less than asked for only at the end of the file.
quoit::task<quoit::result<std::size_t>> read_all(int file, std::span<std::byte> into, std::uint64_t offset,
                                                 cost& spent) {
  std::size_t got = 0;
  while (got < into.size()) {
    const auto more = co_await quoit::read(file, into.subspan(got), offset + got);
    if (!more) co_return tl::unexpected(more.error());
    if (*more == 0) break;
    spent.copy(*more);
    got += *more;
  }
  co_return got;
}

// One of the readers: takes a loan, fills it, publishes it, and so on. Subscribers see loans in the order in which they
// were taken, whichever is published first, so nobody waits here for the read before his.
quoit::task<quoit::result<void>> send_parts(quoit::publisher<part>& publisher, transfer& t, bool speaks) {
  while (!t.over) {
    auto loan = co_await quoit::timeout(1s, publisher.loan_uninit());
    if (!loan && loan.error() == quoit::errc::would_block) {
      // A loan of our own: one read takes so long that the others have filled the ring behind it.
      const auto slept = co_await quoit::sleep_for(1ms);
      if (!slept) co_return slept;
      continue;
    }
    if (!loan && loan.error() == quoit::errc::timed_out) {
      // A subscriber may be stopped: it is not thrown out. All readers wait then; one says so.
      if (speaks) failed("waiting", loan.error(), publisher.blocked_by());
      continue;
    }
    if (!loan) co_return tl::unexpected(loan.error());
    part& p = **loan;
    // Which part it is, its place among the loans says; it may not be the order in which the readers come here.
    p.file_bytes = t.file_bytes;
    p.offset = loan->sequence() * sizeof p.data;
    const auto got = co_await read_all(t.file, p.data, p.offset, t.spent);
    if (!got) co_return tl::unexpected(got.error());  // the loan is abandoned: nobody sees it
    if (*got < sizeof p.data) t.over = true;
    if (*got == 0) break;
    p.bytes = *got;
    t.sent += p.bytes;
    t.end = std::max(t.end, p.offset + p.bytes);
    std::move(*loan).publish();
    t.spent.message(p.bytes);
    t.report.show(t.sent);
  }
  co_return quoit::result<void>();
}

// The first that fails stops the others.
quoit::task<> read_into(quoit::publisher<part>& publisher, transfer& t, quoit::scope& readers, bool speaks) {
  const auto done = co_await send_parts(publisher, t, speaks);
  if (done || t.why) co_return;
  t.why = done.error();
  readers.request_stop();
}

quoit::task<int> send(quoit::publisher<part>& publisher, transfer& t, std::uint32_t subscribers, const char* path) {
  const auto matched = co_await publisher.matched(subscribers);
  if (!matched) co_return failed("waiting", matched.error());
  t.report = progress();  // it begins now
  t.spent = cost();
  quoit::scope readers;
  for (int i = 0; i < readers_max; ++i) readers.spawn(read_into(publisher, t, readers, i == 0));
  co_await readers.join();
  if (t.why && *t.why == quoit::errc::cancelled) co_return failed("interrupted: the file is not whole");
  if (t.why) co_return failed(path, *t.why);
  if (t.sent != t.end) co_return failed("the file has become longer while it was read: what was sent is not whole");
  // An empty part ends the file.
  auto last = co_await publisher.loan();
  if (!last) co_return failed("waiting", last.error(), publisher.blocked_by());
  (*last)->file_bytes = t.file_bytes;
  (*last)->offset = t.sent;
  std::move(*last).publish();
  t.spent.message(0);
  // On the kernel path it is not out of our hands yet.
  const auto flushed = co_await publisher.flush();
  if (!flushed) co_return failed("interrupted: the file is not whole");
  t.report.print("sent", t.sent);
  t.spent.print("publisher");
  co_return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const arguments args(argc, argv, "[--bus NAME] [--transport shared_memory|kernel|automatic] [--subscribers N] FILE");
  if (args.rest.size() != 1) args.fail();
  const char* const path = args.rest[0].c_str();
  const int file = ::open(path, O_RDONLY | O_CLOEXEC);
  struct stat status{};
  if (file < 0 || ::fstat(file, &status) != 0) return std::perror(path), 1;
  auto executor = quoit::executor::create();
  if (!executor) return failed("making the executor", executor.error());
  if (auto ok = stop_on_ctrl_c(*executor); !ok) return failed("waiting for signals", ok.error());

  auto bus = quoit::bus::open(*executor, args.bus(), {.node_name = "file publisher", .transport = args.transport()});
  if (!bus) return failed("opening the bus", bus.error());
  // Nothing is lost: policy block waits for the subscribers. The ring takes 31 parts. What is published behind an open
  // loan counts as a loan: with as many as there are parts, a read that takes long stops the others only at a full
  // ring.
  auto publisher = bus->publisher<part>("files/transfer",
                                        {.policy = quoit::policy::block, .capacity_bytes = 8 << 20, .loans_max = 32});
  if (!publisher) return failed("opening the topic", publisher.error());
  print_transport(publisher->transport());
  transfer t{.file = file, .file_bytes = static_cast<std::uint64_t>(status.st_size)};
  return executor->run(send(*publisher, t, static_cast<std::uint32_t>(args.number("--subscribers", 1)), path));
}
