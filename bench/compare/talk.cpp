#include "talk.hpp"

#include <array>
#include <functional>

#include "trace.hpp"
#include "work.hpp"

namespace bench {

namespace {

struct setting {
  job what_for;
  const channels& through;
  bool asks;
};

// Returns what it copied by itself.
using turns_of_way = std::function<copies(const order&, histogram*)>;

void check_sum(std::uint64_t sum, std::size_t bytes, std::uint64_t first) {
  if (sum != sum_of(bytes, first)) throw std::runtime_error("what arrived is not what was sent");
}

template <class Carrier>
void send_words(Carrier& by, std::size_t bytes, std::uint64_t first) {
  by.send(bytes, [first](std::span<std::byte> where, std::size_t offset) {
    produce(where.data(), where.size(), first + offset / 8);
  });
}
template <class Carrier>
void receive_words(Carrier& by, std::size_t bytes, std::uint64_t first) {
  std::uint64_t sum = 0;
  by.receive(bytes,
             [&sum](std::span<const std::byte> where, std::size_t) { sum += consume(where.data(), where.size()); });
  check_sum(sum, bytes, first);
}

// Each message is produced once and consumed once; two of them are a turn.
template <class Carrier>
void round_trips(Carrier& by, const order& what, bool asks, histogram* h) {
  for (std::uint64_t turn = what.first_turn; turn < what.first_turn + what.turns; ++turn) {
    if (asks) {
      const std::uint64_t begin = floors::ticks();
      send_words(by, what.payload_bytes, turn);
      receive_words(by, what.payload_bytes, ~turn);
      h->record(floors::ticks() - begin);
    } else {
      receive_words(by, what.payload_bytes, turn);
      send_words(by, what.payload_bytes, ~turn);
    }
  }
}

template <class Carrier>
void one_way(Carrier& by, const order& what, bool asks) {
  for (std::uint64_t turn = what.first_turn; turn < what.first_turn + what.turns; ++turn) {
    asks ? send_words(by, what.payload_bytes, turn) : receive_words(by, what.payload_bytes, turn);
  }
}

void read_file(int file, std::span<std::byte> into, std::size_t offset) {
  if (::pread(file, into.data(), into.size(), static_cast<off_t>(offset)) != static_cast<ssize_t>(into.size()))
    throw std::runtime_error(std::string("reading the file: ") + std::strerror(errno));
}
void write_file(int file, std::span<const std::byte> from, std::size_t offset) {
  if (::pwrite(file, from.data(), from.size(), static_cast<off_t>(offset)) != static_cast<ssize_t>(from.size()))
    throw std::runtime_error(std::string("writing the file: ") + std::strerror(errno));
}

// The file again and again, a part each turn.
template <class Carrier>
void parts_of_file(Carrier& by, const order& what, const setting& s) {
  for (std::uint64_t turn = what.first_turn; turn < what.first_turn + what.turns; ++turn) {
    const std::size_t begin = turn % file_parts * file_part_bytes;
    if (s.asks) {
      by.send(file_part_bytes, [&](std::span<std::byte> where, std::size_t offset) {
        read_file(s.through.source(), where, begin + offset);
      });
    } else {
      by.receive(file_part_bytes, [&](std::span<const std::byte> where, std::size_t offset) {
        write_file(s.through.target(), where, begin + offset);
      });
    }
  }
}

template <class Carrier>
turns_of_way turns_through(const setting& s, std::shared_ptr<Carrier> by) {
  return [s, by](const order& what, histogram* h) {
    const copies before = by->copied();
    switch (s.what_for) {
      case job::round_trip: round_trips(*by, what, s.asks, h); break;
      case job::one_way: one_way(*by, what, s.asks); break;
      case job::file_transfer: parts_of_file(*by, what, s); break;
    }
    return copies{by->copied().times - before.times, by->copied().bytes - before.bytes};
  };
}

class talk final : public side {
 public:
  talk(const setting& s, shared_talk& both) : setting_(s), both_(both) {}

  void run(const order& what, histogram* h) override {
    turns_of_way& turns = opened_.at(what.way);
    if (!turns) turns = open(ways.at(what.way), what);
    if (what.counted) trace::begin(what.way);
    const copies made = turns(what, h);
    if (what.counted) {
      wait_for_other_side();
      trace::end();
    }
    both_.copied[setting_.asks ? 0 : 1].of[what.way] = made;
  }
  std::uint64_t wakes() const override { return (shared_ ? shared_->wakes() : 0) + (kernel_ ? kernel_->wakes() : 0); }

 private:
  // Until it has received everything, a thread of this side may still be sending. Without a system call: it would
  // count.
  void wait_for_other_side() {
    const std::uint64_t mine = __atomic_add_fetch(&both_.over[setting_.asks ? 0 : 1], 1, __ATOMIC_ACQ_REL);
    while (__atomic_load_n(&both_.over[setting_.asks ? 1 : 0], __ATOMIC_ACQUIRE) < mine) {
    }
  }
  turns_of_way open(const way& w, const order& what) {
    const std::size_t bytes = what.payload_bytes;
    const bool as_it_comes = setting_.what_for == job::file_transfer;
    const channels& c = setting_.through;
    switch (w.by) {
      case carrier::loan:
        return w.polls ? turns_through(setting_, std::make_shared<in_place<true>>(shared(what)))
                       : turns_through(setting_, std::make_shared<in_place<false>>(shared(what)));
      case carrier::copy:
        return w.polls ? turns_through(setting_, std::make_shared<copied_over<true>>(shared(what), bytes))
                       : turns_through(setting_, std::make_shared<copied_over<false>>(shared(what), bytes));
      case carrier::kernel:
        return turns_through(setting_, std::make_shared<in_place<false>>(bus(kernel_, quoit::transport::kernel, what)));
      case carrier::pipe:
        return turns_through(
            setting_, std::make_shared<through_descriptors>(c.pipe_out(setting_.asks), c.pipe_in(setting_.asks), false,
                                                            as_it_comes, bytes));
      case carrier::socketpair: {
        const int socket = c.socket(setting_.asks);
        return turns_through(setting_, std::make_shared<through_descriptors>(socket, socket, true, as_it_comes, bytes));
      }
    }
    throw std::runtime_error("no such way");
  }
  // All ways through shared memory go through one bus: whether they poll or sleep is decided at each call.
  bus_end& shared(const order& what) { return bus(shared_, quoit::transport::shared_memory, what); }
  bus_end& bus(std::optional<bus_end>& where, quoit::transport by, const order& what) {
    if (!where) where.emplace(what, setting_.asks, setting_.what_for == job::round_trip, by);
    return *where;
  }

  const setting setting_;
  shared_talk& both_;
  std::optional<bus_end> shared_;
  std::optional<bus_end> kernel_;
  std::array<turns_of_way, ways.size()> opened_;
};

}  // namespace

std::unique_ptr<side> make_talk(job what_for, const channels& through, bool asks, shared_talk& shared) {
  return std::make_unique<talk>(setting{what_for, through, asks}, shared);
}

}  // namespace bench
