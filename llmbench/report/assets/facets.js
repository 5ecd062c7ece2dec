"use strict";
// Facets: the layout of a panel, in which cells that the filters empty make room; on narrow screens a cell a line.
const arrange = (() => {
  const CELL_GAP = 64; // pixels between cells: tick labels, and the title of the next
  const NARROW_CELL = 230;
  const axisOf = (layout, id) => (layout[`${id[0]}axis${id.slice(1)}`] ??= {});
  const refsOf = trace => [trace.xaxis ?? "x", trace.yaxis ?? "y"];

  function cellsOf(layout, traces) {
    const pairs = new Map(traces.map(t => [refsOf(t).join(), refsOf(t)]));
    const cells = [...pairs.values()].map(ids => {
      const [x, y] = ids.map(id => axisOf(layout, id));
      return {ids, x, y, left: x.domain?.[0] ?? 0, top: y.domain?.[1] ?? 1, tall: y.domain ? y.domain[1] - y.domain[0] : 1};
    });
    return cells.sort((a, b) => b.top - a.top || a.left - b.left);
  }

  // `all` traces of a panel and those that the filters leave; `single`: one cell below the other.
  function arrange(layout, all, traces, single) {
    const alive = new Set(traces.flatMap(refsOf));
    const cells = cellsOf(layout, all);
    const live = cells.filter(c => alive.has(c.ids[0]) && alive.has(c.ids[1]));
    const own = new Set(cells.flatMap(c => c.ids)).size === 2 * cells.length;
    if (own && cells.length > 1 && live.length) {
      for (const cell of live) {
        cell.first = single || !live.some(c => c.top === cell.top && c.left < cell.left);
        cell.last = single ? cell === live.at(-1) : !live.some(c => c.left === cell.left && c.top < cell.top);
      }
      retitle(layout, cells, live);
      if (single || live.length < cells.length) place(layout, cells, live, single);
    }
    drop(layout, alive);
  }

  // The cells that are left fill the panel, in as many columns as they had; on a narrow screen in one.
  function place(layout, cells, live, single) {
    const height = Math.min(single ? NARROW_CELL : Infinity, cells[0].tall * (layout.height - 80));
    const places = key => [...new Set(live.map(c => c[key]))].sort((a, b) => a - b);
    const columns = places("left"), rows = places("top").reverse();
    const count = single ? live.length : rows.length, wide = single ? 1 : 1 / columns.length;
    const total = count * (height + CELL_GAP) - CELL_GAP;
    live.forEach((cell, i) => {
      const column = single ? 0 : columns.indexOf(cell.left), row = single ? i : rows.indexOf(cell.top);
      const top = 1 - (row * (height + CELL_GAP)) / total, right = (column + 1) * wide;
      cell.y.domain = [Math.max(0, top - height / total), top];
      cell.x.domain = [column * wide + (column ? 0.035 : 0), right > 0.999 ? 1 : right - 0.035];
    });
    layout.height = total + 80;
  }

  // Axes that match are labelled at the left and titled at the left and at the bottom, wherever that is now; and they
  // match one that is there.
  function retitle(layout, cells, live) {
    for (const [key, n, end] of [["x", 0, "last"], ["y", 1, "first"]]) {
      const groups = Map.groupBy(live, cell => cell[key].matches ?? cell.ids[n]);
      for (const [root, group] of groups) {
        const axes = [axisOf(layout, root), ...cells.map(c => c[key]).filter(axis => axis.matches === root)];
        const title = axes.find(axis => axis.title)?.title;
        if (axes.length < 2) continue;
        for (const cell of group) {
          const axis = cell[key];
          for (const given of ["title", "matches", ...(key === "y" ? ["showticklabels"] : [])]) delete axis[given];
          if (cell[end] && title) axis.title = title;
          if (key === "y" && !cell.first) axis.showticklabels = false;
          if (cell !== group[0]) axis.matches = group[0].ids[n];
        }
      }
    }
  }

  // Axes that no trace is on, with the titles of their cells.
  function drop(layout, alive) {
    const idOf = key => /^[xy]axis\d*$/.test(key) && key.replace("axis", "");
    const under = new Set(Object.values(layout).map(axis => axis?.overlaying));
    const gone = new Set(Object.keys(layout).map(idOf).filter(id => id && !alive.has(id) && !under.has(id)));
    const tied = item => [item.xref, item.yref].some(ref => gone.has(ref?.split(" ")[0]));
    for (const id of gone) delete layout[`${id[0]}axis${id.slice(1)}`];
    for (const list of ["annotations", "shapes"]) layout[list] = layout[list]?.filter(item => !tied(item));
  }

  return arrange;
})();
