"use strict";
// Everything that the server says goes into the page as text, never as HTML.

const SECOND = 1000;
const SVG = "http://www.w3.org/2000/svg";
const at = (id) => document.getElementById(id);

function show(id, text) {
  at(id).textContent = text;
}

function bytes(count) {
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (count >= 1000 && unit < units.length - 1) {
    count /= 1000;
    unit += 1;
  }
  return `${unit === 0 ? count : count.toFixed(1)} ${units[unit]}`;
}

function time(milliseconds) {
  if (milliseconds === null) return "–";
  if (milliseconds < 100) return `${milliseconds.toFixed(1)} ms`;
  return milliseconds < 1000 ? `${milliseconds.toFixed(0)} ms` : `${(milliseconds / 1000).toFixed(1)} s`;
}

function cell(text, kind) {
  const made = document.createElement("td");
  made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

function row(...cells) {
  const made = document.createElement("tr");
  made.append(...cells);
  return made;
}

function chart(counts) {
  const most = Math.max(1, ...counts);
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${counts.length} 100`);
  svg.setAttribute("preserveAspectRatio", "none");
  counts.forEach((count, place) => {
    const bar = document.createElementNS(SVG, "rect");
    const height = (100 * count) / most;
    const sizes = { x: place + 0.1, y: 100 - height, width: 0.8, height };
    for (const [name, value] of Object.entries(sizes)) bar.setAttribute(name, value);
    svg.append(bar);
  });
  at("chart").replaceChildren(svg);
}

function candidates(belief) {
  return belief.candidates.map((one) => `${one.name} ${(100 * one.weight).toFixed(1)}%`).join(", ");
}

function found(belief) {
  const sure = belief.task_confidence;
  return sure === null ? belief.task : `${belief.task} (${(100 * sure).toFixed(1)}% sure)`;
}

function draw(state) {
  const whole = state.by_second.reduce((sum, count) => sum + count, 0);
  show("tasks", state.tasks.toLocaleString("en"));
  show("bytes", bytes(state.bytes));
  show("rate", (whole / Math.min(60, Math.max(1, state.seconds))).toFixed(1));
  show("p50", time(state.latency_ms.p50));
  show("p99", time(state.latency_ms.p99));
  show("queue", state.queue);
  chart(state.by_second);
  const { ok, refused, failed } = state.requests;
  show("totals", `${ok.toLocaleString("en")} answered, ${refused.toLocaleString("en")} refused, ${failed} failed`);
  at("list").replaceChildren(
    ...state.shown.map((task) => row(cell(task.name), cell(task.rows.toLocaleString("en"), "number"))),
  );
  const hidden = state.found - state.shown.length;
  show("more", hidden > 0 ? `and ${hidden.toLocaleString("en")} more; search to see them` : "");
  at("beliefs").replaceChildren(
    ...state.beliefs.map((belief) =>
      row(
        cell(new Date(belief.time * SECOND).toLocaleTimeString("en-GB"), "time"),
        cell(found(belief), "time"),
        cell(`${(100 * belief.confidence).toFixed(1)}%`, "number"),
        cell(candidates(belief)),
      ),
    ),
  );
  at("none").hidden = state.beliefs.length > 0;
  show("state", state.problem || (state.ready ? "ready" : "stopping"));
  at("state").className = state.problem || !state.ready ? "bad" : "good";
}

async function refresh() {
  try {
    const search = encodeURIComponent(at("search").value);
    const got = await fetch(`status?search=${search}`);
    if (!got.ok) throw new Error(`status ${got.status}`);
    draw(await got.json());
  } catch (error) {
    show("state", `the server does not answer (${error.message})`);
    at("state").className = "bad";
  }
}

at("search").addEventListener("input", refresh);
setInterval(refresh, SECOND);
refresh();
