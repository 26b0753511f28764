// The page at "/": asks the same HTTP API as everyone else. What is shown is in the address, so that it can be
// shared: #view=graph&expr=up&range=3600
"use strict";

const SERIES_DRAWN_MAX = 60;
const ROWS_MAX = 1000;
const METRICS_OFFERED_MAX = 5000;
const REFRESH_MS = 5000;
const HUES = [210, 25, 130, 345, 280, 55, 180, 310, 90, 240];

const element = (id) => document.getElementById(id);
const views = ["table", "graph", "agents"];
const state = { view: "table", expr: "", range: 3600, series: [], hidden: new Set(), window: [0, 0] };
let asked = null;

async function api(path, params) {
  asked?.abort();
  asked = new AbortController();
  const response = await fetch(`api/v1/${path}`, {
    method: params ? "POST" : "GET",
    body: params && new URLSearchParams(params),
    signal: asked.signal,
  });
  // A proxy in between answers in its own words.
  const answer = await response.json().catch(() => ({ error: `HTTP ${response.status} ${response.statusText}` }));
  if (answer.status !== "success") throw new Error(answer.error);
  return answer;
}

function say(text, bad) {
  const message = element("message");
  message.hidden = !text;
  message.className = bad ? "bad" : "";
  message.textContent = text;
}

function cell(row, content, className) {
  const td = row.insertCell();
  if (className) td.className = className;
  td.append(...(Array.isArray(content) ? content : [content]));
  return td;
}

function span(className, text) {
  const node = document.createElement("span");
  node.className = className;
  node.textContent = text;
  return node;
}

function labelPairs(metric) {
  return Object.entries(metric)
    .filter(([name]) => name !== "__name__")
    .map(([name, value]) => `${name}=${JSON.stringify(value)}`);
}

function seriesName(metric) {
  const pairs = labelPairs(metric).join(", ");
  return (metric.__name__ ?? "") + (pairs || !metric.__name__ ? `{${pairs}}` : "");
}

function seriesNodes(metric) {
  const pairs = labelPairs(metric).join(", ");
  return [span("name", metric.__name__ ?? ""), span("label", pairs || !metric.__name__ ? `{${pairs}}` : "")];
}

function notes(answer) {
  return [...(answer.warnings ?? []), ...(answer.infos ?? [])].join("\n");
}

// Table

async function showTable() {
  const begun = performance.now();
  const answer = await api("query", { query: state.expr });
  const { resultType, result } = answer.data;
  const rows = element("table-rows");
  rows.replaceChildren();
  if (resultType === "scalar" || resultType === "string") {
    const row = rows.insertRow();
    cell(row, span("label", resultType));
    cell(row, result[1], "number");
  }
  const list = Array.isArray(result[0]) || typeof result[0] === "object" ? result : [];
  for (const item of list.slice(0, ROWS_MAX)) {
    const row = rows.insertRow();
    cell(row, seriesNodes(item.metric));
    const points = item.values?.map(([at, value]) => `${value} @ ${at}`).join("\n");
    cell(row, points ?? item.value[1], "number").style.whiteSpace = "pre";
  }
  if (!rows.rows.length) cell(rows.insertRow(), span("quiet", "Nothing matches at this time.")).colSpan = 2;
  const more = list.length > ROWS_MAX ? `, the first ${ROWS_MAX} shown` : "";
  const count = resultType === "vector" || resultType === "matrix" ? list.length : 1;
  element("table-note").textContent = `${count} result${count === 1 ? "" : "s"}${more}, ${Math.round(performance.now() - begun)} ms`;
  say(notes(answer), false);
}

// Graph

async function showGraph() {
  const begun = performance.now();
  const end = Date.now() / 1000;
  const start = end - state.range;
  const step = Math.max(1, Math.ceil(state.range / 400));
  const answer = await api("query_range", { query: state.expr, start, end, step });
  const all = answer.data.result;
  state.window = [start, end, step];
  state.series = all.slice(0, SERIES_DRAWN_MAX).map((item, index) => ({
    name: seriesName(item.metric),
    metric: item.metric,
    color: `hsl(${HUES[index % HUES.length]} 65% ${48 + 9 * (Math.floor(index / HUES.length) % 3)}%)`,
    points: item.values.map(([at, value]) => [at, Number(value.replace("Inf", "Infinity"))]),
  }));
  const more = all.length > SERIES_DRAWN_MAX ? `, the first ${SERIES_DRAWN_MAX} drawn` : "";
  element("graph-note").textContent = `${all.length} series${more}, step ${step} s, ${Math.round(performance.now() - begun)} ms`;
  say(notes(answer), false);
  showLegend();
  draw();
}

