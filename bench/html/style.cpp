#include "style.hpp"

namespace bench::html {

// Colours by the look of a series; each pair, on light and on dark, is told apart by who sees no red or no green, and
// the marks differ besides. Nothing is wider than the window; tables scroll in a box of their own.
const char* const style = R"(
:root { color-scheme: light dark; --back: #fff; --text: #1c2126; --soft: #56606a; --rule: #e3e7eb; --card: #f5f7f9;
  --loan: #0a5fc2; --copy: #11877a; --kernel: #c8500a; --pipe: #9a3fa0; --socketpair: #8a6a00; --asleep: #5b7db1;
  --floor: #6b747d; }
@media (prefers-color-scheme: dark) { :root { --back: #14181c; --text: #e6eaee; --soft: #a3adb7; --rule: #2a3138;
  --card: #1d2329; --loan: #63abff; --copy: #3ecbb8; --kernel: #ff9550; --pipe: #d98ae0; --socketpair: #e0bc45;
  --asleep: #93b4e6; --floor: #98a2ab; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--text); font: 16px/1.5 system-ui, sans-serif;
  -webkit-text-size-adjust: 100%; overflow-wrap: break-word; }
main { max-width: 1160px; margin: 0 auto; padding: 20px 16px 48px; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 8px 0; }
h2 { font-size: 1.25rem; margin: 40px 0 4px; }
p { max-width: 46rem; margin: 8px 0; }
.soft { color: var(--soft); }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 240px), 1fr)); gap: 12px; padding: 0;
  margin: 20px 0; list-style: none; }
.cards li { background: var(--card); border-radius: 10px; padding: 14px 16px; }
.cards b { display: block; font-size: 1.9rem; line-height: 1.2; color: var(--loan); }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 440px), 1fr)); gap: 28px 32px; }
.figures.three { grid-template-columns: repeat(auto-fit, minmax(min(100%, 320px), 1fr)); }
figure { margin: 12px 0 0; min-width: 0; }
figcaption { font-size: .95rem; line-height: 1.35; }
svg { display: block; max-width: 100%; }
svg.plot, svg.bars { width: 100%; height: auto; margin-top: 6px; }
svg text { font: 12px system-ui, sans-serif; fill: var(--soft); }
svg .name { fill: var(--text); }
.grid path { stroke: var(--rule); fill: none; }
.frame { stroke: var(--soft); fill: none; }
.series { --c: var(--text); }
.loan { --c: var(--loan); } .copy { --c: var(--copy); } .kernel { --c: var(--kernel); } .pipe { --c: var(--pipe); }
.socketpair { --c: var(--socketpair); } .asleep { --c: var(--asleep); } .floor, .floor2, .floor3 { --c: var(--floor); }
.line { stroke: var(--c); fill: none; stroke-width: 2; stroke-linejoin: round; }
.asleep .line { stroke-dasharray: 2 3; }
.floor .line { stroke-width: 1.5; stroke-dasharray: 7 4; } .floor2 .line { stroke-width: 1.5; stroke-dasharray: 1.5 3; }
.floor3 .line { stroke-width: 1.5; stroke-dasharray: 9 3 2 3; }
.mark { fill: var(--c); stroke: var(--c); stroke-width: 1.5; } .bar { fill: var(--c); }
.mark[data-unstable] { fill: var(--back); }
.bar[data-unstable] { fill-opacity: .25; stroke: var(--c); stroke-dasharray: 3 2; }
.legend { display: flex; flex-wrap: wrap; gap: 2px 16px; list-style: none; padding: 0; margin: 6px 0 0; font-size: .9rem; }
.legend li { display: flex; align-items: center; gap: 6px; }
.scroll { overflow-x: auto; margin: 12px 0; border: 1px solid var(--rule); border-radius: 8px; }
table { border-collapse: collapse; width: 100%; font-size: .88rem; font-variant-numeric: tabular-nums; }
th, td { padding: 5px 10px; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--rule); }
th { color: var(--soft); font-weight: 600; } th:first-child, td:first-child, td.words { text-align: left; }
tbody tr.first td { border-top: 2px solid var(--rule); } tr:last-child td { border-bottom: 0; }
dl { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: 4px 16px; margin: 12px 0; }
dt { color: var(--soft); } dd { margin: 0; }
code { font: .9em ui-monospace, monospace; overflow-wrap: anywhere; }
)";

}  // namespace bench::html
