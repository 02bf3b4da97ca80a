// Draws the charts of a report, and does what a reader asks of them. Nothing here reaches beyond the page.
"use strict";
(() => {
  const {
    data, text, stamp, clock, seconds, duration, style, middle, share, looks, within, bars, line, lanes, lowest, slowest,
    labels, secondsAxis, swatch, breakable,
  } = report;
  const key = document.getElementById("key");
  const chosenText = document.getElementById("chosen");
  const numbers = document.getElementById("numbers");
  const boxes = Object.fromEntries(
    ["states", "calls", "share", "latency", "retries"].map((name) => [name, document.querySelector(`.plot.${name}`)]));
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const PAPER = 690;  // px: what lies between the margins of A4
  const whole = [data.begin, Math.max(data.end, data.begin + data.step)];
  let shown = whole;
  let chosen = 0;  // of data.series, the first of which is all hosts together
  let paper = false;

  // Whole numbers from 0 on.
  function countAxis(values) {
    const most = Math.max(1, ...values);
    return {range: [0, most * 1.05], tickformat: ",~d", ...(most < 4 ? {dtick: 1} : {})};
  }

  // -- drawing ---------------------------------------------------------------------------------

  // What a reader's mouse and fingers do to a chart, from when it is first drawn.
  function wire(box) {
    // A finger scrolls the page; Plotly would take it for a mouse that draws a frame.
    box.addEventListener("touchstart", (event) => event.stopPropagation(), {capture: true, passive: true});
    box.on("plotly_relayout", (change) => {
      const range = [change["xaxis.range[0]"], change["xaxis.range[1]"]];
      if (range.every((at) => at !== undefined)) zoom(range.map(seconds));
    });
    box.on("plotly_doubleclick", () => zoom(whole));
  }

  function plot(name, traces, height, yaxis, more) {
    const box = boxes[name];
    const first = !box.layout;
    const phone = box.clientWidth < 640;
    const axis = {gridcolor: style("--line"), linecolor: style("--line"), zeroline: false, fixedrange: true, nticks: 5};
    Plotly.react(box, traces.map((one) => ({showlegend: false, ...one})), {
      height, ...(paper ? {width: PAPER} : {autosize: true}), barmode: "stack", bargap: 0, dragmode: "zoom",
      margin: {l: phone || paper ? 46 : 62, r: 10, t: 8, b: 38},
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: {family: "system-ui, sans-serif", size: 12, color: style("--soft")},
      hoverlabel: {bgcolor: style("--card"), bordercolor: style("--soft"), font: {color: style("--ink")}, namelength: -1},
      xaxis: {
        ...axis, type: "date", fixedrange: false, range: shown.map(stamp), nticks: phone ? 5 : paper ? 7 : 12,
        showgrid: false, tickangle: 0,
        ticks: "outside", tickcolor: style("--line"), minallowed: stamp(whole[0]), maxallowed: stamp(whole[1]),
      },
      yaxis: {...axis, ...yaxis}, ...more,
    }, {responsive: true, displayModeBar: false, doubleClick: false, scrollZoom: false});
    if (first) wire(box);
  }

  function drawStates(one) {
    const states = data.states.filter((state) => one.host === null || state.host === one.host).map((state) => {
      // Of many hosts the lanes that say most: a circuit stays open after its callers have moved away.
      const moved = state.spans.some(([name]) => name === "moved");
      const both = one.host !== null || !state.troubles.length;
      return {label: state.label, lanes: [
        ["trouble", state.troubles], ["host", both || moved ? state.spans : []], ["circuit", both || !moved ? state.circuit : []],
      ].filter(([, spans]) => spans.length)};
    }).filter((state) => state.lanes.length);
    boxes.states.closest("figure").hidden = !states.length;
    if (!states.length) return;
    const {traces, ticks, names, rows} = lanes(states);
    plot("states", traces, rows * 18 + 56, {
      showgrid: false, range: [0.4 - rows, 0.6], tickmode: "array", tickfont: {size: 11},
      tickvals: ticks.map(([at]) => at), ticktext: ticks.map(([, what]) => what),
    }, {
      hovermode: "closest", barmode: "overlay", annotations: names.map(([row, name]) => ({
        text: text(name), xref: "paper", x: 0, xanchor: "left", yref: "y", y: -row, yanchor: "middle", yshift: -3,
        showarrow: false, font: {size: 12, color: style("--ink")},
      })),
    });
    say("states", `States of ${states.length === 1 ? states[0].label : `${states.length} hosts`} and of their circuits over time.`);
  }

  function draw() {
    const one = data.series[chosen];
    const all = one.host === null;
    const hosts = all ? data.series.slice(1) : [one];
    drawKey();
    drawStates(one);
    plot("calls", [
      bars("failed", one.failed, style("--failed")), bars("refused", one.rejected, style("--refused"), "/"),
      bars("answered", one.answered, style("--answered")),
    ], 190, countAxis(one.answered.map((answered, at) => answered + one.failed[at] + one.rejected[at])), {hovermode: "x unified"});
    const width = (paper ? PAPER : boxes.share.clientWidth) - 72;
    const shares = hosts.flatMap(share).filter((value) => value !== null);
    const least = Math.min(100, ...shares);
    const room = (1 - Math.max(0, Math.min(94, least) - 4) / 100) * 100;
    plot("share", [
      ...(all && hosts.length > 1 ? [line(one, "all hosts", share(one), "%")] : []),
      ...hosts.map((host) => line(host, host.label, share(host), "%")),
    ], 230, {range: [Math.min(94, least) - room * 0.06, 100 + room * 0.04], ticksuffix: " %"}, {
      hovermode: "closest", annotations: all ? labels(hosts.flatMap((host) => lowest(host, shown)), width, shown, room / 8.5) : [],
    });
    const axis = secondsAxis(hosts.flatMap((host) => all ? host.p95 : [...host.p95, ...host.p50]));
    plot("latency", all ? hosts.map((host) => line(host, host.label, host.p95, "s")) : [
      line(one, "p95", one.p95, "s"),
      line(one, "p50", one.p50, "s", {...looks(one), colour: style("--soft"), dash: "dot"}),
    ], 230, axis, {
      hovermode: "closest", annotations: all && axis.range
        ? labels(hosts.flatMap((host) => slowest(host, shown)), width, shown, (axis.range[1] - axis.range[0]) / 8.5) : [],
    });
    plot("retries", [bars("retries", one.retries, style("--retried"))], 120, {...countAxis(one.retries), nticks: 3},
      {hovermode: "x unified"});
    document.getElementById("median").hidden = all;
    describe(one, hosts);
    drawNumbers();
  }

  // -- the same in words -----------------------------------------------------------------------

  const total = (values) => values.reduce((sum, value, at) => sum + (within(at, shown) ? value : 0), 0);
  const say = (name, words) => boxes[name].setAttribute("aria-label", words);
  // The most or the least of several lines in what is shown, and when and whose.
  function extreme(hosts, values, sign) {
    let best = null;
    for (const host of hosts) {
      values(host).forEach((value, at) => {
        if (value !== null && within(at, shown) && (best === null || sign * (value - best.value) > 0)) best = {value, at, host};
      });
    }
    return best;
  }

  function describe(one, hosts) {
    const whose = one.label;
    const period = `from ${clock(shown[0])} to ${clock(shown[1])} UTC`;
    const worst = extreme(hosts, share, -1), slowest = extreme(hosts, (host) => host.p95, 1);
    say("calls", `Calls of ${whose} ${period}: ${total(one.answered).toLocaleString("en")} answered, ` +
      `${total(one.failed).toLocaleString("en")} failed, ${total(one.rejected).toLocaleString("en")} refused.`);
    say("share", `Share of the calls that were answered, ${whose}, ${period}.` + (worst
      ? ` Lowest: ${+worst.value.toFixed(1)} % of ${worst.host.label}, about ${clock(middle(worst.at))}.` : ""));
    say("latency", `Latency p95, ${whose}, ${period}.` + (slowest
      ? ` Highest: ${duration(slowest.value)} of ${slowest.host.label}, about ${clock(middle(slowest.at))}.` : ""));
    say("retries", `Retries of ${whose} ${period}: ${total(one.retries).toLocaleString("en")}.`);
    chosenText.textContent = `${whose}, ${clock(shown[0])} to ${clock(shown[1])} UTC`;
    for (const name of ["earlier", "later", "out", "all"]) {
      document.querySelector(`[data-do=${name}]`).setAttribute("aria-disabled", String(shown === whole));
    }
  }

  // Only when somebody looks: it is long.
  function drawNumbers() {
    if (!numbers.open) return;
    const one = data.series[chosen];
    const row = (cells, kind) => {
      const made = document.createElement("tr");
      made.append(...cells.map((cell, at) => {
        const element = document.createElement(kind === "th" || at === 0 ? "th" : "td");
        if (element.tagName === "TH") element.scope = kind === "th" ? "col" : "row";
        element.textContent = cell;
        return element;
      }));
      return made;
    };
    const ratios = share(one);
    const rows = one.answered.flatMap((answered, at) => within(at, shown) && (ratios[at] !== null || one.retries[at]) ? [row([
      clock(data.begin + at * data.step), answered.toLocaleString("en"), one.failed[at].toLocaleString("en"),
      one.rejected[at].toLocaleString("en"), one.retries[at].toLocaleString("en"), duration(one.p50[at]), duration(one.p95[at]),
    ])] : []);
    numbers.querySelector("thead").replaceChildren(
      row(["from", "answered", "failed", "refused", "retries", "p50", "p95"], "th"));
    numbers.querySelector("tbody").replaceChildren(...rows);
    numbers.querySelector("caption").textContent = `${one.label}, by interval; intervals without a call are left out`;
  }

  // -- what a reader does ----------------------------------------------------------------------

  // Which colour, marker and dash is which host; a click shows that one alone.
  function drawKey() {
    key.replaceChildren(...data.series.map((one, at) => {
      const item = document.createElement("li");
      const button = document.createElement("button");
      button.type = "button";
      button.setAttribute("aria-pressed", String(at === chosen));
      const name = document.createElement("span");
      name.append(...breakable(one.label));
      button.append(swatch(one), name);
      button.addEventListener("click", () => choose(at));
      item.append(button);
      return item;
    }));
  }

  function choose(at) {
    const focused = key.contains(document.activeElement);
    chosen = at === chosen ? 0 : at;
    draw();
    if (focused) key.querySelectorAll("button")[at].focus();
  }

  function zoom([from, until]) {
    const length = Math.min(Math.max(until - from, 2 * data.step), whole[1] - whole[0]);
    const begin = Math.min(Math.max((from + until - length) / 2, whole[0]), whole[1] - length);
    // Charts know milliseconds, and a log may have less.
    shown = length > 0.999 * (whole[1] - whole[0]) ? whole : [begin, begin + length];
    draw();
  }

  const DO = {
    earlier: ([from, until]) => [from - (until - from) / 2, until - (until - from) / 2],
    later: ([from, until]) => [from + (until - from) / 2, until + (until - from) / 2],
    in: ([from, until]) => [from + (until - from) / 4, until - (until - from) / 4],
    out: ([from, until]) => [from - (until - from) / 2, until + (until - from) / 2],
    all: () => whole,
  };
  const KEYS = {"ArrowLeft": "earlier", "ArrowRight": "later", "+": "in", "-": "out", "0": "all", "Escape": "all"};
  for (const button of document.querySelectorAll("[data-do]")) {
    button.addEventListener("click", () => zoom(DO[button.dataset.do](shown)));
  }
  document.getElementById("charts").addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !KEYS[event.key]) return;
    event.preventDefault();
    zoom(DO[KEYS[event.key]](shown));
  });
  for (const link of document.querySelectorAll("[data-from]")) {
    link.addEventListener("click", () => {
      const [from, until] = [Number(link.dataset.from), Number(link.dataset.until)];
      const margin = Math.max((until - from) / 2, 5 * data.step);
      chosen = Math.max(0, data.series.findIndex((one) => one.host === link.dataset.host));
      zoom([from - margin, until + margin]);
    });
  }
  numbers.addEventListener("toggle", drawNumbers);
  dark.addEventListener("change", draw);
  // Paper is white, and narrower than most windows.
  const print = (now) => {
    paper = now;
    document.documentElement.classList.toggle("paper", now);
    for (const details of document.querySelectorAll("details:not(#numbers)")) details.open = now;
    draw();
  };
  addEventListener("beforeprint", () => print(true));
  addEventListener("afterprint", () => print(false));

  draw();
})();
