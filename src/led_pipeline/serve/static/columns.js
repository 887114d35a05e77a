// Columns: tabs on a narrow screen, and a passage that is pointed at is marked in the other columns, too.

/** Show one column; the style sheet hides the others, on a narrow screen only. */
function show(number) {
  document.documentElement.dataset.column = number;
  for (const tab of document.querySelectorAll(".tabs a")) {
    if (tab.hash === `#column-${number}`) tab.setAttribute("aria-current", "true");
    else tab.removeAttribute("aria-current");
  }
}

function clicked(event) {
  const tab = event.target.closest(".tabs a");
  if (!tab) return;
  event.preventDefault();
  show(tab.hash.slice("#column-".length));
}

function markTwins(event) {
  const hit = event.target.closest?.(".columns .hit");
  document.querySelectorAll(".twin").forEach((each) => each.classList.remove("twin"));
  if (!hit || event.type === "focusout") return;
  const same = document.querySelectorAll(`.columns [data-row="${hit.dataset.row}"]`);
  if (same.length > 1) same.forEach((each) => each.classList.add("twin"));
}

export function start() {
  document.documentElement.dataset.column = "1";
  document.addEventListener("click", clicked);
  for (const name of ["pointerover", "focusin", "focusout"]) document.addEventListener(name, markTwins);
}
