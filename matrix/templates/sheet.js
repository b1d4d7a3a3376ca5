"use strict";
// Small comforts: tips that keyboards and fingers reach, rows that can be found, the record behind a cell,
// in words, and an address for it. All text from records is set as text, never as markup.
const $ = (id) => document.getElementById(id);

// Tips: the title attribute serves readers without JavaScript; here it moves into one shared box.
const tip = $("tip");
let tipped = null;
function showTip(element) {
  if (element === tipped) return;
  hideTip();
  if (!element) return;
  tipped = element;
  tip.textContent = element.title;
  element.removeAttribute("title");
  element.setAttribute("aria-describedby", "tip");
  tip.hidden = false;
  placeTip();
}
function placeTip() {
  const box = tipped.getBoundingClientRect();
  const left = Math.min(box.left, innerWidth - tip.offsetWidth - 8);
  const below = box.bottom + 6 + tip.offsetHeight <= innerHeight;
  tip.style.left = Math.max(8, left) + "px";
  tip.style.top = (below ? box.bottom + 6 : Math.max(8, box.top - tip.offsetHeight - 6)) + "px";
}
function hideTip() {
  if (!tipped) return;
  tipped.title = tip.textContent;
  tipped.removeAttribute("aria-describedby");
  tipped = null;
  tip.hidden = true;
}
document.addEventListener("pointerover", (event) => {
  if (!tipped?.contains(event.target)) showTip(event.target.closest("[title]"));
});
document.addEventListener("focusin", (event) => showTip(event.target.closest("[title]")));
document.addEventListener("focusout", hideTip);
// The keyboard scrolls to what it focuses, so there the tip follows; a pointer has moved on.
const scrolled = () => tipped && (tipped === document.activeElement ? placeTip() : hideTip());
document.addEventListener("scroll", scrolled, { capture: true, passive: true });
document.addEventListener("keydown", (event) => { if (event.key === "Escape") hideTip(); });

// Finding: rows of the matrix, or cases of the report.
const rows = [...document.querySelectorAll("[data-case]")];
function find() {
  const text = $("find").value.trim().toLowerCase();
  const status = $("show")?.value;
  let shown = 0;
  rows.forEach((row, index) => {
    const of = row.dataset.class ?? row.parentNode.dataset.class;
    const hit = (of + " " + row.dataset.case).toLowerCase().includes(text)
      && (!status || row.querySelector(".chip." + status));
    row.hidden = !hit;
    if (row.tagName === "SECTION") document.querySelector(".index").children[index].hidden = !hit;
    shown += hit ? 1 : 0;
  });
  for (const body of document.querySelectorAll("tbody[data-class]")) {
    body.hidden = !body.querySelector("[data-case]:not([hidden])");
  }
  $("found").textContent = shown === rows.length ? "" : shown + " of " + rows.length;
}
$("find")?.addEventListener("input", find);
$("show")?.addEventListener("change", find);

// Details: lines are split once and parsed one by one, when a reader asks.
const lines = (id) => $(id).textContent.trim().split("\n");
let environments, records;
// Limits can pass 2^53: where the browser can, numbers keep the text they had.
const exact = (key, value, context) =>
  typeof value === "number" && context && JSON.rawJSON ? JSON.rawJSON(context.source) : value;

// The figures of a record in words: pairs of a term and what was found.
const digits = (value) => (Math.abs(value) < 1e-3 && value !== 0 ? value.toExponential(1) : String(Number(value.toPrecision(3))));
const percent = (share) => `${(share * 100).toFixed(1)}%`;
const size = (bytes) => {
  const at = bytes < 1e3 ? 0 : bytes < 1e6 ? 1 : bytes < 1e9 ? 2 : 3;
  return `${digits(bytes / 1e3 ** at)} ${["B", "kB", "MB", "GB"][at]}`;
};
function facts({ outcome, attempts, rounds, untrained, synthetic_weights }) {
  const { correctness: found = {}, answered, memory, timing, lowered, tuning } = outcome;
  const all = [];
  const say = (term, ...parts) => {
    const told = parts.filter(Boolean);
    if (told.length) all.push([term, told.join(", ")]);
  };
  const told = (value, text) => (value == null ? "" : text(value));
  say("Kernel error", told(found.kernel_rel_l2, (it) => `${digits(it)} relative`), told(found.kernel_max_abs, (it) => `${digits(it)} at most`));
  say("Loss", told(found.kl, (it) => `divergence ${digits(it)} nats`), told(found.cosine, (it) => `cosine ${it.toFixed(5)}`),
    told(found.top1_agreement, (it) => `${percent(it)} of top choices`), told(found.generated_match, (it) => `${percent(it)} of the text repeated`),
    untrained || synthetic_weights ? "of a model that has learnt nothing" : "");
  if (answered) say("Right answers", `${answered.right} of ${answered.answers}`, `${percent(answered.interval[0])} to ${percent(answered.interval[1])} by 95%`);
  if (timing) {
    say("One pass", `${digits(timing.median_ms)} ms`, told(timing.ci95_ms, ([low, high]) => `${digits(low)} to ${digits(high)} ms by 95%`),
      told(timing.gpu_median_ms, (it) => `${digits(it)} ms of the GPU`), `${timing.samples_ms.length} passes`, rounds > 1 ? `${rounds} rounds` : "");
    say("Tokens", told(timing.prefill_tps, (it) => `${digits(it)} a second of the prompt`), told(timing.decode_tps, (it) => `${digits(it)} a second written`));
    const load = timing.load ?? {};
    const phases = [["fetch", load.fetch_ms], ["parse", load.parse_ms], ["pack", load.pack_ms], ["upload", load.upload_ms], ["compile", load.compile_ms], ["first pass", load.first_pass_ms]];
    say("Start", `${digits(timing.load_ms)} ms to load`, ...phases.map(([name, ms]) => told(ms, (it) => `${name} ${digits(it)}`)), told(load.fetched_bytes, (it) => `${size(it)} fetched`));
  }
  if (memory) {
    say("Weights", size(memory.weights_bytes), `${(memory.weights_bytes / memory.weights_fp16_bytes).toFixed(2)}× fp16`, `${memory.bpw.toFixed(2)} bits a weight`,
      ...(outcome.plan ?? []).map(({ tensors, format }) => `${tensors} × ${format}`));
    say("Memory", memory.kv_bytes ? `${size(memory.kv_bytes)} key-value cache` : "", told(memory.gpu_peak_bytes, (it) => `${size(it)} of the GPU at most`), told(memory.wasm_heap_bytes, (it) => `${size(it)} of WASM at most`));
  }
  if (lowered) say("Lowered", `to ${lowered.limit}`, size(lowered.weights_bytes), `${lowered.bpw.toFixed(2)} bits a weight`, `${lowered.matrices} matrices in ${digits(lowered.ms)} ms`,
    told(lowered.fetched_bytes, (it) => `${it} bytes fetched`), told(lowered.correctness.kl, (it) => `divergence ${digits(it)} nats`), told(lowered.correctness.cosine, (it) => `cosine ${it.toFixed(5)}`));
  if (tuning) say("Kernels", tuning.hash ? `measured, ${tuning.hash.slice(0, 8)}` : tuning.note);
  say("Attempts", attempts > 1 ? `${attempts}` : "");
  return all;
}

