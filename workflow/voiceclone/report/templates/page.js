// One sample at a time: starting one pauses the others.
document.addEventListener("play", (event) => {
  for (const player of document.querySelectorAll("audio")) if (player !== event.target) player.pause();
}, true);

// Tables of class "sortable": a heading sorts by its column, numbers by data-v; cells without a value come last.
const valueOf = (row, column) => row.cells[column].dataset.v ?? row.cells[column].textContent.trim();
function sortTable(table, column) {
  const heading = table.tHead.rows[0].cells[column], down = heading.ariaSort === "ascending";
  for (const other of table.tHead.rows[0].cells) other.ariaSort = null;
  heading.ariaSort = down ? "descending" : "ascending";
  const compare = (left, right) => {
    const [a, b] = [valueOf(left, column), valueOf(right, column)];
    if (a === "" || b === "") return (a === "") - (b === "");
    const order = isNaN(a) || isNaN(b) ? a.localeCompare(b) : a - b;
    return down ? -order : order;
  };
  table.tBodies[0].append(...[...table.tBodies[0].rows].sort(compare));
}
for (const table of document.querySelectorAll("table.sortable"))
  for (const heading of table.tHead.rows[0].cells) {
    const button = document.createElement("button");
    button.append(...heading.childNodes);
    button.onclick = () => sortTable(table, heading.cellIndex);
    heading.append(button);
  }

// Selects with data-filter show what has this value, or no such property; rows of a part only if it is chosen.
function applyFilters() {
  const chosen = [...document.querySelectorAll("select[data-filter]")].map((select) => [select.dataset.filter, select.value]);
  for (const entry of document.querySelectorAll("[data-voice]"))
    entry.hidden = chosen.some(([name, value]) => value ? (entry.dataset[name] ?? value) !== value : entry.dataset.part === name);
  for (const count of document.querySelectorAll("[data-count]"))
    count.textContent = [...document.getElementById(count.dataset.count).tBodies[0].rows].filter((row) => !row.hidden).length;
}
for (const select of document.querySelectorAll("select[data-filter]")) select.onchange = applyFilters;
if (document.querySelector("select[data-filter]")) applyFilters();

// The rows of a table that are shown, as CSV.
function csvOf(table) {
  const quoted = (text) => /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  const rows = [...table.tHead.rows, ...table.tBodies[0].rows].filter((row) => !row.hidden);
  return rows.map((row) => [...row.cells].map((cell) => quoted(cell.dataset.v ?? cell.textContent.trim())).join(",") + "\n").join("");
}
for (const button of document.querySelectorAll("[data-csv]"))
  button.onclick = () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([csvOf(document.getElementById(button.dataset.csv))], { type: "text/csv" }));
    link.download = `${button.dataset.csv}.csv`;
    link.click();
  };

// A select with data-show="x" shows the part whose data-x is its value.
for (const select of document.querySelectorAll("select[data-show]"))
  select.onchange = () => {
    for (const part of document.querySelectorAll(`[data-${select.dataset.show}]`))
      part.hidden = part.getAttribute(`data-${select.dataset.show}`) !== select.value;
  };
