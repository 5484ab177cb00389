"use strict";

// Sorting: a button in every header; ascending, descending, then the paper's order.
// Rows without a measured number follow those with one, in the order of their published numbers.
const collator = new Intl.Collator("en", { numeric: true });

function compare(a, b, kind, sign) {
  if (kind === "text") return sign * collator.compare(a.textContent.trim(), b.textContent.trim());
  for (const key of ["measured", "published"]) {
    const [x, y] = [a.dataset[key], b.dataset[key]];
    if (x !== undefined && y !== undefined && (key === "measured" || Number(x) !== Number(y))) {
      return sign * (Number(x) - Number(y));
    }
    if (x !== undefined && y === undefined) return -1;
    if (x === undefined && y !== undefined) return 1;
  }
  return 0;
}

for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const original = [...body.rows];
  const headers = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
  headers.forEach((header, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    header.append(button);
    button.addEventListener("click", () => {
      const next = { none: "ascending", ascending: "descending", descending: "none" };
      const order = next[header.getAttribute("aria-sort") || "none"];
      headers.forEach((other) => other.removeAttribute("aria-sort"));
      if (order !== "none") header.setAttribute("aria-sort", order);
      const sign = order === "descending" ? -1 : 1;
      const rows = order === "none" ? original : [...original].sort(
        (a, b) => compare(a.cells[column], b.cells[column], header.dataset.kind, sign));
      body.append(...rows);
    });
  });
}

// Filtering the claims.
const filters = document.querySelector(".filters");
if (filters) {
  filters.hidden = false;
  const buttons = [...filters.querySelectorAll("button")];
  const paper = filters.querySelector("select");
  const words = filters.querySelector("input");
  const groups = [...document.querySelector("#claims-table").tBodies];
  const rows = groups.flatMap((group) => [...group.querySelectorAll("tr.claim")]);
  const apply = () => {
    const verdict = buttons.find((b) => b.getAttribute("aria-pressed") === "true").dataset.verdict;
    const wanted = words.value.toLowerCase().split(/\s+/);
    let shown = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      const visible = (!verdict || row.dataset.verdict === verdict || (verdict === "judged" && row.dataset.verdict !== "not run"))
        && (!paper.value || row.dataset.paper === paper.value) && wanted.every((w) => text.includes(w));
      row.hidden = !visible;
      shown += visible;
    }
    for (const group of groups) group.hidden = !group.querySelector("tr.claim:not([hidden])");
    filters.querySelector(".shown").textContent = `${shown} of ${rows.length}`;
  };
  for (const button of buttons) {
    button.addEventListener("click", () => {
      buttons.forEach((b) => b.setAttribute("aria-pressed", String(b === button)));
      apply();
    });
  }
  paper.addEventListener("change", apply);
  words.addEventListener("input", apply);
  apply();
}

// A link into a collapsed table opens it, one to claims that are filtered away shows them all; printing opens everything; a narrow screen starts with closed contents.
function openTarget() {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target && target.hidden) document.querySelector(".filters button[data-verdict='']").click();
  for (let node = target; node; node = node.parentElement) if (node.tagName === "DETAILS") node.open = true;
  if (target) target.scrollIntoView();
}
window.addEventListener("hashchange", openTarget);
openTarget();
window.addEventListener("beforeprint", () => {
  document.querySelectorAll("main details").forEach((details) => { details.open = true; });
});
const contents = document.querySelector("nav > details");
if (contents && window.matchMedia("(max-width: 1099px)").matches) contents.open = false;
