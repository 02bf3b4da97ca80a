// Draws the charts of a report from the data in the page. Nothing here reaches beyond the page.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const box = document.getElementById("charts");
  const chooser = document.getElementById("host");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  // Okabe and Ito's palette: told apart by people who see fewer colours, too.
  const HUES = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#999933", "#8877cc"];
  const STATES = {
    "broken": "#d43d42", "isolated": "#a05fc9", "open": "#d43d42", "half-open": "#e6a23c", "would be open": "#56b4e9",
    "fine": "#3fa878", "closed": "#3fa878",
  };

  // Plotly reads some HTML in texts; a host's name is none.
  const text = (value) => String(value).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const time = (seconds) => new Date(seconds * 1000).toISOString().replace("Z", "");
  const times = data.series[0].answered.map((_, at) => time(data.begin + (at + 0.5) * data.step));
  const ratio = (one) => one.answered.map((answered, at) => {
    const all = answered + one.failed[at] + one.rejected[at];
    return all ? 100 * answered / all : null;
  });

  const bars = (name, values, colour, axis) => ({
    type: "bar", name, x: times, y: values, marker: {color: colour}, yaxis: axis, width: data.step * 1000,
    showlegend: false, hovertemplate: "%{y:,} " + name + "<extra></extra>",
  });
  const line = (name, values, colour, axis, unit, dash) => ({
    type: "scatter", mode: "lines+markers", marker: {size: 3}, name: text(name), x: times, y: values, yaxis: axis,
    line: {color: colour, width: 1.8, dash: dash || "solid"}, connectgaps: false, showlegend: false,
    hovertemplate: "%{y:.4~g} " + unit + " " + text(name) + "<extra></extra>",
  });

  // A row with the host's name, then its lanes. Rows are numbered from the top.
  function lanes(states, axis) {
    const traces = [], names = [], ticks = [];
    let row = 0;
    for (const one of states) {
      const both = [["host", one.spans], ["circuit", one.circuit]].filter(([, spans]) => spans.length);
      if (!both.length) continue;
      names.push([row++, text(one.host)]);
      for (const [what, spans] of both) {
        // A trace per state: a circuit that flaps has thousands of spans.
        for (const state of new Set(spans.map(([name]) => name))) {
          const these = spans.filter(([name]) => name === state);
          const quiet = state === "fine" || state === "closed";
          traces.push({
            type: "bar", orientation: "h", y: these.map(() => -row), base: these.map(([, since]) => time(since)),
            x: these.map(([, since, until]) => Math.max(1, (until - since) * 1000)),
            customdata: these.map(([, since, until]) => [time(since).replace("T", " "), time(until).slice(11)]),
            yaxis: axis, marker: {color: STATES[state], opacity: quiet ? 0.35 : 1}, width: 0.7, showlegend: false,
            hovertemplate: text(one.host) + "<br>" + what + " " + state +
              "<br>%{customdata[0]} to %{customdata[1]}<extra></extra>",
          });
        }
        ticks.push([-row, what]);
        row++;
      }
    }
    return {traces, names, ticks, rows: row};
  }

  // Which colour is which host; a click shows that one alone.
  function key(hosts) {
    const list = document.getElementById("key");
    list.replaceChildren(...hosts.map((one, at) => {
      const button = document.createElement("button");
      const swatch = document.createElement("i");
      swatch.style.background = HUES[at % HUES.length];
      button.type = "button";
      button.append(swatch, one.host);
      button.addEventListener("click", () => {
        chooser.value = String(data.series.indexOf(one));
        draw();
      });
      const item = document.createElement("li");
      item.append(button);
      return item;
    }));
  }

  function draw() {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    const chosen = data.series[Number(chooser.value)];
    const hosts = chosen.host === null ? data.series.slice(1) : [chosen];
    const states = data.states.filter((one) => chosen.host === null || one.host === chosen.host);
    const {traces: spans, names, ticks, rows} = lanes(states, "y5");
    key(chosen.host === null ? hosts : []);
    const traces = [
      bars("answered", chosen.answered, "#3fa878", "y"),
      bars("failed", chosen.failed, "#d43d42", "y"),
      bars("refused", chosen.rejected, "#e6a23c", "y"),
      bars("retries", chosen.retries, HUES[0], "y4"),
      ...(chosen.host === null
        ? [line("all hosts", ratio(chosen), colour("--dim"), "y2", "%", "dot")] : []),
      ...hosts.map((one, at) => line(one.host, ratio(one), HUES[at % HUES.length], "y2", "%")),
      ...(chosen.host === null
        ? hosts.map((one, at) => line(one.host + " p95", one.p95, HUES[at % HUES.length], "y3", "s"))
        : [line("p95", chosen.p95, HUES[5], "y3", "s"), line("p50", chosen.p50, HUES[0], "y3", "s")]),
      ...spans,
    ];
    const phone = box.clientWidth < 640;
    // Every lane has its height, whatever the others are.
    const laneHeight = rows ? rows * 19 + 8 : 0;
    const heights = [150, 150, 150, 90, laneHeight];
    const titles = [
      "calls: answered, failed, refused", "answered, %",
      chosen.host === null ? "latency p95, s" : "latency p50 and p95, s", "retries",
      "states: red is broken or open, amber half-open",
    ];
    const gap = 38, top = 24, bottom = 34;
    const used = heights.filter((height) => height);
    const whole = used.reduce((sum, height) => sum + height, 0) + gap * (used.length - 1);
    const layout = {
      barmode: "stack", bargap: 0, hovermode: "x", dragmode: "zoom", height: whole + top + bottom,
      margin: {l: phone ? 44 : 64, r: 12, t: top, b: bottom},
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: {family: "system-ui, sans-serif", size: 12, color: colour("--text")},
      hoverlabel: {bgcolor: colour("--card"), bordercolor: colour("--line"), font: {color: colour("--text")}, namelength: -1},
      xaxis: {
        type: "date", range: [time(data.begin), time(data.end)], gridcolor: colour("--line"), linecolor: colour("--line"),
        anchor: rows ? "y5" : "y4", showspikes: true, spikemode: "across", spikethickness: 1, spikedash: "dot",
        spikecolor: colour("--dim"), spikesnap: "cursor",
      },
      modebar: {bgcolor: "rgba(0,0,0,0)", color: colour("--dim"), activecolor: colour("--hue")},
      annotations: [],
    };
    let above = 0;
    heights.forEach((height, at) => {
      if (!height) return;
      const ends = 1 - above / whole;
      const axis = {
        domain: [Math.max(0, ends - height / whole), ends], gridcolor: colour("--line"), linecolor: colour("--line"),
        zeroline: false, fixedrange: true, automargin: false, nticks: 5,
      };
      if (at === 0 || at === 3) axis.rangemode = "tozero";
      if (at === 1) axis.range = [Math.min(94, ...hosts.flatMap(ratio).filter((value) => value !== null)) - 2, 101];
      if (at === 2) { axis.type = "log"; axis.dtick = 1; axis.tickformat = "~g"; }
      if (at === 4) {
        Object.assign(axis, {
          type: "linear", showgrid: false, range: [0.4 - rows, 0.5], tickmode: "array", tickfont: {size: 11},
          tickvals: ticks.map(([at]) => at), ticktext: ticks.map(([, what]) => what),
        });
        for (const [row, name] of names) {
          layout.annotations.push({
            text: name, xref: "paper", x: 0, xanchor: "left", yref: "y5", y: -row, yanchor: "middle", yshift: -2,
            showarrow: false, font: {size: 12},
          });
        }
      }
      layout["yaxis" + (at ? at + 1 : "")] = axis;
      layout.annotations.push({
        text: titles[at], xref: "paper", yref: "paper", x: 0, y: ends, xanchor: "left", yanchor: "bottom", yshift: 3,
        showarrow: false, font: {size: 12, color: colour("--dim")},
      });
      above += height + gap;
    });
    Plotly.react(box, traces, layout, {
      responsive: true, displayModeBar: !phone, displaylogo: false, scrollZoom: false,
      modeBarButtons: [["zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d", "toImage"]],
    });
  }

  chooser.addEventListener("change", draw);
  dark.addEventListener("change", draw);
  draw();
})();
