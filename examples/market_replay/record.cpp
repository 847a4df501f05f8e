// Makes up a session of a market, and keeps it: for each venue a publisher of quotes and one of trades.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <quoit.hpp>
#include <random>
#include <vector>

#include "commands.hpp"
#include "market.hpp"

using namespace std::chrono_literals;

namespace {

// Prices that walk, and a clock that hurries through calm and through bursts, as markets do. The same each time.
class session {
 public:
  session() { price_.fill(10'000); }

  std::uint64_t now_ns() const { return now_ns_; }

  // On to the next event.
  void advance() {
    if (left_in_burst_ == 0 && random_() % 400 == 0) left_in_burst_ = 50 + random_() % 500;
    const bool burst = left_in_burst_ > 0;
    if (burst) --left_in_burst_;
    // On average 2 µs in a burst, and 50 µs in the calm between.
    const double uniform = (static_cast<double>(random_() >> 11) + 1) * 0x1p-53;
    now_ns_ += static_cast<std::uint64_t>(-std::log(uniform) * (burst ? 2e3 : 50e3)) + 1;
    symbol_ = burst ? symbol_ : random_() % symbols.size();  // what bursts is one symbol
    venue_ = random_() % venues.size();
    trade_ = random_() % 8 == 0;
    const std::uint64_t step = random_() % 5;  // in cents; what falls too far comes back
    price_[symbol_] += price_[symbol_] < 5'000 ? 2 : static_cast<std::int64_t>(step) - 2;
  }
  std::size_t venue() const { return venue_; }
  bool is_trade() const { return trade_; }

  void fill(quote& q) {
    const std::int64_t half_spread = 1 + static_cast<std::int64_t>(random_() % 2);
    q.exchange_ns = now_ns_;
    q.bid = 0.01 * static_cast<double>(price_[symbol_] - half_spread);
    q.ask = 0.01 * static_cast<double>(price_[symbol_] + half_spread);
    q.bid_size = static_cast<std::uint32_t>(100 * (1 + random_() % 20));
    q.ask_size = static_cast<std::uint32_t>(100 * (1 + random_() % 20));
    std::memcpy(q.symbol, symbol_name().data(), sizeof q.symbol);
  }
  void fill(trade& t) {
    t.exchange_ns = now_ns_;
    t.price = 0.01 * static_cast<double>(price_[symbol_]);
    t.size = 1 + random_() % 1000;
    std::memcpy(t.symbol, symbol_name().data(), sizeof t.symbol);
  }

 private:
  std::array<char, 8> symbol_name() const {
    std::array<char, 8> name{};
    std::memcpy(name.data(), symbols[symbol_], std::strlen(symbols[symbol_]));
    return name;
  }

  std::mt19937_64 random_{20261125};
  std::uint64_t now_ns_ = 0;
  std::array<std::int64_t, symbols.size()> price_;  // in cents
  std::uint64_t left_in_burst_ = 0;
  std::size_t symbol_ = 0;
  std::size_t venue_ = 0;
  bool trade_ = false;
};

template <class T>
struct feed {
  quoit::publisher<T> publisher;
  checksum sum;

  // 0, or an exit status.
  int publish(session& market) {
    auto loan = publisher.loan_for(10s);  // in the file; waits while the next one is made
    if (!loan) return failed("keeping a message", loan.error());
    market.fill(**loan);
    sum.add(**loan);
    std::move(*loan).publish();
    return 0;
  }
};

template <class T>
int open_feeds(quoit::bus& bus, const std::string& directory, const char* topic, std::vector<feed<T>>& feeds) {
  for (const std::string_view venue : venues) {
    auto publisher = bus.publisher<T>(topic, {.directory = directory, .publisher_name = venue});
    if (!publisher) return failed("opening the topic", publisher.error());
    feeds.push_back({std::move(*publisher), {}});
  }
  return 0;
}

template <class T>
int close_feeds(std::vector<feed<T>>& feeds, const char* topic, std::ofstream& checksums) {
  for (std::size_t i = 0; i < feeds.size(); ++i) {
    if (auto ok = feeds[i].publisher.flush_for(60s); !ok) return failed("writing back", ok.error());
    checksums << topic << ' ' << venues[i] << ' ' << feeds[i].sum.messages << ' ' << feeds[i].sum.value << '\n';
  }
  return 0;
}

}  // namespace

int record(const arguments& args, const std::string& directory) {
  const auto bytes_wanted = static_cast<std::uint64_t>(std::max(args.number("--bytes", 1'000'000'000), 0L));
  const std::string sums_path = directory + "/" + checksums_file;
  if (std::ifstream(sums_path)) return failed((directory + " has a recording already: name another one").c_str());

  auto bus = quoit::bus::open(args.bus(), {.node_name = "market recorder"});
  if (!bus) return failed("opening the bus", bus.error());
  std::vector<feed<quote>> quotes;
  std::vector<feed<trade>> trades;
  if (const int status = open_feeds(*bus, directory, "market/quotes", quotes); status != 0) return status;
  if (const int status = open_feeds(*bus, directory, "market/trades", trades); status != 0) return status;

  session market;
  std::uint64_t messages = 0;
  const auto began = std::chrono::steady_clock::now();
  for (std::uint64_t bytes = 0; bytes < bytes_wanted && !stop_wanted; ++messages) {
    market.advance();
    const int status =
        market.is_trade() ? trades[market.venue()].publish(market) : quotes[market.venue()].publish(market);
    if (status != 0) return status;
    bytes += frame_words_bytes + (market.is_trade() ? sizeof(trade) : sizeof(quote));
  }
  const double published_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();

  // Last, and only if everything else is on the disk.
  std::ofstream checksums(sums_path);
  if (const int status = close_feeds(quotes, "market/quotes", checksums); status != 0) return status;
  if (const int status = close_feeds(trades, "market/trades", checksums); status != 0) return status;
  checksums.close();
  if (!checksums) return failed(("writing " + sums_path).c_str());
  const double durable_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  std::printf("recorded %llu messages of %.1f s of a market, in %.2f s; on the disk after %.2f s\n",
              static_cast<unsigned long long>(messages), 1e-9 * static_cast<double>(market.now_ns()), published_s,
              durable_s);
  return 0;
}
