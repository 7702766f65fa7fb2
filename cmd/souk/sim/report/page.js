// Draws the plots of the page with uPlot: what they are stands in the JSON of #plots,
// whose shape is that of plot in plot.go.
(() => {
  "use strict";
  const plots = JSON.parse(document.getElementById("plots").textContent) || [];
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const font = size => size + "px system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif";
  const color = name => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
  const faint = (c, alpha) => c + Math.round(alpha * 255).toString(16).padStart(2, "0"); // page.css has #rrggbb throughout

  // Three digits say all that a run knows.
  const three = x => {
    const a = Math.abs(x);
    if (a >= 99.95) return Math.round(x).toLocaleString("en-US");
    return String(+x.toPrecision(3));
  };
  const short = x => Math.abs(x) >= 1e6 ? three(x / 1e6) + "M" : Math.abs(x) >= 1e4 ? three(x / 1e3) + "k" : three(x);
  const writers = {
    us: x => x < 999.5 ? three(x) + " µs" : x < 999.5e3 ? three(x / 1e3) + " ms" : three(x / 1e6) + " s",
    rate: x => short(x) + "/s",
    share: x => three(x * 100) + " %",
    percentile: x => +((1 - 1 / x) * 100).toFixed(5) + " %",
    number: x => short(x),
  };
  const two = n => String(n).padStart(2, "0");
  const months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
  const day = d => d.getUTCDate() + " " + months[d.getUTCMonth()];
  const hour = (d, fine) => two(d.getUTCHours()) + ":" + two(d.getUTCMinutes()) + (fine ? ":" + two(d.getUTCSeconds()) : "");
  const moment = (t, axis) => {
    const d = new Date(t * 1e3);
    return (axis.long ? day(d) + " " : "") + hour(d, axis.fine);
  };
  const write = (axis, x) => x == null ? "–" : axis.unit === "time" ? moment(x, axis) : writers[axis.unit](x);

  // Times below the axis: the date where a day begins, else the time of day.
  const times = (u, splits, i, space, step) => splits.map(t => {
    const d = new Date(t * 1e3), midnight = t % 86400 === 0;
    if (step >= 86400) return day(d);
    return midnight && splits.length > 1 && u.scales.x.max - u.scales.x.min > 1.5 * 86400 ? day(d) : hour(d, step < 60);
  });
  // Powers of ten, and on a short axis what lies between them.
  const decades = (min, max, between) => {
    const all = [];
    for (let e = Math.floor(Math.log10(min)); e <= Math.ceil(Math.log10(max)); e++) {
      for (const m of between ? [1, 2, 5] : [1]) {
        const x = m * Math.pow(10, e);
        if (x >= min * (1 - 1e-9) && x <= max * (1 + 1e-9)) all.push(x);
      }
    }
    return all;
  };
  const percentTicks = (u, i, min, max) => decades(min, max, false);
  const logTicks = (u, i, min, max) => decades(min, max, max / min < 2e3);
  const rangeLog = (u, min, max) => {
    if (min == null || !(min > 0)) return [1, 10];
    const pad = Math.pow(max / min, 0.06) * 1.05;
    return [min / pad, max * pad];
  };
  const rangeLinear = top => (u, min, max) => {
    if (max == null || max <= 0) return [0, 1];
    return [0, top ? Math.min(top, max * 1.12) : max * 1.12];
  };

  const high = width => width < 520 ? 220 : width < 800 ? 260 : 300;
  const dashes = { dash: [7, 4], dot: [2, 3] };

  // A badge above the plot for each mark. Those that would lie upon each other move
  // aside, and a short line leads to where they belong.
  const marks = plot => u => {
    if (!plot.marks) return;
    const { ctx, bbox } = u, px = devicePixelRatio || 1, r = 8 * px, y = bbox.top - 13 * px;
    const shown = plot.marks.filter(([at]) => at >= u.scales.x.min && at <= u.scales.x.max).sort((a, b) => a[0] - b[0]);
    const places = shown.map(([at]) => Math.round(u.valToPos(at, "x", true)));
    const seats = [...places], apart = 2 * r + px;
    for (let i = 1; i < seats.length; i++) seats[i] = Math.max(seats[i], seats[i - 1] + apart);
    let limit = bbox.left + bbox.width + 4 * px;
    for (let i = seats.length - 1; i >= 0; i--, limit -= apart) seats[i] = Math.min(seats[i], limit);
    ctx.save();
    shown.forEach(([, number], i) => {
      ctx.strokeStyle = faint(color("ink"), 0.6);
      ctx.lineWidth = px;
      ctx.setLineDash([3 * px, 3 * px]);
      ctx.beginPath();
      ctx.moveTo(places[i] + 0.5, bbox.top + bbox.height);
      ctx.lineTo(places[i] + 0.5, bbox.top - 3 * px);
      ctx.stroke();
      ctx.setLineDash([]);
      ctx.beginPath();
      ctx.moveTo(places[i] + 0.5, bbox.top - 3 * px);
      ctx.lineTo(seats[i], y);
      ctx.stroke();
      ctx.fillStyle = color("ink");
      ctx.beginPath();
      ctx.arc(seats[i], y, r, 0, 2 * Math.PI);
      ctx.fill();
      ctx.fillStyle = color("card");
      ctx.font = "600 " + font(10.5 * px);
      ctx.textAlign = "center";
      ctx.textBaseline = "middle";
      ctx.fillText(String(number), seats[i], y + 0.5 * px);
    });
    ctx.restore();
  };

  // Where a line is too short to be seen as one, its points are drawn.
  const sparse = ys => ys.filter(y => y != null).length < 3;

  function draw(plot, el, width) {
    const raw = plot.lines.map(l => l.ys);
    let ys = raw;
    if (plot.stacked) {
      let below = plot.xs.map(() => 0);
      ys = raw.map(line => (below = below.map((b, i) => b + (line[i] || 0))));
    }
    if (plot.y.log) ys = ys.map(line => line.map(y => y > 0 ? y : null)); // no logarithm of 0
    ys = ys.map((line, i) => !plot.lines[i].rare ? line : line.map((y, n) => y || line[n - 1] || line[n + 1] ? y : null));
    const time = plot.x.unit === "time";
    const quiet = color("quiet"), grid = { stroke: color("grid"), width: 1 }, ticks = { show: false };
    const series = plot.lines.map((l, i) => {
      const c = color("c" + l.color);
      const s = { label: l.name, stroke: c, width: plot.xs.length > width / 2 ? 1.5 : 2, points: { show: l.style === "point" || sparse(l.ys), size: 7, fill: c }, value: (u, y, si, at) => at == null ? "" : write(plot.y, raw[si - 1][at]) };
      if (l.style !== "area") s.class = "drawn";
      if (dashes[l.style]) s.dash = dashes[l.style];
      if (l.style === "step") s.paths = uPlot.paths.stepped({ align: 1 });
      if (l.style === "area") {
        s.fill = faint(c, plot.stacked ? 0.85 : 0.3);
        s.width = plot.stacked ? 0 : 1.5;
        s.points.show = false;
      }
      return s;
    });
    return new uPlot({
      width, height: high(width),
      padding: [plot.marks ? 24 : 12, 22, 0, 0],
      class: plot.stacked ? "stacked" : "lines",
      tzDate: t => uPlot.tzDate(new Date(t * 1e3), "UTC"),
      focus: { alpha: 0.35 },
      cursor: { y: false, drag: { x: true, y: false }, focus: plot.stacked ? undefined : { prox: 24 }, sync: time ? { key: "time", setSeries: false } : undefined, points: { size: 7 } },
      legend: { markers: { width: plot.stacked ? 0 : 2, stroke: (u, i) => u.series[i].stroke(u, i), dash: (u, i) => ({ dash: "dashed", dot: "dotted" })[plot.lines[i - 1]?.style] || "solid" } },
      scales: {
        x: { time, distr: plot.x.log ? 3 : 1, range: plot.x.unit === "number" ? rangeLog : (u, min, max) => min === max ? [min - 1, max + 1] : [min, max] },
        y: { distr: plot.y.log ? 3 : 1, range: plot.y.log ? rangeLog : rangeLinear(plot.y.unit === "share" ? 1.02 : 0) },
      },
      axes: [
        { stroke: quiet, font: font(12), grid, ticks, label: plot.x.label, labelFont: font(12), labelSize: 18, size: 32, gap: 10, space: time ? (plot.x.long ? 76 : 60) : 46,
          ...(time ? { values: times } : { filter: (u, s) => s, splits: plot.x.unit === "number" ? () => plot.xs : percentTicks, values: (u, s) => s.map(x => x === 1 && plot.x.unit === "percentile" ? "fastest" : write(plot.x, x)) }) },
        { stroke: quiet, font: font(12), grid, ticks, label: plot.y.label, labelFont: font(12), labelSize: 18, size: 58, gap: 6, space: 34, values: (u, s) => s.map(y => write(plot.y, y)),
          ...(plot.y.log ? { filter: (u, s) => s, splits: logTicks } : {}) },
      ],
      series: [{ label: time ? "at" : plot.x.label, value: (u, x) => x == null ? "" : write(plot.x, x) }, ...series],
      bands: plot.stacked ? plot.lines.slice(1).map((_, i) => ({ series: [i + 2, i + 1] })) : undefined,
      hooks: { draw: [marks(plot)], setCursor: [u => u.root.classList.toggle("live", u.cursor.idx != null)] },
    }, [plot.xs, ...ys], el);
  }

  const shown = plots.map(plot => ({ plot, el: document.getElementById("plot-" + plot.id), chart: null }));
  const redraw = width => {
    for (const s of shown) {
      if (s.chart) s.chart.destroy();
      s.chart = draw(s.plot, s.el, Math.max(240, width || s.el.clientWidth));
    }
  };
  redraw();
  const resized = new ResizeObserver(entries => {
    for (const e of entries) {
      const s = shown.find(s => s.el === e.target), width = Math.max(240, Math.floor(e.contentRect.width));
      if (s.chart && width !== s.chart.width && !printing) s.chart.setSize({ width, height: high(width) });
    }
  });
  let printing = false;
  for (const s of shown) resized.observe(s.el);
  dark.addEventListener("change", () => redraw());
  // Paper is white and narrow, whatever the screen is.
  addEventListener("beforeprint", () => { printing = true; document.documentElement.classList.add("print"); redraw(640); });
  addEventListener("afterprint", () => { printing = false; document.documentElement.classList.remove("print"); redraw(); });

  const copy = document.getElementById("copy");
  if (copy) copy.addEventListener("click", async () => {
    const json = document.getElementById("json"), said = document.getElementById("copied");
    try {
      await navigator.clipboard.writeText(json.value);
      said.textContent = "copied";
    } catch { // a page from a file may not be allowed to
      json.focus();
      json.select();
      said.textContent = "selected: copy it with the keyboard";
    }
  });
})();
