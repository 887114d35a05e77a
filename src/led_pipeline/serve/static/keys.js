// The keyboard: moving the focus between results is all it takes, since Enter follows a focused link anyway.
const items = (list) => [...list.querySelectorAll("[data-item]")];
const lists = () => [...document.querySelectorAll("[data-list]")].filter((list) => list.offsetParent && items(list).length);

function focus(item) {
  item.focus({ preventScroll: true });
  item.closest("li, tr").scrollIntoView({ block: "nearest" });
}

/** Focus another result of the same list, or the first one of the page; beyond the end, go on to the next list. */
function move(step) {
  const all = lists().flatMap(items);
  const at = all.indexOf(document.activeElement);
  const next = all[at < 0 ? 0 : at + step];
  if (!next) return;
  const here = at < 0 ? null : all[at].closest("[data-list]");
  const beside = here?.closest(".columns");
  if (beside && next.closest("[data-list]") !== here) return; // columns are left with the arrow keys
  focus(next);
}

/** Focus the same passage in the column on the left or right, or else the result at the same height. */
function cross(step) {
  const current = document.activeElement.closest?.(".columns [data-list]");
  if (!current) return false;
  const columns = lists().filter((list) => list.closest(".columns"));
  const target = columns[columns.indexOf(current) + step];
  if (!target) return true;
  const hit = document.activeElement.closest("li");
  const twin = target.querySelector(`[data-row="${hit.dataset.row}"] [data-item]`);
  const same = items(target)[items(current).indexOf(document.activeElement)];
  focus(twin ?? same ?? items(target).at(-1));
  return true;
}

function typing(event) {
  return event.target.closest("input:not([type=checkbox]), textarea, select, [contenteditable]");
}

function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  const box = document.getElementById("q");
  const help = document.getElementById("help");
  if (help?.open) {
    if (event.key === "?") help.close();
    return;
  }
  if (typing(event)) {
    if (event.key === "Escape") event.target.blur();
    if (event.key === "ArrowDown" && event.target === box && lists().length) {
      move(1);
      event.preventDefault();
    }
    return;
  }
  const act = {
    "/": () => { box.focus(); box.select(); },
    "?": () => help?.showModal(),
    j: () => move(1),
    k: () => move(-1),
    ArrowDown: () => move(1),
    ArrowUp: () => move(-1),
    u: () => document.querySelector("a[rel=prev]")?.click(),
  }[event.key];
  if (act && !(event.key.startsWith("Arrow") && !lists().length)) {
    act();
    event.preventDefault();
  } else if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
    if (cross(event.key === "ArrowRight" ? 1 : -1)) event.preventDefault();
  }
}

/** Open the help above the page instead of on a page of its own. */
function clicked(event) {
  const help = document.getElementById("help");
  if (!help || !event.target.closest("#help-link") || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  help.showModal();
}

export function start() {
  document.addEventListener("keydown", pressed);
  document.addEventListener("click", clicked);
}
