"use strict";

// The number that a cell begins with, so that "−96.4 ± 0.3" sorts by its mean; text where there is none.
function key(cell) {
  const text = cell.textContent.trim();
  const number = text.replace(/,/g, "").match(/^~?[-−+]?\d+(\.\d+)?(e[-+]?\d+)?/i);
  if (number) return parseFloat(number[0].replace("~", "").replace("−", "-"));
  return /^[–-]/.test(text) || text === "" ? null : text.toLowerCase();
}

// Rows without a value stay at the bottom, whichever way the others run.
function compare(a, b, direction) {
  if (a === null || b === null) return (a === null) - (b === null);
  if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
  return (a < b ? -1 : a > b ? 1 : 0) * direction;
}

function sort(table, column, header) {
  const ascending = header.getAttribute("aria-sort") !== "ascending";
  const direction = ascending ? 1 : -1;
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", ascending ? "ascending" : "descending");
  const rows = [...table.tBodies[0].rows];
  rows.sort((a, b) => compare(key(a.cells[column]), key(b.cells[column]), direction));
  table.tBodies[0].append(...rows);
}

function filter(text) {
  const wanted = text.trim().toLowerCase();
  for (const table of document.querySelectorAll("table.rows")) {
    for (const row of table.tBodies[0].rows) {
      row.hidden = wanted !== "" && !row.cells[0].textContent.toLowerCase().includes(wanted);
    }
  }
}

for (const table of document.querySelectorAll("main table")) {
  const box = document.createElement("div");
  box.className = "scroll";
  table.replaceWith(box);
  box.append(table);
  const headers = [...table.tHead.rows[0].cells];
  if (headers[0].textContent.trim() === "protocol") { table.classList.add("wide"); continue; }
  // Only a board's tables are filtered.
  const names = headers.slice(0, 2).map((header) => header.textContent.trim());
  if (names[0] === "variant" && names[1] === "family") table.classList.add("rows");
  headers.forEach((header, column) => {
    const button = document.createElement("button");
    button.append(...header.childNodes);
    header.append(button);
    button.addEventListener("click", () => sort(table, column, header));
  });
}
document.querySelector("nav input").addEventListener("input", (event) => filter(event.target.value));
// A page chosen from the list closes it.
document.querySelector("nav details").addEventListener("click", (event) => {
  if (event.target.tagName === "A") event.currentTarget.open = false;
});
