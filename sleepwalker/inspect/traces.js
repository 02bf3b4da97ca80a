// What the charts of a report are drawn from, and how each host looks. Read by page.js.
"use strict";
const report = (() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  // A host is told from the others by its colour (--host-0 and on), its marker, and from the seventh on by dashes.
  const MARKERS = ["circle", "square", "diamond", "triangle-up", "triangle-down", "x"];
  const PATHS = {
    "circle": "M0-4a4 4 0 1 0 .01 0z", "square": "M-3.6-3.6h7.2v7.2h-7.2z", "diamond": "M0-5L5 0L0 5L-5 0z",
    "triangle-up": "M0-4.6L4.8 3.6h-9.6z", "triangle-down": "M0 4.6L4.8-3.6h-9.6z",
    "x": "M-4.2-2.2L-2.2-4.2L0-2L2.2-4.2L4.2-2.2L2 0L4.2 2.2L2.2 4.2L0 2L-2.2 4.2L-4.2 2.2L-2 0z",
  };
  const QUIET = ["fine", "closed"];

  // Plotly reads some HTML in texts; a host's name is none.
  const text = (value) => String(value).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const stamp = (seconds) => new Date(seconds * 1000).toISOString().replace("Z", "");
  const clock = (seconds) => stamp(seconds).slice(0, data.step < 60 ? 19 : 16).replace("T", " ");
  // Plotly writes `2025-11-22 03:10`, and of midnight the day alone.
  const seconds = (at) => Date.parse(`${at}${String(at).includes(" ") ? "" : " 00:00"}`.replace(" ", "T") + "Z") / 1000;
  const duration = (value) => value === null ? "" : value < 0.0995 ? `${+(value * 1000).toPrecision(2)} ms`
    : `${+value.toPrecision(3)} s`;
  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const middle = (at) => data.begin + (at + 0.5) * data.step;
  const share = (one) => one.answered.map((answered, at) => {
    const all = answered + one.failed[at] + one.rejected[at];
    return all ? 100 * answered / all : null;
  });
  const looks = (one) => {
    const at = data.series.indexOf(one) - 1;
    return at < 0
      ? {colour: style("--ink"), dash: "dot", symbol: "circle", open: true}
      : {colour: style(`--host-${at}`), dash: at < 6 ? "solid" : "dash", symbol: MARKERS[at % 6], open: at >= 6};
  };

  const times = data.series[0].answered.map((_, at) => stamp(middle(at)));

  function bars(name, values, colour, pattern) {
    return {
      type: "bar", name, x: times, y: values, width: data.step * 1000, hovertemplate: `%{y:,} ${name}<extra></extra>`,
      marker: {color: colour, line: {width: 0}, ...(pattern ? {pattern: {shape: pattern, solidity: 0.45, size: 6}} : {})},
    };
  }

  // A marker at every so many points, at other ones for each host, and where a line has no other point beside it; none
  // where all lines lie on each other, at 100 %.
  function line(one, name, values, unit, given) {
    const {colour, dash, symbol, open} = given || looks(one);
    const offset = data.series.indexOf(one) * 5, every = unit === "%" ? 4 : 12;
    const alone = (at) => (values[at - 1] ?? null) === null && (values[at + 1] ?? null) === null;
    const due = (value, at) => (at + offset) % every === 0 && !(unit === "%" && value > 99);
    const size = values.map((value, at) => alone(at) ? 6 : due(value, at) ? 8 : 0);
    return {
      type: "scatter", mode: "lines+markers", name: text(name), x: times, y: values, connectgaps: false,
      line: {color: colour, width: 1.6, dash}, customdata: values.map((value) => unit === "s" ? duration(value) : ""),
      marker: {color: open ? style("--card") : colour, symbol, size, opacity: 1, line: {color: colour, width: 1.5}},
      hovertemplate: (unit === "s" ? "%{customdata}" : `%{y:.4~g} ${unit}`) + ` ${text(name)}<br>%{x|%H:%M:%S}<extra></extra>`,
    };
  }

  // A row with the host's name, then its lanes. Rows are numbered from the top.
  function lanes(states) {
    const traces = [], ticks = [], names = [];
    let row = 0;
    for (const one of states) {
      names.push([row, one.label]);
      row += 1;
      for (const [what, spans] of one.lanes) {
        // A trace per state: a circuit that flaps has thousands of spans.
        for (const state of new Set(spans.map(([name]) => name))) {
          const these = spans.filter(([name]) => name === state);
          traces.push({
            type: "bar", orientation: "h", y: these.map(() => -row), width: QUIET.includes(state) ? 0.3 : 0.8,
            base: these.map(([, , since]) => stamp(data.begin + since)),
            x: these.map(([, , since, until]) => Math.max(1, (until - since) * 1000)),
            customdata: these.map(([, , since, until]) => [clock(data.begin + since), clock(data.begin + until)]),
            marker: {
              color: style(`--${these[0][1]}`), line: {width: 0},
              ...(state === "half-open" ? {pattern: {shape: "/", solidity: 0.45, size: 6}} : {}),
            },
            hovertemplate: `${text(one.label)}<br>${what}: ${state}<br>%{customdata[0]} to %{customdata[1]}<extra></extra>`,
          });
        }
        ticks.push([-row, what]);
        row += 1;
      }
    }
    return {traces, ticks, names, rows: row};
  }

  // Where a line is at its worst, if that is bad: answers fail, or take four times as long as they mostly do.
  function lowest(one, shown) {
    const values = share(one).map((value, at) => value === null || !within(at, shown) ? 101 : value);
    const least = Math.min(...values);
    return least < 95 ? [{one, at: values.indexOf(least), y: least, badness: 100 - least}] : [];
  }
  function slowest(one, shown) {
    const known = one.p95.filter((value) => value !== null).sort((a, b) => a - b);
    const usual = known[known.length >> 1];
    const values = one.p95.map((value, at) => value === null || !within(at, shown) ? 0 : value);
    const most = Math.max(...values);
    return most > 4 * usual ? [{one, at: values.indexOf(most), y: Math.log10(most), badness: most / usual}] : [];
  }
  const within = (at, shown) => middle(at) >= shown[0] && middle(at) <= shown[1];

  // Names at such points, as many as have room, the worst first. `gap` is as high as a name is.
  function labels(points, width, shown, gap) {
    const placed = [];
    for (const {one, at, y} of points.sort((a, b) => b.badness - a.badness)) {
      const x = (middle(at) - shown[0]) / (shown[1] - shown[0]) * width;
      const length = one.label.length * 6.8 + 20;
      const left = x > width / 2;
      const box = {from: left ? x - length : x, until: left ? x : x + length, y};
      if (box.from < 0 || box.until > width) continue;
      if (placed.some((other) => other.from < box.until && box.from < other.until && Math.abs(other.y - y) < gap)) continue;
      placed.push({...box, at, one, left});
    }
    return placed.map(({at, y, one, left}) => ({
      x: stamp(middle(at)), y, text: text(one.label), showarrow: false, xanchor: left ? "right" : "left",
      xshift: left ? -8 : 8, yanchor: "middle", font: {size: 11, color: style("--ink")}, bgcolor: style("--card"),
      bordercolor: looks(one).colour, borderpad: 2,
    }));
  }

  const POWERS = [-4, -3, -2, -1, 0, 1, 2, 3];
  function secondsAxis(values) {
    const known = values.filter((value) => value !== null && value > 0);
    const low = Math.log10(Math.min(...known, 1e9)) - 0.08, high = Math.log10(Math.max(...known, 1e-9)) + 0.08;
    const parts = high - low > 2.2 ? [1] : high - low > 1.2 ? [1, 3] : [1, 2, 3, 5, 7];
    const ticks = POWERS.flatMap((power) => parts.map((part) => part * 10 ** power));
    return {type: "log", ...(known.length ? {range: [low, high]} : {}), tickvals: ticks, ticktext: ticks.map(duration)};
  }

  // A name that may be broken where its parts end.
  const breakable = (name) => name.split(/(?<=\w[./:])(?=\w)/)
    .flatMap((part, at) => at ? [document.createElement("wbr"), part] : [part]);

  // The piece of a host's line that stands beside its name.
  function swatch(one) {
    const {colour, dash, symbol, open} = looks(one);
    const make = (name, attributes) => {
      const made = document.createElementNS("http://www.w3.org/2000/svg", name);
      for (const [attribute, value] of Object.entries(attributes)) made.setAttribute(attribute, value);
      return made;
    };
    const picture = make("svg", {viewBox: "-17 -7 34 14", "aria-hidden": "true"});
    const dashes = {solid: "none", dot: "2 3", dash: "7 4"}[dash];
    picture.append(make("path", {d: "M-17 0H17", stroke: colour, "stroke-width": 2.2, "stroke-dasharray": dashes}));
    if (one.host !== null) {
      const fill = open ? style("--card") : colour;
      picture.append(make("path", {d: PATHS[symbol], fill, stroke: colour, "stroke-width": 1.5}));
    }
    return picture;
  }

  return {
    data, text, stamp, clock, seconds, duration, style, middle, share, looks, within, bars, line, lanes, lowest, slowest,
    labels, secondsAxis, swatch, breakable,
  };
})();
