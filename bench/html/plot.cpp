#include "plot.hpp"

#include <fmt/core.h>

#include <set>

#include "../compare/report.hpp"
#include "scale.hpp"
#include "text.hpp"

namespace bench::html {

namespace {

// In units of the drawing, which are pixels on a telephone.
constexpr double width = 400, height = 290;
constexpr double left = 68, right = 14, top = 10, bottom = 44;
constexpr double size_ticks_apart = 27;

std::string mark_at(look::mark shape, double x, double y, const std::string& attributes, const std::string& inside) {
  switch (shape) {
    case look::mark::none: return {};
    case look::mark::circle:
      return fmt::format(R"(<circle class="mark" cx="{:.1f}" cy="{:.1f}" r="4"{}>{}</circle>)", x, y, attributes,
                         inside);
    default: break;
  }
  const char* path = "";
  switch (shape) {
    case look::mark::square: path = "m-3.7-3.7h7.4v7.4h-7.4z"; break;
    case look::mark::triangle: path = "m0-4.8l4.6 8.2h-9.2z"; break;
    case look::mark::diamond: path = "m0-5.2l5.2 5.2l-5.2 5.2l-5.2-5.2z"; break;
    default: path = "m-1.5-4.5h3v3h3v3h-3v3h-3v-3h-3v-3h3z"; break;
  }
  return fmt::format(R"(<path class="mark" d="M{:.1f} {:.1f}{}"{}>{}</path>)", x, y, path, attributes, inside);
}

std::string title_element(const std::string& words) { return fmt::format("<title>{}</title>", escaped(words)); }

struct axes {
  log_scale x;
  log_scale y;
};

axes axes_of(const plot& p) {
  std::vector<double> sizes, values;
  for (const series& s : p.all) {
    for (const point& at : s.points) {
      sizes.push_back(static_cast<double>(at.bytes));
      values.push_back(at.value);
    }
  }
  // Marks at the ends have room.
  return {log_scale(sizes, left + 10, width - right - 6, log_scale::ends::values),
          log_scale(values, height - bottom, top, log_scale::ends::decades)};
}

std::string grid_of(const plot& p, const axes& a) {
  std::string out = R"(<g class="grid">)";
  for (const double tick : a.y.ticks()) {
    out += fmt::format(R"(<path d="M{:.1f} {:.1f}H{:.1f}"/>)", left, a.y.at(tick), width - right);
    out += fmt::format(R"(<text x="{:.1f}" y="{:.1f}" text-anchor="end">{}</text>)", left - 6, a.y.at(tick) + 4,
                       escaped(p.tick_words(tick)));
  }
  std::set<std::uint64_t> sizes;
  for (const series& s : p.all) {
    for (const point& at : s.points) sizes.insert(at.bytes);
  }
  double last = 0;
  for (const std::uint64_t bytes : sizes) {
    const double x = a.x.at(static_cast<double>(bytes));
    // Their words need room.
    if (x < last + size_ticks_apart) continue;
    last = x;
    out += fmt::format(R"(<path d="M{:.1f} {:.1f}V{:.1f}"/>)", x, top, height - bottom);
    out += fmt::format(R"(<text x="{:.1f}" y="{:.1f}" text-anchor="middle">{}</text>)", x, height - bottom + 16,
                       escaped(words_of_tick_bytes(bytes)));
  }
  out += fmt::format(R"(<text x="{:.1f}" y="{:.1f}" text-anchor="middle">bytes of a message</text>)",
                     (left + width - right) / 2, height - 8);
  return out + "</g>\n";
}

std::string drawn(const series& s, const axes& a) {
  std::string line, marks;
  for (const point& at : s.points) {
    const double x = a.x.at(static_cast<double>(at.bytes)), y = a.y.at(at.value);
    line += fmt::format("{}{:.1f} {:.1f}", line.empty() ? "M" : "L", x, y);
    const std::string attributes = fmt::format(R"( data-bytes="{}" data-value="{:.3f}"{})", at.bytes, at.value,
                                               at.unstable ? R"( data-unstable="")" : "");
    marks += mark_at(s.how.shape, x, y, attributes, title_element(at.words));
  }
  return fmt::format("<g class=\"series {}\" data-series=\"{}\"><path class=\"line\" d=\"{}\">{}</path>{}</g>\n",
                     s.how.style, escaped(s.name), line, title_element(s.name), marks);
}

std::string legend_of(const plot& p) {
  std::string out = "<ul class=\"legend\">";
  for (const series& s : p.all) {
    out += fmt::format(
        R"(<li class="series {}"><svg viewBox="0 0 30 14" width="30" height="14" aria-hidden="true"><path class="line" d="M1 7H29"/>{}</svg>{}</li>)",
        s.how.style, mark_at(s.how.shape, 15, 7, "", ""), escaped(s.name));
  }
  return out + "</ul>\n";
}

std::string svg(const std::string& kind, double w, double h, const std::string& title, const std::string& says,
                const std::string& inside) {
  return fmt::format(
      "<svg class=\"{}\" viewBox=\"0 0 {} {}\" role=\"img\" "
      "aria-label=\"{}\">\n<title>{}</title>\n<desc>{}</desc>\n{}</svg>\n",
      kind, w, h, escaped(title), escaped(title), escaped(says), inside);
}

std::string figure(const std::string& title, const std::string& below_title, const std::string& inside,
                   const std::string& legend) {
  return fmt::format("<figure>\n<figcaption><strong>{}</strong>{}</figcaption>\n{}{}</figure>\n", escaped(title),
                     below_title.empty() ? "" : fmt::format("<br>{}", escaped(below_title)), inside, legend);
}

}  // namespace

std::string figure_of(const plot& p) {
  const axes a = axes_of(p);
  std::string inside = grid_of(p, a);
  inside += fmt::format("<path class=\"frame\" d=\"M{0:.1f} {1:.1f}V{2:.1f}H{3:.1f}\"/>\n", left, top, height - bottom,
                        width - right);
  for (const series& s : p.all) inside += drawn(s, a);
  return figure(p.title, p.y_axis, svg("plot", width, height, p.title, p.says, inside), legend_of(p));
}

std::string figure_of(const bars& b) {
  constexpr double row = 25, name_width = 138, value_width = 74;
  const double h = row * static_cast<double>(b.all.size()) + 4;
  double most = 0;
  for (const bar& one : b.all) most = std::max(most, one.value);
  std::string inside;
  double y = 2;
  for (const bar& one : b.all) {
    const double length = most > 0 ? one.value / most * (width - name_width - value_width) : 0;
    inside += fmt::format(
        R"(<g class="series {}" data-series="{}"><text class="name" x="{:.1f}" y="{:.1f}" text-anchor="end">{}</text>)",
        one.style, escaped(one.name), name_width - 8, y + 16, escaped(one.name));
    // What is nothing has a line where it would begin.
    inside += fmt::format(
        R"(<rect class="bar" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" rx="2" data-value="{:.3f}"{}>{}</rect>)",
        name_width, y + 2, std::max(length, 1.0), row - 6, one.value, one.unstable ? R"( data-unstable="")" : "",
        title_element(one.name + ": " + one.words));
    inside += fmt::format(R"(<text x="{:.1f}" y="{:.1f}">{}</text></g>)", name_width + std::max(length, 1.0) + 6,
                          y + 16, escaped(one.words));
    inside += "\n";
    y += row;
  }
  return figure(b.title, "", svg("bars", width, h, b.title, b.says, inside), "");
}

}  // namespace bench::html
