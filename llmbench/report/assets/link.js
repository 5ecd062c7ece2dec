"use strict";
// The filters within an address, after the anchor: `#sweep-time?-impl=naive&phase=fwd` is all but naive, and fwd alone.

// The anchor of a hash, and by filter the values that it switches off; `off` is null where it says nothing of filters.
function readHash(hash, filters) {
  const [, anchor, asked, query] = /^#?([^?&%=]*)(\?|%3F)?(.*)$/is.exec(hash);
  if (!asked) return {anchor, off: null};
  const told = new URLSearchParams(query), off = {};
  for (const [key, values] of Object.entries(filters)) {
    const only = new Set(told.getAll(key)), not = new Set(told.getAll(`-${key}`));
    const known = only.has("") || values.some(value => only.has(value)); // a page of other values shows all it has
    off[key] = new Set(values.filter(value => (known && !only.has(value)) || not.has(value)));
  }
  return {anchor, off};
}

// `?` and what is shown or what is not, whichever is shorter; empty where everything is shown.
function queryOf(off, filters) {
  const told = new URLSearchParams();
  for (const [key, values] of Object.entries(filters)) {
    const shown = values.filter(value => !off[key].has(value));
    if (shown.length >= off[key].size) for (const value of off[key]) told.append(`-${key}`, value);
    else for (const value of shown.length ? shown : [""]) told.append(key, value);
  }
  return told.size ? `?${told}` : "";
}
