#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "html/page.hpp"
#include "html/plot.hpp"
#include "html/scale.hpp"
#include "html/text.hpp"

using bench::html::escaped;
using bench::html::log_scale;

namespace {

std::size_t times(const std::string& what, const std::string& in) {
  std::size_t n = 0;
  for (std::size_t at = in.find(what); at != std::string::npos; at = in.find(what, at + 1)) ++n;
  return n;
}

bench::html::plot sample_plot() {
  return {.title = "a & b",
          .says = "says",
          .y_axis = "y",
          .tick_words = [](double) { return std::string("t"); },
          .all = {{"one", {"loan", bench::html::look::mark::circle}, {{8, 10, false, "<8>"}, {4096, 1000, true, "b"}}},
                  {"two", {"floor", bench::html::look::mark::none}, {{8, 20, false, ""}}}}};
}

}  // namespace

TEST_CASE("what has a meaning in HTML is escaped, and nothing else is") {
  CHECK(escaped("a < b && c > \"d\" 'e'") == "a &lt; b &amp;&amp; c &gt; &quot;d&quot; &#39;e&#39;");
  CHECK(escaped("16 µs, 100 %") == "16 µs, 100 %");
  CHECK(escaped("").empty());
}

TEST_CASE("an axis goes to whole powers of ten, and its values lie between its ends") {
  const log_scale s({25, 4000}, 0, 300, log_scale::ends::decades);
  CHECK(s.low() == doctest::Approx(10));
  CHECK(s.high() == doctest::Approx(10'000));
  CHECK(s.at(10) == doctest::Approx(0));
  CHECK(s.at(100) == doctest::Approx(100));
  CHECK(s.at(10'000) == doctest::Approx(300));
  CHECK(s.ticks().size() == 4);
  // Upwards, as the ordinate goes.
  CHECK(log_scale({25, 4000}, 300, 0, log_scale::ends::decades).at(100) == doctest::Approx(200));
}

TEST_CASE("whole powers of ten are ends of an axis, and stay there") {
  for (int power = -3; power <= 12; ++power) {
    const double ten = std::pow(10, power);
    const log_scale s({ten, ten * 1000}, 0, 1, log_scale::ends::decades);
    CHECK(s.low() == doctest::Approx(ten));
    CHECK(s.high() == doctest::Approx(ten * 1000));
    CHECK(s.ticks().size() == 4);
  }
}

TEST_CASE("an axis of less than two decades has marks between") {
  const std::vector<double> ticks = log_scale({12, 70}, 0, 1, log_scale::ends::decades).ticks();
  REQUIRE(ticks.size() == 4);
  CHECK(ticks[1] == doctest::Approx(20));
  CHECK(ticks[2] == doctest::Approx(50));
}

TEST_CASE("one value, or none, or what cannot be drawn, makes an axis nevertheless") {
  const log_scale one({64}, 0, 100, log_scale::ends::values);
  CHECK(one.at(64) == doctest::Approx(50));
  for (const std::vector<double>& values :
       {std::vector<double>{}, {0, -1, std::nan(""), std::numeric_limits<double>::infinity()}}) {
    const log_scale s(values, 0, 1, log_scale::ends::decades);
    CHECK(s.low() == 1);
    CHECK(s.high() == 10);
    CHECK(s.ticks().size() == 4);
  }
  // A value outside lies at the end.
  CHECK(one.at(1e9) == doctest::Approx(100));
}

TEST_CASE("a plot has a line for each series, and a mark for each value of those that have marks") {
  const std::string html = figure_of(sample_plot());
  CHECK(times("data-series=", html) == 2);
  CHECK(times("data-value=", html) == 2);
  CHECK(times("data-unstable", html) == 1);
  CHECK(html.find("a &amp; b") != std::string::npos);
  CHECK(html.find("&lt;8&gt;") != std::string::npos);
  CHECK(html.find("<8>") == std::string::npos);
  CHECK(times("<li", html) == 2);
}

TEST_CASE("bars are as long as their values, and nothing is a line") {
  bench::html::bars b{
      "t", "s", {{"one", "loan", 4, false, "4"}, {"two", "copy", 2, true, "2"}, {"none", "pipe", 0, false, "0"}}};
  const std::string html = figure_of(b);
  CHECK(html.find("width=\"188.0\"") != std::string::npos);
  CHECK(html.find("width=\"94.0\"") != std::string::npos);
  CHECK(html.find("width=\"1.0\"") != std::string::npos);
  CHECK(times("data-unstable", html) == 1);
}

TEST_CASE("a page of nothing is a page, and what a machine says of itself is text") {
  bench::machine where;
  where.cpu = "<script>alert(1)</script>";
  const std::string html = bench::html_of({}, where);
  CHECK(html.starts_with("<!doctype html>"));
  CHECK(html.find("<script") == std::string::npos);
  CHECK(html.find("&lt;script&gt;") != std::string::npos);
  CHECK(html.find("http") == std::string::npos);
}

TEST_CASE("a page says when others ran on the machine") {
  bench::machine where;
  CHECK(bench::html_of({}, where).find("Other programs") == std::string::npos);
  where.load = 3.25;
  CHECK(bench::html_of({}, where).find("Other programs were running when it began (load average 3.") !=
        std::string::npos);
}
