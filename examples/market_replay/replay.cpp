// Reads a session that was recorded: quotes and trades of all venues merged by time, every message checked.
#include <algorithm>
#include <chrono>
#include <fstream>
#include <map>
#include <quoit.hpp>
#include <thread>

#include "commands.hpp"
#include "market.hpp"

namespace {

// What a user wants of it: a bar for each symbol.
struct bar {
  double open = 0, high = 0, low = 0, close = 0;
  double turnover = 0;  // price times size
  std::uint64_t volume = 0;
  std::uint64_t trades = 0;
  std::uint64_t quotes = 0;
  double spread = 0;  // sum

  void add(const trade& t) {
    if (trades++ == 0) open = high = low = t.price;
    high = std::max(high, t.price);
    low = std::min(low, t.price);
    close = t.price;
    volume += t.size;
    turnover += t.price * static_cast<double>(t.size);
  }
  void add(const quote& q) {
    ++quotes;
    spread += q.ask - q.bid;
  }
};

// Symbols are eight bytes: as a number they are found without a string.
using bars = std::map<std::uint64_t, bar>;

template <class T>
bar& bar_of(bars& all, const T& message) {
  std::uint64_t symbol = 0;
  std::memcpy(&symbol, message.symbol, sizeof symbol);
  return all[symbol];
}

// One topic: its next message, and a checksum for each of its publishers.
template <class T>
class stream {
 public:
  explicit stream(quoit::replay<T> reader) : reader_(std::move(reader)) {}

  // False: there is none, or what was read is not what was kept; status() says which.
  bool next() {
    auto sample = reader_.poll();
    if (!sample) {
      status_ = failed("reading", sample.error());
      sample_ = {};
      return false;
    }
    sample_ = std::move(*sample);
    if (!sample_) return false;
    of_publisher& seen = seen_[sample_.publisher_name()];
    if (sample_.sequence() != seen.sum.messages || sample_->exchange_ns < seen.exchange_ns) {
      status_ = failed("a message is missing, or comes before one that is older");
      sample_ = {};
      return false;
    }
    seen.sum.add(*sample_);
    seen.exchange_ns = sample_->exchange_ns;
    return true;
  }
  const quoit::sample<T>& sample() const { return sample_; }
  explicit operator bool() const { return static_cast<bool>(sample_); }
  int status() const { return status_; }
  // None if it was not read.
  checksum sum_of(const std::string& publisher) const {
    const auto found = seen_.find(publisher);
    return found == seen_.end() ? checksum{} : found->second.sum;
  }

 private:
  struct of_publisher {
    checksum sum;
    std::uint64_t exchange_ns = 0;
  };

  quoit::replay<T> reader_;
  quoit::sample<T> sample_;
  std::map<std::string_view, of_publisher> seen_;  // names live as long as the reader
  int status_ = 0;
};

// Waits until the market's clock, `speed` times as fast as ours, is there.
class pace {
 public:
  explicit pace(double speed) : speed_(speed) {}
  void wait_for(std::uint64_t exchange_ns) const {
    if (speed_ == 0) return;
    std::this_thread::sleep_until(
        began_ + std::chrono::nanoseconds(static_cast<std::int64_t>(static_cast<double>(exchange_ns) / speed_)));
  }

 private:
  double speed_;  // 0: as fast as it goes
  std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
};

double speed_of(const arguments& args) {
  const std::string text = args.text("--speed", "max");
  if (text == "max") return 0;
  char* end = nullptr;
  const double speed = std::strtod(text.c_str(), &end);
  if (std::string_view(end) != "x" || !(speed > 0)) args.fail();
  return speed;
}

int check(const std::string& directory, const stream<quote>& quotes, const stream<trade>& trades) {
  std::ifstream file(directory + "/" + checksums_file);
  if (!file) return failed((directory + " has no checksums: the recording did not come to its end").c_str());
  std::string topic, publisher;
  checksum kept;
  int publishers = 0;
  while (file >> topic >> publisher >> kept.messages >> kept.value) {
    const checksum read = topic == "market/quotes" ? quotes.sum_of(publisher) : trades.sum_of(publisher);
    if (read != kept) return failed((topic + " of " + publisher + " is not what was recorded").c_str());
    ++publishers;
  }
  std::printf("checksums of %d publishers are right\n", publishers);
  return 0;
}

void print(const bars& all) {
  std::printf("%-8s %9s %9s %9s %9s %12s %10s %10s %8s\n", "symbol", "open", "high", "low", "close", "volume", "VWAP",
              "trades", "spread");
  for (const char* const name : symbols) {
    std::uint64_t symbol = 0;
    std::memcpy(&symbol, name, std::strlen(name));
    const auto found = all.find(symbol);
    if (found == all.end()) continue;
    const bar& b = found->second;
    std::printf("%-8s %9.2f %9.2f %9.2f %9.2f %12llu %10.4f %10llu %8.4f\n", name, b.open, b.high, b.low, b.close,
                static_cast<unsigned long long>(b.volume), b.turnover / static_cast<double>(std::max(b.volume, 1ul)),
                static_cast<unsigned long long>(b.trades), b.spread / static_cast<double>(std::max(b.quotes, 1ul)));
  }
}

}  // namespace

int replay(const arguments& args, const std::string& directory) {
  const double speed = speed_of(args);
  // No bus, and no permission to write: the files are all that is needed. Each topic comes merged by time already.
  auto kept_quotes = quoit::replay<quote>::open(directory, "market/quotes");
  if (!kept_quotes) return failed("opening the quotes", kept_quotes.error());
  auto kept_trades = quoit::replay<trade>::open(directory, "market/trades");
  if (!kept_trades) return failed("opening the trades", kept_trades.error());
  stream<quote> quotes(std::move(*kept_quotes));
  stream<trade> trades(std::move(*kept_trades));

  bars all;
  std::uint64_t messages = 0, bytes = 0, last_ns = 0, swapped = 0;
  const pace clock(speed);
  const auto began = std::chrono::steady_clock::now();
  quotes.next();
  trades.next();
  while ((quotes || trades) && !stop_wanted) {
    // The older of the two, as they were published.
    const bool trade_is_next = !quotes || (trades && trades.sample().time() < quotes.sample().time());
    const std::uint64_t now_ns = trade_is_next ? trades.sample()->exchange_ns : quotes.sample()->exchange_ns;
    // Each publisher has a clock of its own, right to a microsecond: what two of them published closer together than
    // that may come in the other order.
    if (now_ns < last_ns) ++swapped;
    last_ns = std::max(last_ns, now_ns);
    clock.wait_for(now_ns);
    if (trade_is_next) {
      bar_of(all, *trades.sample()).add(*trades.sample());
      trades.next();
      bytes += sizeof(trade);
    } else {
      bar_of(all, *quotes.sample()).add(*quotes.sample());
      quotes.next();
      bytes += sizeof(quote);
    }
    ++messages;
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  if (const int status = std::max(quotes.status(), trades.status()); status != 0) return status;
  print(all);
  std::printf("replayed %llu messages in %.2f s: %.2f million messages/s, %.0f MB/s with what frames take\n",
              static_cast<unsigned long long>(messages), seconds, 1e-6 * static_cast<double>(messages) / seconds,
              1e-6 * static_cast<double>(bytes + messages * frame_words_bytes) / seconds);
  std::printf("%llu of them in another order than the market's, of different publishers within a microsecond\n",
              static_cast<unsigned long long>(swapped));
  if (stop_wanted) return failed("interrupted: the rest was not checked");
  return check(directory, quotes, trades);
}
