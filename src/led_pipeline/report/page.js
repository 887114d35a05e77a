// Draws the charts one after the other while the browser is idle, and fills the table of queries when it is scrolled to.
(() => {
  "use strict";
  const read = (id) => JSON.parse(document.getElementById(id)?.textContent || "null");
  const charts = read("data-charts") || {};
  const queries = read("data-queries");
  const rows = queries ? queries.rows.map((row) => Object.fromEntries(queries.columns.map((name, i) => [name, row[i]]))) : [];
  const views = [];
  const pair = { first: null, second: null };
  const idle = () => new Promise((done) => (window.requestIdleCallback || setTimeout)(done, { timeout: 200 }));

  async function draw(element) {
    const spec = charts[element.id.slice("chart-".length)];
    // Names of three systems are wider than a phone.
    if (innerWidth < 500) spec.config.legend = { ...spec.config.legend, columns: 2, labelLimit: 120 };
    const aboutQueries = spec.data?.name === "queries" || spec.layer?.some((layer) => layer.data?.name === "queries");
    // Vega writes into the rows that it is given, so every chart gets its own.
    if (aboutQueries) spec.datasets = { ...spec.datasets, queries: rows.map((row) => ({ ...row })) };
    const result = await vegaEmbed(element, spec, { mode: "vega-lite", renderer: "svg", actions: false, ast: true, tooltip: { theme: "custom" } });
    if (aboutQueries) views.push(result.view);
    element.dataset.drawn = "yes";
  }

  async function drawAll() {
    for (const element of document.querySelectorAll(".view")) {
      await idle();
      try {
        await draw(element);
      } catch (error) {
        element.textContent = `This chart cannot be drawn: ${error.message}`;
        console.error(error);
      }
    }
    document.body.dataset.drawn = "yes";
  }

  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const signed = (value) => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(3);

  function describePair() {
    const both = rows.filter((row) => row["v" + pair.first] !== null && row["v" + pair.second] !== null);
    const differences = both.map((row) => row["v" + pair.first] - row["v" + pair.second]);
    const count = (test) => differences.filter(test).length.toLocaleString("en");
    const [first, second] = [queries.systems[pair.first], queries.systems[pair.second]];
    document.getElementById("pair").textContent =
      `${queries.measure} of ${first} minus ${second}: ${signed(mean(differences))} on average. ` +
      `${first} is better on ${count((d) => d > 0)} queries, ${second} on ${count((d) => d < 0)}, and they are equal on ${count((d) => d === 0)}.`;
  }

  function choosePair() {
    for (const side of ["first", "second"]) {
      const select = document.getElementById(side);
      pair[side] = Number(select.value);
      select.addEventListener("change", async () => {
        pair[side] = Number(select.value);
        describePair();
        for (const view of views) await view.signal("first", pair.first).signal("second", pair.second).runAsync();
      });
    }
    describePair();
  }

  async function fillTable(table) {
    const code = Uint8Array.from(atob(document.getElementById("data-tables").textContent), (c) => c.charCodeAt(0));
    const address = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
    const { default: DataTable } = await import(address);
    URL.revokeObjectURL(address);
    const text = DataTable.render.text();
    const number = (digits) => (value, kind) => (kind === "display" ? (value === null ? "–" : value.toFixed(digits)) : value ?? -1);
    const rank = (value, kind) => (kind === "display" ? (value ?? "–") : value ?? 1e9);
    const columns = [
      { title: "query", data: "t", render: text, className: "left text" },
      { title: "id", data: "q", render: text, className: "left" },
      { title: "words", data: "w", searchable: false },
      { title: "overlap", data: "o", render: number(2), searchable: false },
      ...queries.systems.map((name, i) => ({ title: escaped(name).replaceAll("_", "_<wbr>"), data: `r${i}`, render: rank, searchable: false })),
    ];
    new DataTable(table, { data: rows, columns, deferRender: true, pageLength: 15, lengthMenu: [15, 50, 200], order: [], autoWidth: false });
    table.dataset.filled = "yes";
  }

  function escaped(text) {
    const element = document.createElement("span");
    element.textContent = text;
    return element.innerHTML;
  }

  if (queries && document.getElementById("first")) choosePair();
  const table = document.getElementById("query-table");
  if (table) {
    const observer = new IntersectionObserver((entries) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      observer.disconnect();
      fillTable(table).catch((error) => console.error(error));
    }, { rootMargin: "300px" });
    observer.observe(table.parentElement);
  }
  drawAll();
})();