// A cell's address is what its record says of it, so it is the same in the next report.
const address = ({ axes, ...cell }) => "#cell?" + new URLSearchParams({ ...cell, ...axes });
function route() {
  const hash = location.hash;
  if (!hash.startsWith("#cell?")) return $("detail").open && $("detail").close();
  records ??= lines("records");
  const all = records.map((line, number) => [number, JSON.parse(line)]).filter(([, record]) => address(record.cell) === hash);
  all.sort(([, a], [, b]) => (a.started_at < b.started_at ? 1 : -1));
  if (all.length) open(all[0][0], all.map(([number]) => number));
}
function open(number, all) {
  environments ??= lines("environments");
  records ??= lines("records");
  const record = JSON.parse(records[number]);
  const { cell, outcome } = record;
  const whole = JSON.parse(records[number], exact);
  whole.environment = JSON.parse(environments[record.environment], exact);
  const { channel, ...axes } = cell.axes ?? {};
  const varied = Object.entries(axes).map(([axis, value]) => ` ${axis}=${value}`).join("");
  const browser = [cell.browser, channel].filter(Boolean).join("@");
  $("detail-title").textContent =
    `${cell.case}${varied}, ${cell.bits}-bit, ${cell.backend}, ${browser}`;
  const stage = outcome.stage ? ` in ${outcome.stage}` : "";
  $("detail-verdict").textContent = `${outcome.status}${stage}${outcome.reason ? ": " + outcome.reason : ""}`;
  $("detail-message").textContent = outcome.message && outcome.message !== outcome.reason ? outcome.message : "";
  $("facts").replaceChildren(...facts(record).map(([term, told]) => {
    const row = document.createElement("div"), dt = document.createElement("dt"), dd = document.createElement("dd");
    dt.textContent = term;
    dd.textContent = told;
    row.append(dt, dd);
    return row;
  }));
  $("link").href = address(cell);
  $("repro").textContent = record.repro;
  $("copy").textContent = "Copy";
  $("json").textContent = JSON.stringify(whole, null, 2);
  $("others").hidden = all.length < 2;
  $("other-list").replaceChildren(...all.map((other) => {
    const { started_at, run_id, outcome } = JSON.parse(records[other]);
    const item = document.createElement("li"), button = document.createElement("button");
    button.type = "button";
    button.textContent = `${started_at} ${outcome.status}, run ${run_id}`;
    button.setAttribute("aria-current", other === number);
    button.addEventListener("click", () => open(other, all));
    item.append(button);
    return item;
  }));
  if (location.hash !== address(cell)) history.pushState(null, "", address(cell));
  if (!$("detail").open) $("detail").showModal();
  $("detail").scrollTop = 0;
}
$("detail").addEventListener("close", () => {
  if (location.hash) history.pushState(null, "", location.pathname + location.search);
});
document.addEventListener("click", (event) => {
  const chip = event.target.closest("button[data-record]");
  if (!chip) return;
  hideTip();
  const others = (chip.dataset.others ?? "").trim();
  const number = Number(chip.dataset.record);
  open(number, [number, ...(others ? others.split(" ").map(Number) : [])]);
});
$("close").addEventListener("click", () => $("detail").close());
$("detail").addEventListener("click", (event) => { if (event.target === $("detail")) $("detail").close(); });
$("copy").addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText($("repro").textContent);
    $("copy").textContent = "Copied";
  } catch {
    // Without leave to write, the text is selected, ready for the reader's own copy.
    getSelection().selectAllChildren($("repro"));
    $("copy").textContent = "Selected";
  }
});
addEventListener("popstate", route);
if (location.hash) route();
