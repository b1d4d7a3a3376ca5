"use strict";
// Three small comforts: tips that keyboards and fingers reach, rows that can be found, and the
// record behind a cell. All text from records is set as text, never as markup.
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
  if (!$("detail").open) $("detail").showModal();
  $("detail").scrollTop = 0;
}
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
