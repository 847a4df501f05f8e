// One job, done twice: counts the words of a file, and makes a word upper case wherever it stands. Once with read and
// write, block by block, and once in a mapping of the file.
#include <fcntl.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <quoit.hpp>
#include <stdexcept>

#include "../common/arguments.hpp"
#include "cost.hpp"
#include "text.hpp"

namespace fs = std::filesystem;

namespace {

[[noreturn]] void fail(const std::string& doing) { throw std::runtime_error(doing + ": " + std::strerror(errno)); }

// The kernel copies each block into the buffer, and what was changed of it back. A word may lie across the edge of two
// blocks: what begins one stays in the buffer until its end is there.
tally with_read_and_write(const std::string& path, std::size_t block_bytes, std::string_view word) {
  const int file = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (file < 0) fail(path);
  tally sum;
  std::vector<char> buffer(2 * block_bytes);
  std::size_t kept = 0;  // bytes of a word that is not whole
  off_t offset = 0;      // of the buffer in the file
  for (bool end = false; !end;) {
    if (buffer.size() < kept + block_bytes) buffer.resize(2 * buffer.size());
    const ssize_t got = ::read(file, buffer.data() + kept, block_bytes);
    if (got < 0) fail(path);
    end = got == 0;
    sum.copied_bytes += static_cast<unsigned long long>(got);
    const std::size_t there = kept + static_cast<std::size_t>(got);
    std::size_t whole = there;
    while (!end && whole > kept && !is_space(buffer[whole - 1])) --whole;
    if (!end && whole == kept) whole = 0;  // one word, so far
    const std::span<char> changed = patch_words({buffer.data(), whole}, word, sum);
    if (!changed.empty()) {
      const off_t to = offset + (changed.data() - buffer.data());
      if (::pwrite(file, changed.data(), changed.size(), to) != static_cast<ssize_t>(changed.size())) fail(path);
      sum.copied_bytes += changed.size();
    }
    std::memmove(buffer.data(), buffer.data() + whole, there - whole);
    kept = there - whole;
    offset += static_cast<off_t>(whole);
  }
  ::close(file);
  return sum;
}

// The file is memory: nothing is copied, and it has no blocks.
tally with_mapping(const std::string& path, std::string_view word) {
  auto file = quoit::mapped_file::open(path, quoit::mapped_file::access::read_write).value();
  tally sum;
  const std::span<std::byte> bytes = file.writable();
  patch_words({reinterpret_cast<char*>(bytes.data()), bytes.size()}, word, sum);
  return sum;
}

// Text of this machine, one file after the other, until it is enough.
void make_text(const fs::path& path, std::uintmax_t bytes) {
  std::ofstream out(path, std::ios::binary);
  for (const char* const folder : {"/usr/include", "/usr/share/doc", "/usr/share"}) {
    std::error_code ignored;
    const auto options = fs::directory_options::skip_permission_denied;
    for (fs::recursive_directory_iterator it(folder, options, ignored), none; it != none; it.increment(ignored)) {
      if (static_cast<std::uintmax_t>(out.tellp()) >= bytes) break;
      if (it->is_regular_file(ignored) && it->file_size(ignored) > 0 && it->path().extension() != ".gz") {
        if (!(out << std::ifstream(it->path(), std::ios::binary).rdbuf())) out.clear();  // not readable: the next
      }
    }
  }
  out.flush();
  if (!out || out.tellp() <= 0)
    throw std::runtime_error("no text was found on this machine, or no space for it: name a FILE");
}

// A copy that is on the disk, and in memory (the page cache) too unless it shall be cold.
void copy_fresh(const fs::path& from, const fs::path& to, bool cold) {
  fs::copy_file(from, to, fs::copy_options::overwrite_existing);
  const int file = ::open(to.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0 || ::fsync(file) != 0) fail(to.string());
  if (cold) ::posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
  ::close(file);
}

struct conditions {
  bool cold;    // the file is not in memory when a job begins
  long rounds;  // of which the fastest counts
};

template <class Job>
tally measure(const char* name, const fs::path& original, const fs::path& copy, const conditions& how, Job job) {
  copy_fresh(original, copy, how.cold);
  const long calls = system_calls_of([&] { job(copy.string()); });
  tally sum;
  cost best;
  for (long round = 0; round < how.rounds; ++round) {
    copy_fresh(original, copy, how.cold);
    const cost c = cost_of([&] { sum = job(copy.string()); });
    if (round == 0 || c.milliseconds < best.milliseconds) best = c;
  }
  const std::string calls_text = calls < 0 ? "unknown" : std::to_string(calls);
  std::printf("%-15s %15llu %13s %13ld %13ld %9.1f %9.1f\n", name, sum.copied_bytes, calls_text.c_str(),
              best.minor_faults, best.major_faults, best.milliseconds, best.cpu_milliseconds);
  return sum;
}

bool same(const std::string& a, const std::string& b) {
  using access = quoit::mapped_file::access;
  const auto first = quoit::mapped_file::open(a, access::read), second = quoit::mapped_file::open(b, access::read);
  return std::ranges::equal(first.value().data(), second.value().data());
}

int run(const arguments& args, const fs::path& folder) {
  const fs::path original = args.rest.empty() ? folder / "text" : fs::path(args.rest[0]);
  if (args.rest.empty()) make_text(original, static_cast<std::uintmax_t>(args.number("--bytes", 64 << 20)));
  // Says what it is, if it is nothing that can be mapped.
  const auto file = quoit::mapped_file::open(original.string(), quoit::mapped_file::access::read);
  if (!file) return failed("opening", file.error());
  const auto block_bytes = static_cast<std::size_t>(args.number("--block", 64 << 10));
  if (block_bytes < 1) args.fail();
  const std::string word = args.text("--word", "the");
  const std::string cache = args.text("--cache", "warm");
  if (cache != "warm" && cache != "cold") args.fail();
  const conditions how{.cold = cache == "cold", .rounds = args.number("--rounds", 3)};
  if (how.rounds < 1) args.fail();

  std::printf("%zu bytes, blocks of %zu\n", file->size(), block_bytes);
  std::printf("%-15s %15s %13s %13s %13s %9s %9s\n", "", "bytes copied", "system calls", "minor faults", "major faults",
              "ms", "cpu ms");
  const std::string one = folder / "read_write", other = folder / "mapped";
  const tally a = measure("read and write", original, one, how,
                          [&](const std::string& path) { return with_read_and_write(path, block_bytes, word); });
  const tally b =
      measure("mapping", original, other, how, [&](const std::string& path) { return with_mapping(path, word); });
  if (!(a == b) || !same(one, other)) return failed("the two ways do not come to the same");
  std::printf("%llu words, %llu times \"%s\" made upper case; both files are the same\n", a.words, a.patched,
              word.c_str());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const arguments args(
      argc, argv,
      "[--word WORD] [--block BYTES] [--cache warm|cold] [--rounds N] [--bytes BYTES] [--into FOLDER] [FILE]");
  if (args.rest.size() > 1) args.fail();
  std::string temporary = (fs::temp_directory_path() / "quoit-mapped-file-XXXXXX").string();
  const std::string into = args.text("--into");
  if (into.empty() && ::mkdtemp(temporary.data()) == nullptr) return std::perror(temporary.c_str()), 1;
  int status = 1;
  try {
    status = run(args, into.empty() ? temporary : into);
  } catch (const std::exception& e) {
    failed(e.what());
  }
  std::error_code ignored;
  if (into.empty()) fs::remove_all(temporary, ignored);
  return status;
}
