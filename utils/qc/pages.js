"use strict";
(function () {
  const table = document.getElementById("samples");
  const body = table.tBodies[0];
  const rows = Array.from(body.rows);
  const filters = Array.from(document.querySelectorAll("[data-filter]"));
  const text = document.getElementById("search");
  const flagged = document.getElementById("flagged");
  const count = document.getElementById("count");

  function matches(row) {
    return filters.every(function (filter) {
      const wanted = filter.value;
      if (wanted === "") { return true; }
      const has = row.getAttribute("data-" + filter.dataset.filter);
      return filter.dataset.filter === "flags" ? has.split("|").includes(wanted) : has === wanted;
    }) && (!flagged.checked || row.getAttribute("data-flags") !== "")
      && row.textContent.toLowerCase().includes(text.value.trim().toLowerCase());
  }

  function show() {
    let shown = 0;
    rows.forEach(function (row) {
      row.hidden = !matches(row);
      shown += row.hidden ? 0 : 1;
    });
    count.textContent = shown + " of " + rows.length + " samples";
  }

  function sortBy(header) {
    const column = header.cellIndex;
    const ascending = header.getAttribute("aria-sort") !== "ascending";
    const key = function (row) { return row.cells[column].getAttribute("data-key"); };
    const numeric = header.classList.contains("number");
    rows.sort(function (one, other) {
      const a = key(one), b = key(other);
      // Empty cells stay at the end in both directions.
      if (a === "" || b === "") { return (a === "") - (b === ""); }
      const order = numeric ? Number(a) - Number(b) : a.localeCompare(b, "en", { numeric: true });
      return ascending ? order : -order;
    });
    table.querySelectorAll("th").forEach(function (other) { other.removeAttribute("aria-sort"); });
    header.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    body.append(...rows);
  }

  table.querySelectorAll("th button").forEach(function (button) {
    button.addEventListener("click", function () { sortBy(button.closest("th")); });
  });
  filters.concat([text, flagged]).forEach(function (control) {
    control.addEventListener("input", show);
  });
  show();
})();
