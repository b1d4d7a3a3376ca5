"use strict";
// One comfort: a table is sorted by the column whose head is pressed. Without it the rows stand from many bits to few.
const key = (row, column) => {
  const cell = row.cells[column];
  return "value" in cell.dataset ? Number(cell.dataset.value) : cell.textContent;
};
// What is no number stands last, whichever way.
const compare = (a, b) =>
  typeof a === "string" ? a.localeCompare(b) : isNaN(a) || isNaN(b) ? isNaN(a) - isNaN(b) : a - b;
for (const table of document.querySelectorAll(".sorts")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const way = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", way > 0 ? "ascending" : "descending");
      const body = table.tBodies[0];
      const rows = [...body.rows].map((row) => [key(row, column), row]);
      const isNone = (value) => typeof value === "number" && isNaN(value);
      rows.sort(([a], [b]) => (isNone(a) || isNone(b) ? 1 : way) * compare(a, b));
      body.append(...rows.map(([, row]) => row));
    });
  });
}
