#include "counting.hpp"

#include <algorithm>

namespace bench {

counted counts_of(const trace::tally& seen, const copies& own, std::uint64_t messages, std::uint64_t payload_bytes,
                  job what_for) {
  const auto each = static_cast<double>(messages);
  const double payload = each * static_cast<double>(payload_bytes);
  counted out;
  out.calls = static_cast<double>(seen.calls_total()) / each;
  for (const auto& [number, times] : seen.calls)
    out.calls_by_name[trace::name_of_call(number)] += static_cast<double>(times) / each;
  const auto in = static_cast<double>(seen.bytes_in);
  const auto back = static_cast<double>(seen.bytes_out);
  out.bytes_copied = (in + back + static_cast<double>(own.bytes)) / each;
  const double crossings_max = what_for == job::file_transfer ? 2 : 1;
  const auto crossings = [&](double bytes) { return std::min(bytes / payload, crossings_max); };
  out.copies = crossings(in) + crossings(back) + static_cast<double>(own.times) / each;
  return out;
}

}  // namespace bench
