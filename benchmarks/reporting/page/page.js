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

// The text that is asked for, and the verdict of each table that has verdicts, "" for all.
let wanted = "";
const chosen = new Map();

// A row of variants is found by its first cell, a row of targets by any.
function filter() {
  for (const table of document.querySelectorAll("table.rows, table.targets")) {
    const verdict = chosen.get(table) || "";
    for (const row of table.tBodies[0].rows) {
      const searched = (table.classList.contains("targets") ? row : row.cells[0]).textContent.toLowerCase();
      const kept = verdict === "" || row.cells[columnOf(table, "verdict")].textContent.trim() === verdict;
      row.hidden = !kept || !searched.includes(wanted);
    }
  }
}

function columnOf(table, name) {
  return [...table.tHead.rows[0].cells].findIndex((header) => header.textContent.trim() === name);
}

// A button for every verdict that a table has, in the order of its rows, with how many there are.
function verdictButtons(table) {
  const counts = new Map([["", table.tBodies[0].rows.length]]);
  for (const row of table.tBodies[0].rows) {
    const verdict = row.cells[columnOf(table, "verdict")].textContent.trim();
    counts.set(verdict, (counts.get(verdict) || 0) + 1);
  }
  const group = document.createElement("p");
  group.className = "verdicts";
  for (const [verdict, count] of counts) {
    const button = document.createElement("button");
    button.textContent = `${verdict || "all"} (${count})`;
    button.setAttribute("aria-pressed", verdict === "");
    button.addEventListener("click", () => {
      chosen.set(table, verdict);
      for (const other of group.children) other.setAttribute("aria-pressed", other === button);
      filter();
    });
    group.append(button);
  }
  return group;
}

for (const table of document.querySelectorAll("main table")) {
  const box = document.createElement("div");
  box.className = "scroll";
  table.replaceWith(box);
  box.append(table);
  const headers = [...table.tHead.rows[0].cells];
  if (headers[0].textContent.trim() === "protocol") { table.classList.add("wide"); continue; }
  // Only tables of variants and of verdicts are filtered.
  if (headers[0].textContent.trim() === "variant") table.classList.add("rows");
  if (columnOf(table, "verdict") >= 0) { table.classList.add("targets"); box.before(verdictButtons(table)); }
  headers.forEach((header, column) => {
    const button = document.createElement("button");
    button.append(...header.childNodes);
    header.append(button);
    button.addEventListener("click", () => sort(table, column, header));
  });
}
document.querySelector("nav input").addEventListener("input", (event) => {
  wanted = event.target.value.trim().toLowerCase();
  filter();
});
// A page chosen from the list closes it.
document.querySelector("nav details").addEventListener("click", (event) => {
  if (event.target.tagName === "A") event.currentTarget.open = false;
});
