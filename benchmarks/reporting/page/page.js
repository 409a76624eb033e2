"use strict";

// The number that a cell begins with, so that "−96.4 ± 0.3" sorts by its mean; text where there is none, and of dates.
function key(cell) {
  const text = cell.textContent.trim();
  if (/^\d{4}-\d\d-\d\d/.test(text)) return text;
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

// The first click puts the best at the top: an arrow in the heading says which end that is.
function sort(table, column, header) {
  const state = header.getAttribute("aria-sort");
  const first = header.textContent.includes("↑") ? "descending" : "ascending";
  const other = first === "ascending" ? "descending" : "ascending";
  const now = state === first ? other : first;
  for (const cell of table.tHead.rows[0].cells) cell.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", now);
  const direction = now === "ascending" ? 1 : -1;
  const rows = [...table.tBodies[0].rows];
  rows.sort((a, b) => compare(key(a.cells[column]), key(b.cells[column]), direction));
  table.tBodies[0].append(...rows);
}

// Filters of the whole page: a part of a variant's name, a family, a budget.
const name = document.getElementById("filter");
const family = document.getElementById("family");
const budget = document.getElementById("budget");

// The verdict chosen for each table that has verdicts, "" for all.
const chosen = new Map();

function columnOf(table, heading) {
  return [...table.tHead.rows[0].cells].findIndex((header) => header.textContent.trim() === heading);
}

// A row of variants is found by its first cell, a row of targets by any.
function filter() {
  const wanted = name.value.trim().toLowerCase();
  for (const table of document.querySelectorAll("table.targets")) {
    const verdict = chosen.get(table) || "";
    for (const row of table.tBodies[0].rows) {
      row.hidden = !row.textContent.toLowerCase().includes(wanted) ||
        (verdict !== "" && row.cells[columnOf(table, "verdict")].textContent.trim() !== verdict);
    }
  }
  for (const table of document.querySelectorAll("table.rows")) {
    for (const row of table.tBodies[0].rows) {
      row.hidden = (wanted !== "" && !row.cells[0].textContent.toLowerCase().includes(wanted)) ||
        (family.value !== "" && row.cells[1].textContent.trim() !== family.value);
    }
  }
  for (const part of document.querySelectorAll("section.budget")) {
    part.hidden = budget.value !== "" && part.dataset.budget !== budget.value;
  }
}

function offer(select, values) {
  for (const value of values) select.add(new Option(value, value));
  // One value is no choice.
  select.parentElement.hidden = values.length < 2;
  select.addEventListener("change", filter);
}

// A table as text: commas, quotation marks and line ends in cells are quoted; hidden rows and columns are left out.
function csv(table) {
  const quoted = (cell) => `"${cell.textContent.trim().replace(/"/g, '""')}"`;
  const shown = (row) => [...row.cells].filter((cell) => !cell.hidden).map(quoted).join(",");
  return [...table.rows].filter((row) => !row.hidden).map(shown).join("\r\n") + "\r\n";
}

function save(table, title) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([csv(table)], { type: "text/csv" }));
  link.download = `${title}.csv`;
  link.click();
  URL.revokeObjectURL(link.href);
}

// Above a table of variants: which columns it shows, and a button that saves it.
function tools(table, headers) {
  const bar = document.createElement("div");
  bar.className = "tools";
  const columns = document.createElement("details");
  const summary = document.createElement("summary");
  summary.textContent = "Columns";
  columns.append(summary);
  headers.forEach((header, column) => {
    if (column === 0) return;
    const box = document.createElement("input");
    box.type = "checkbox";
    box.checked = true;
    box.addEventListener("change", () => {
      for (const row of table.rows) row.cells[column].hidden = !box.checked;
    });
    const label = document.createElement("label");
    label.append(box, ` ${header.textContent.trim()}`);
    columns.append(label);
  });
  const button = document.createElement("button");
  button.textContent = "Save as CSV";
  let heading = table.closest(".scroll");
  while (heading && !/^H[1-4]$/.test(heading.tagName)) heading = heading.previousElementSibling;
  button.addEventListener("click", () => save(table, heading ? heading.id : "table"));
  bar.append(columns, button);
  table.closest(".scroll").before(bar);
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

const families = new Set();
for (const table of document.querySelectorAll("main table")) {
  const box = document.createElement("div");
  box.className = "scroll";
  table.replaceWith(box);
  box.append(table);
  const headers = [...table.tHead.rows[0].cells];
  if (headers[0].textContent.trim() === "protocol") { table.classList.add("wide"); continue; }
  // Only a board's tables are filtered.
  const names = headers.slice(0, 2).map((header) => header.textContent.trim());
  if (names[0] === "variant" && names[1] === "family") {
    table.classList.add("rows");
    for (const row of table.tBodies[0].rows) families.add(row.cells[1].textContent.trim());
    tools(table, headers);
  } else if (columnOf(table, "verdict") >= 0) {
    table.classList.add("targets");
    box.before(verdictButtons(table));
  } else {
    table.classList.add("wide");
  }
  headers.forEach((header, column) => {
    const button = document.createElement("button");
    button.append(...header.childNodes);
    header.append(button);
    button.addEventListener("click", () => sort(table, column, header));
  });
}

// What follows a second heading "… profile quick" up to the next one is of that budget.
const budgets = [];
for (const heading of document.querySelectorAll("main > h2")) {
  const found = /profile (\S+)/i.exec(heading.textContent);
  if (!found) continue;
  const part = document.createElement("section");
  part.className = "budget";
  part.dataset.budget = found[1].replace(/,$/, "");
  if (!budgets.includes(part.dataset.budget)) budgets.push(part.dataset.budget);
  heading.before(part);
  let next = heading;
  do {
    const after = next.nextElementSibling;
    part.append(next);
    next = after;
  } while (next && next.tagName !== "H2");
}

name.parentElement.hidden = document.querySelector("table.rows, table.targets") === null;
name.addEventListener("input", filter);
offer(family, [...families].sort());
offer(budget, budgets);