function showLegend() {
  element("legend").replaceChildren(...state.series.map((series) => {
    const item = document.createElement("li");
    item.classList.toggle("off", state.hidden.has(series.name));
    const mark = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    mark.setAttribute("viewBox", "0 0 8 8");
    const square = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    for (const [name, value] of [["width", 8], ["height", 8], ["rx", 2], ["fill", series.color]]) {
      square.setAttribute(name, value);
    }
    mark.append(square);
    item.append(mark, ...seriesNodes(series.metric));
    item.onclick = () => {
      if (!state.hidden.delete(series.name)) state.hidden.add(series.name);
      item.classList.toggle("off");
      draw();
    };
    return item;
  }));
}

const shown = () => state.series.filter((series) => !state.hidden.has(series.name));

function niceTicks(low, high, count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough) ?? rough;
  const ticks = [];
  for (let tick = Math.ceil(low / step) * step; tick <= high + step / 1e6; tick += step) ticks.push(tick);
  return ticks;
}

function timeTicks(start, end) {
  const steps = [30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800];
  const step = steps.find((size) => (end - start) / size <= 8) ?? 604800;
  const zone = new Date(start * 1000).getTimezoneOffset() * 60;
  const ticks = [];
  for (let tick = Math.ceil((start - zone) / step) * step + zone; tick <= end; tick += step) ticks.push(tick);
  return ticks;
}

function timeText(at) {
  const options = state.range > 86400 ? { month: "short", day: "numeric" } : { hour: "2-digit", minute: "2-digit" };
  return new Date(at * 1000).toLocaleString(undefined, options);
}

function valueText(value) {
  const size = Math.abs(value);
  if (size === 0 || !Number.isFinite(value)) return String(value);
  for (const [unit, name] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (size >= unit) return `${Number((value / unit).toPrecision(4))}${name}`;
  }
  return size < 1e-3 ? value.toExponential(2) : String(Number(value.toPrecision(4)));
}

let scale = null;

