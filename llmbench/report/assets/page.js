"use strict";
// Draws the panels of a page from the JSON in it, and narrows them by the filters of its side bar.
(() => {
  const page = JSON.parse(document.getElementById("data").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const narrow = matchMedia("(max-width: 700px)");
  const coarse = matchMedia("(pointer: coarse)");
  const PRINT_WIDTH = 680; // CSS pixels: A4 and letter, less their margins
  const PRINT_SCALE = 0.62; // of the height, about as the width shrinks
  const MOST_PRINTED_ROWS = 40; // tables up to here are printed, longer ones stay closed
  const EXPORT = {width: 1000, scale: 2};
  const CONFIG = {
    displaylogo: false, displayModeBar: false, responsive: true, showTips: false, doubleClick: "reset",
  };
  const off = {}; // filter -> the values that are switched off
  for (const key of Object.keys(page.filters)) off[key] = new Set();
  let printing = false, exporting = false;

  const panels = page.panels.map(given => {
    const section = document.getElementById(given.anchor);
    return {...given, section, plot: section.querySelector(".plot"), nothing: section.querySelector(".nothing"), wanted: false};
  });

  // ---- colours

  const theme = () => (dark.matches && !printing && !exporting ? "dark" : "light");

  function coloured(value, colours, key = "") {
    if (Array.isArray(value)) {
      return typeof value[0] === "number" ? value : value.map(v => coloured(v, colours, key));
    }
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, coloured(v, colours, k)]));
    }
    if (typeof value !== "string" || value[0] !== "@" || !key.endsWith("color")) return value;
    const [name, opacity] = value.slice(1).split("/");
    const [red, green, blue] = [1, 3, 5].map(i => parseInt(colours[name].slice(i, i + 2), 16));
    return opacity ? `rgba(${red},${green},${blue},${opacity})` : colours[name];
  }

  // ---- filters

  const valueOf = box => page.filters[box.dataset.key][box.dataset.at]; // HTML changes line ends in its own value
  const passes = number => Object.entries(page.facts[number]).every(([key, value]) => !off[key].has(value));

  // The trace without the points that a filter drops: every list that is as long as the points loses the same ones.
  function kept(value, keep, key = "") {
    if (Array.isArray(value)) {
      return value.length === keep.length && key !== "colorscale" ? value.filter((_, i) => keep[i]) : value;
    }
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, kept(v, keep, k)]));
    }
    return value;
  }

  function tracesOf(panel) {
    const found = [];
    panel.traces.forEach((trace, i) => {
      if (!passes(trace.facts)) return;
      const keep = trace.points && trace.points.map(passes);
      if (keep && !keep.some(Boolean)) return;
      const data = keep && !keep.every(Boolean) ? kept(trace.data, keep) : {...trace.data};
      found.push({...data, uid: `t${i}`});
    });
    return named(panel, found);
  }

  // A series keeps its place in the legend when the filters hide the trace that stood there for it.
  function named(panel, found) {
    const group = data => data.legendgroup ?? data.name;
    const told = new Set(found.filter(t => t.showlegend !== false).map(group));
    for (const {data} of panel.traces) {
      if (data.showlegend === false || told.has(group(data))) continue;
      const heir = found.find(t => group(t) === group(data) && !(t.fill && t.fill !== "none"));
      if (heir) Object.assign(heir, {showlegend: true, name: data.name});
      told.add(group(data));
    }
    return found;
  }

  // ---- drawing

  function layoutOf(panel, traces, colours) {
    const layout = structuredClone(panel.layout);
    layout.template = page.template;
    layout.height = panel.height;
    layout.autosize = true;
    arrange(layout, panel.traces.map(t => t.data), traces, narrow.matches && !printing && !exporting);
    const titles = (layout.annotations ?? []).filter(note => note.y >= 1 && note.yanchor === "bottom"); // of facets
    const above = titles.length ? 6 + 14 * Math.max(...titles.map(note => note.text.split("<br>").length)) : 4;
    const rows = legendRows(traces, printing ? PRINT_WIDTH : exporting ? EXPORT.width : panel.plot.clientWidth || 800);
    layout.margin = {t: above + (rows && 20 * rows + 8), ...layout.margin};
    if (rows) {
      layout.height += 20 * rows;
      layout.legend = {
        orientation: "h", x: 0, xanchor: "left", y: 1, yanchor: "top", yref: "container", ...layout.legend, uirevision: "kept",
      };
    }
    if (printing) Object.assign(layout, {width: PRINT_WIDTH, autosize: false, height: PRINT_SCALE * layout.height});
    if (coarse.matches || narrow.matches) layout.dragmode = false; // a finger scrolls the page
    return coloured(layout, colours);
  }

  // How many rows plotly will need for the legend, by the length of its names.
  function legendRows(traces, width) {
    const told = new Map(traces.filter(t => t.showlegend !== false && t.name).map(t => [t.legendgroup ?? t.name, t.name]));
    if (told.size < 2 && !traces.some(t => t.showlegend)) return 0;
    let rows = told.size && 1, left = width - 60;
    for (const name of told.values()) {
      const wide = 6.7 * name.length + 46;
      if (wide > left && left < width - 60) [rows, left] = [rows + 1, width - 60];
      left -= wide;
    }
    return rows;
  }

  function figureOf(panel) {
    const colours = page.colours[theme()];
    const traces = tracesOf(panel);
    return {data: coloured(traces, colours), layout: layoutOf(panel, traces, colours)};
  }

  function draw(panel) {
    const {data, layout} = figureOf(panel);
    panel.plot.hidden = data.length === 0;
    panel.nothing.hidden = data.length > 0;
    if (data.length) {
      panel.plot.style.minHeight = `${layout.height}px`;
      Plotly.react(panel.plot, data, layout, CONFIG);
      if (!panel.keyed) panel.plot.on("plotly_afterplot", () => keys(panel));
      panel.keyed = true;
      keys(panel);
    }
    if (!data.length) panel.section.querySelector(".keys").replaceChildren();
    panel.section.dataset.state = data.length ? "drawn" : "nothing";
    panel.wanted = true;
  }

  // The legend within a picture takes no focus: a button for each of its entries, which clicks on it.
  function keys(panel) {
    const place = panel.section.querySelector(".keys"), entries = [...panel.plot.querySelectorAll(".legend .traces")];
    const names = entries.map(entry => entry.textContent);
    if (names.join("\n") !== [...place.children].map(button => button.textContent).join("\n")) {
      place.replaceChildren(...names.map((name, i) => {
        const button = Object.assign(document.createElement("button"), {type: "button", textContent: name});
        button.addEventListener("click", () => {
          const entry = panel.plot.querySelectorAll(".legend .legendtoggle")[i];
          for (const kind of ["mousedown", "mouseup"]) entry.dispatchEvent(new MouseEvent(kind, {bubbles: true}));
        });
        return button;
      }));
    }
    entries.forEach((entry, i) => place.children[i].setAttribute("aria-pressed", entry.style.opacity !== "0.5"));
  }

  const drawAll = () => panels.filter(p => !p.wanted).forEach(draw);
  const redraw = () => panels.filter(p => p.wanted).forEach(draw);

  // ---- tables and filters

  function narrowTables() {
    for (const table of document.querySelectorAll(".numbers")) {
      const rows = [...table.querySelectorAll("tbody tr")];
      for (const row of rows) row.hidden = !passes(row.dataset.f);
      const said = table.querySelector(".rows");
      said.dataset.all ??= said.textContent;
      const left = rows.filter(row => !row.hidden).length;
      said.textContent = left === rows.length ? said.dataset.all : `${left} of ${said.dataset.all}`;
    }
  }

  function filter() {
    for (const box of document.querySelectorAll(".filters input")) {
      off[box.dataset.key][box.checked ? "delete" : "add"](valueOf(box));
    }
    narrowTables();
    redraw();
    const hidden = Object.entries(off).filter(([, values]) => values.size);
    const told = hidden.map(([key, values]) => `${key}: ${page.filters[key].length - values.size} of ${page.filters[key].length}`);
    for (const place of document.querySelectorAll(".filtered")) place.textContent = told.join(", ");
    remember();
  }

  // ---- the address holds the filters: it can be sent, and survives being loaded again

  function remember() {
    const query = queryOf(off, page.filters), hash = readHash(location.hash, page.filters).anchor + query;
    for (const a of document.querySelectorAll("a.anchor")) a.setAttribute("href", `#${a.closest("section").id}${query}`);
    try {
      history.replaceState(null, "", location.href.split("#")[0] + (hash && `#${hash}`));
    } catch { /* a frame without an address of its own */ }
  }

  // Filters and panel of the address; an anchor alone leaves the filters as they are.
  function follow(event) {
    const wanted = readHash(location.hash, page.filters);
    if (!wanted.off) return remember();
    for (const box of document.querySelectorAll(".filters input")) box.checked = !wanted.off[box.dataset.key].has(valueOf(box));
    filter();
    const loaded = performance.getEntriesByType("navigation")[0]?.type;
    if (!event && loaded !== "navigate") return; // loaded again: it is where it was
    document.getElementById(wanted.anchor)?.scrollIntoView({behavior: event ? "auto" : "instant"});
  }

  function listen() {
    document.querySelector(".filters")?.addEventListener("change", filter);
    document.querySelector(".filters")?.addEventListener("click", event => {
      const {all, none} = event.target.dataset;
      if (all === undefined && none === undefined) return;
      for (const box of event.target.closest("fieldset").querySelectorAll("input")) box.checked = all !== undefined;
      filter();
    });
    document.querySelector(".filters")?.addEventListener("submit", event => event.preventDefault());
    document.addEventListener("click", event => {
      const format = event.target.dataset?.save;
      if (format) save(panels.find(p => p.section.contains(event.target)), format);
    });
    dark.addEventListener("change", redraw);
    const fold = () => { document.getElementById("side").open = !narrow.matches; };
    narrow.addEventListener("change", () => { fold(); redraw(); });
    fold();
  }

  // ---- files and paper

  function blobOf(url) {
    const [head, ...body] = url.split(",");
    const type = head.slice("data:".length).split(";")[0];
    if (!head.endsWith(";base64")) return new Blob([decodeURIComponent(body.join(","))], {type});
    return new Blob([Uint8Array.from(atob(body.join(",")), c => c.charCodeAt(0))], {type});
  }

  // A picture has light paper whatever the screen has: it goes into documents.
  async function imageOf(panel, format) {
    if (!panel.wanted) draw(panel);
    const visible = Object.fromEntries((panel.plot._fullData ?? []).map(t => [t.uid, t.visible]));
    exporting = true;
    const {data, layout} = figureOf(panel);
    exporting = false;
    for (const trace of data) trace.visible = visible[trace.uid] ?? true;
    Object.assign(layout, {paper_bgcolor: page.colours.light.paper, width: EXPORT.width, autosize: false});
    const title = panel.section.querySelector("h2").firstChild.textContent.trim();
    layout.title = {text: title.replaceAll("<", "&lt;"), x: 0.01, xanchor: "left", font: {size: 15}, y: 0.99, yanchor: "top"};
    layout.margin = {...layout.margin, t: (layout.margin?.t ?? 8) + 26};
    if (layout.legend) Object.assign(layout.legend, {y: 1 - 28 / layout.height});
    layout.height += 26;
    return blobOf(await Plotly.toImage({data, layout, config: CONFIG}, {
      format, width: EXPORT.width, height: layout.height, scale: format === "png" ? EXPORT.scale : 1,
    }));
  }

  async function save(panel, format) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(await imageOf(panel, format));
    link.download = `${panel.anchor}.${format}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  }

  let opened = []; // tables that only the printer wants open
  function beforePrint() {
    printing = true;
    opened = [...document.querySelectorAll("details.numbers:not([open])")].filter(d => d.dataset.rows <= MOST_PRINTED_ROWS);
    for (const details of opened) details.open = true;
    panels.forEach(draw);
  }
  function afterPrint() {
    printing = false;
    for (const details of opened) details.open = false;
    redraw();
  }

  // ---- start

  function watch() {
    const near = new IntersectionObserver(entries => {
      for (const entry of entries) {
        const panel = panels.find(p => p.section === entry.target);
        if (entry.isIntersecting && !panel.wanted) draw(panel);
      }
    }, {rootMargin: "600px"});
    for (const panel of panels) near.observe(panel.section);
    const links = new Map([...document.querySelectorAll("nav a")].map(a => [a.hash.slice(1), a]));
    const here = new IntersectionObserver(entries => {
      for (const entry of entries) links.get(entry.target.id)?.classList.toggle("here", entry.isIntersecting);
    }, {rootMargin: "-20% 0px -60% 0px"});
    for (const section of document.querySelectorAll("section.panel")) here.observe(section);
  }

  listen();
  watch();
  follow();
  addEventListener("hashchange", follow);
  addEventListener("beforeprint", beforePrint);
  addEventListener("afterprint", afterPrint);
  if (readHash(location.hash, page.filters).anchor === "all" || new URLSearchParams(location.search).has("all")) drawAll();
  window.llmbench = {draw, drawAll, imageOf: (anchor, format) => imageOf(panels.find(p => p.anchor === anchor), format), panels};
})();
