// Forms: the limit of the query's length is said before anything is sent, and no more systems than fit can be chosen.
const box = () => document.getElementById("q");

function fits() {
  const message = document.getElementById("too-long");
  const length = box().value.trim().length;
  message.hidden = length <= Number(box().dataset.longest);
  if (!message.hidden) message.querySelector("output").value = length.toLocaleString("en");
  box().setAttribute("aria-invalid", String(!message.hidden));
  return message.hidden;
}

function limitSystems() {
  for (const set of document.querySelectorAll(".systems")) {
    const boxes = [...set.querySelectorAll("input[type=checkbox]")];
    const full = boxes.filter((each) => each.checked).length >= Number(set.dataset.most);
    for (const each of boxes) each.disabled = full && !each.checked;
  }
}

function changed(event) {
  const field = event.target;
  if (field === box()) fits();
  if (field.closest(".systems")) limitSystems();
  if (field.matches("form[data-auto] select")) field.form.requestSubmit();
  // Another choice of systems or another depth searches again, if there is a query.
  if (field.form?.id === "search" && field !== box() && box().value.trim()) field.form.requestSubmit();
}

function submitted(event) {
  if (event.target.id === "search" && !fits()) event.preventDefault();
}

/** After "back", the browser keeps what was typed and checked; the form has to say what the page shows. */
function returned(event) {
  if (!event.persisted) return;
  for (const form of document.forms) form.reset();
  limitSystems();
  fits();
}

export function start() {
  document.addEventListener("input", (event) => event.target === box() && fits());
  document.addEventListener("change", changed);
  document.addEventListener("submit", submitted);
  window.addEventListener("pageshow", returned);
  if (location.pathname === "/" && !box().value && !matchMedia("(pointer: coarse)").matches) box().focus();
}