function fitScale(width, height) {
  let low = Infinity;
  let high = -Infinity;
  for (const { points } of shown()) {
    for (const [, value] of points) {
      if (!Number.isFinite(value)) continue;
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
  }
  if (low > high) [low, high] = [0, 1];
  if (low === high) [low, high] = [low - Math.max(1, Math.abs(low) / 10), high + Math.max(1, Math.abs(high) / 10)];
  else if (low > 0 && low < high / 2) low = 0;
  const room = (high - low) * 0.04;
  if (low !== 0) low -= room;
  high += room;
  const [left, right, top, bottom] = [64, width - 12, 8, height - 26];
  const [start, end] = state.window;
  return {
    low, high, left, right, top, bottom,
    x: (at) => left + ((at - start) / (end - start)) * (right - left),
    y: (value) => bottom - ((value - low) / (high - low)) * (bottom - top),
  };
}

function draw(hover) {
  const canvas = element("canvas");
  const { width, height } = canvas.getBoundingClientRect();
  if (!width || !state.window[1]) return;
  const ratio = window.devicePixelRatio || 1;
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  scale = fitScale(width, height);
  drawAxes(context);
  context.lineWidth = 1.5;
  context.lineJoin = "round";
  for (const series of shown()) drawSeries(context, series, hover?.series === series);
  if (hover) {
    context.fillStyle = hover.series.color;
    context.beginPath();
    context.arc(hover.x, hover.y, 4, 0, 2 * Math.PI);
    context.fill();
  }
}

function drawAxes(context) {
  const style = getComputedStyle(document.body);
  context.strokeStyle = style.getPropertyValue("--line");
  context.fillStyle = style.getPropertyValue("--quiet");
  context.font = "12px system-ui, sans-serif";
  context.lineWidth = 1;
  context.beginPath();
  context.textAlign = "right";
  context.textBaseline = "middle";
  for (const tick of state.series.length ? niceTicks(scale.low, scale.high, 7) : [0]) {
    const y = Math.round(scale.y(tick)) + 0.5;
    context.moveTo(scale.left, y);
    context.lineTo(scale.right, y);
    context.fillText(valueText(tick), scale.left - 8, y);
  }
  context.textAlign = "center";
  context.textBaseline = "top";
  for (const tick of timeTicks(state.window[0], state.window[1])) {
    const x = Math.round(scale.x(tick)) + 0.5;
    context.moveTo(x, scale.bottom);
    context.lineTo(x, scale.bottom + 5);
    const text = timeText(tick);
    // At the edge it stays inside, so that none is cut.
    const half = context.measureText(text).width / 2;
    context.fillText(text, Math.min(x, scale.right + 12 - half), scale.bottom + 9);
  }
  context.stroke();
  if (!state.series.length) {
    context.font = "15px system-ui, sans-serif";
    context.fillText("Nothing matches in this time.", (scale.left + scale.right) / 2, (scale.top + scale.bottom) / 2);
  }
}

function drawSeries(context, series, strong) {
  const gap = state.window[2] * 1.5;
  context.strokeStyle = series.color;
  context.lineWidth = strong ? 2.5 : 1.5;
  context.beginPath();
  let last = null;
  for (const [at, value] of series.points) {
    if (!Number.isFinite(value)) { last = null; continue; }
    const [x, y] = [scale.x(at), scale.y(value)];
    if (last === null || at - last > gap) {
      // A lone point is a short stroke, so that it can be seen.
      context.moveTo(x - 1, y);
    }
    context.lineTo(x, y);
    last = at;
  }
  context.stroke();
}

function pointNear(x, y) {
  let best = null;
  for (const series of shown()) {
    for (const [at, value] of series.points) {
      if (!Number.isFinite(value)) continue;
      const [px, py] = [scale.x(at), scale.y(value)];
      const distance = Math.hypot(px - x, py - y);
      if (!best || distance < best.distance) best = { distance, series, at, value, x: px, y: py };
    }
  }
  return best && best.distance < 60 ? best : null;
}

function hover(event) {
  if (!scale) return;
  const box = element("plot").getBoundingClientRect();
  const near = pointNear(event.clientX - box.left, event.clientY - box.top);
  const tip = element("tip");
  tip.hidden = !near;
  draw(near);
  if (!near) return;
  tip.replaceChildren(span("name", String(near.value)), document.createElement("br"),
    new Date(near.at * 1000).toLocaleString(), document.createElement("br"), ...seriesNodes(near.series.metric));
  const left = near.x > box.width / 2;
  tip.style.left = left ? "" : `${near.x + 14}px`;
  tip.style.right = left ? `${box.width - near.x + 14}px` : "";
  tip.style.top = `${Math.min(near.y, box.height - 90)}px`;
}

// Agents

async function showAgents() {
  const rows = element("agent-rows");
  const { data } = await api("status/agents");
  rows.replaceChildren();
  for (const agent of data) {
    const row = rows.insertRow();
    cell(row, span("name", agent.name));
    cell(row, agent.addresses.join(", ") || span("bad-text", "not connected"));
    cell(row, agent.completeThrough ? new Date(agent.completeThrough * 1000).toLocaleString() : "nothing yet");
    cell(row, agent.lagSeconds === undefined ? "" : `${agent.lagSeconds.toFixed(1)} s`, "number");
    const notes = [];
    if (agent.identityConflict) notes.push("two agents use this name");
    if (agent.gapBatches) notes.push(`${agent.gapBatches} batches lost`);
    cell(row, span("bad-text", notes.join(", ")));
  }
  if (!data.length) cell(rows.insertRow(), "No agent has connected yet.").colSpan = 5;
  say("", false);
}

// The whole

async function show() {
  for (const view of views) {
    element(`view-${view}`).hidden = view !== state.view;
    element(`tab-${view}`).setAttribute("aria-selected", String(view === state.view));
  }
  for (const part of element(`view-${state.view}`).children) part.hidden = false;
  element("query").hidden = state.view === "agents";
  try {
    if (state.view === "agents") await showAgents();
    else if (!state.expr) say("", false);
    else if (state.view === "graph") await showGraph();
    else await showTable();
  } catch (error) {
    if (error.name === "AbortError") return;
    // What stands there belongs to another question.
    for (const part of element(`view-${state.view}`).children) part.hidden = part.className !== "controls";
    element("graph-note").textContent = "";
    say(error.message, true);
  }
}

function remember() {
  const address = new URLSearchParams({ view: state.view, expr: state.expr, range: state.range });
  if (`#${address}` === location.hash) show();
  else location.hash = address;
}

function recall() {
  const address = new URLSearchParams(location.hash.slice(1));
  state.view = views.includes(address.get("view")) ? address.get("view") : "table";
  state.expr = address.get("expr") ?? "";
  state.range = Number(address.get("range")) || 3600;
  element("expression").value = state.expr;
  element("range").value = String(state.range);
  show();
}

function listen() {
  for (const view of views) {
    element(`tab-${view}`).onclick = () => { state.view = view; remember(); };
  }
  element("query").onsubmit = (event) => {
    event.preventDefault();
    state.expr = element("expression").value.trim();
    state.hidden.clear();
    remember();
  };
  element("range").onchange = (event) => { state.range = Number(event.target.value); remember(); };
  element("plot").onmousemove = hover;
  element("plot").onmouseleave = () => { element("tip").hidden = true; draw(); };
  window.onhashchange = recall;
  window.onresize = () => draw();
  setInterval(() => {
    if (!document.hidden && (state.view === "agents" || (state.view === "graph" && element("refresh").checked))) show();
  }, REFRESH_MS);
}

async function greet() {
  try {
    await offer();
  } catch {
    // The first question will say what is wrong.
  }
}

async function offer() {
  const names = await (await fetch(`api/v1/label/__name__/values?limit=${METRICS_OFFERED_MAX}`)).json();
  element("metrics").replaceChildren(...(names.data ?? []).map((name) => new Option(name)));
  const build = await (await fetch("api/v1/status/buildinfo")).json();
  element("build").textContent = build.data.version;
}

listen();
recall();
greet();
