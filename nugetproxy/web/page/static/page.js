// The page: views by the part of the address behind "#", data from page/..., changes by server-sent events.
"use strict";

const $ = (id) => document.getElementById(id);
const main = $("main");
let about = { feeds: [], admin: false, version: "" };
let live = null;
let span = "hour";
let shown = 0; // rises with every view, so that a late answer does not overwrite a later view
let timers = [];

// --- making elements: text is text, never markup ---

function h(tag, attributes = {}, ...children) {
  const [name, ...classes] = tag.split(".");
  return fill(document.createElement(name), classes, attributes, children);
}

function s(tag, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), [], attributes, children);
}

function fill(element, classes, attributes, children) {
  if (classes.length) element.classList.add(...classes);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(9).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

const card = (title, ...children) => h("section.card", {}, title ? h("h2", {}, title) : null, ...children);
const quiet = (text) => h("p.soft", {}, text);
const many = (count, one, several = one + "s") => `${number(count)} ${count === 1 ? one : several}`;

// --- numbers as people read them ---

const number = (value) => value.toLocaleString("en");
const percent = (ratio) => (ratio === null ? "–" : `${(ratio * 100).toFixed(ratio > 0.995 && ratio < 1 ? 1 : 0)} %`);

function bytes(size) {
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let unit = 0;
  while (size >= 1000 && unit < units.length - 1) { size /= 1000; unit += 1; }
  return `${unit && size < 100 ? size.toFixed(1) : Math.round(size)} ${units[unit]}`;
}

function seconds(value) {
  if (value < 0.1) return `${Math.round(value * 1000)} ms`;
  if (value < 100) return `${value.toFixed(1)} s`;
  const whole = Math.round(value);
  return `${Math.floor(whole / 60)} min ${whole % 60} s`;
}

function ago(at) {
  const passed = Math.max(0, Date.now() / 1000 - at);
  if (passed < 10) return "just now";
  for (const [unit, length] of [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]]) {
    const count = Math.floor(passed / length);
    if (count) return `${many(count, unit)} ago`;
  }
  return "just now";
}

function when(at) {
  const date = new Date(at * 1000);
  return h("time", { datetime: date.toISOString(), title: date.toLocaleString("en-GB"), "data-at": at }, ago(at));
}

setInterval(() => document.querySelectorAll("time[data-at]").forEach((time) => {
  const text = ago(Number(time.dataset.at));
  if (time.textContent !== text) time.textContent = text;
}), 10000);

// --- asking the proxy ---

class Refused extends Error {}

async function ask(name, query = {}) {
  const text = new URLSearchParams(query).toString();
  const answer = await fetch(`page/${name}${text ? `?${text}` : ""}`, { cache: "no-store" });
  const said = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refused(said.error || `The proxy answered ${answer.status}.`);
  return said;
}

const failure = (error) => h("p.card", { role: "alert" }, error instanceof Refused ? error.message : "The proxy cannot be reached. This page tries again by itself.");

// --- things to copy ---

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch { // plain http knows no clipboard
    const area = h("textarea", { readonly: true, "aria-hidden": "true" });
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  tell("Copied");
}

let toastTimer = 0;
function tell(text) {
  $("toast").textContent = text;
  $("toast").classList.add("on");
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => { $("toast").classList.remove("on"); $("toast").textContent = ""; }, 2500);
}

const copyButton = (text, what) => h("button.button", { type: "button", "aria-label": `Copy ${what}`, onclick: (event) => { copy(text); event.target.focus(); } }, "Copy");
const copyLine = (what, text) => h("div.field", {}, h("p", {}, what), h("div.copy", {}, h("code", { tabindex: 0 }, text), copyButton(text, what)));

// --- pieces of views ---

const CONDITIONS = { well: ["good", "Well"], unsteady: ["warn", "Unsteady"], lost: ["bad", "Lost"], unusable: ["bad", "Unusable"], offline: ["", "Offline"], unreadable: ["bad", "Unreadable"] };

function healthList(health) {
  if (!health.length) return quiet("No upstream may be read by you.");
  return h("ul.rows", {}, health.map((one) => {
    const [tone, word] = CONDITIONS[one.condition];
    return h("li", {},
      h("div.row", {}, h("div", {}, h("strong", {}, one.name), " ", h("span.soft.small", {}, one.place)), h(tone ? `span.mark.${tone}` : "span.mark", {}, word)),
      h("p.small", {}, one.sentence, " ", h("span.soft", {}, `${many(one.packages, "package")} ${one.size === null ? "in it" : "held"}${one.size ? `, ${bytes(one.size)}` : ""}.`)),
      one.failure ? h("p.small.soft", {}, one.failed_at ? ["Last failure ", when(one.failed_at), ": "] : "", one.failure) : null,
      one.todo ? h("p.small.todo", {}, one.todo) : null);
  }));
}

const rates = new Map(); // what is downloading -> [size, time, bytes per second]

function rate(one) {
  const key = `${one.source} ${one.id} ${one.version}`;
  const now = performance.now() / 1000;
  const [size, at, before] = rates.get(key) || [one.size, now, 0];
  if (one.size === size && now - at < 3) return before;
  const speed = now > at ? (one.size - size) / (now - at) : 0;
  rates.set(key, [one.size, now, speed]);
  return speed;
}

function downloadList(downloads) {
  if (!downloads.length) return quiet("Nothing. Everything that was asked for is here, or was not asked for yet.");
  return h("ul.rows", {}, downloads.map((one) => {
    const speed = rate(one);
    const left = one.total && speed > 0 ? `, ${seconds((one.total - one.size) / speed)} left` : "";
    const name = `${one.id} ${one.version}`;
    return h("li", {},
      h("div.row", {}, h("strong", {}, name), h("span.end.small.soft.num", {}, one.total ? `${bytes(one.size)} of ${bytes(one.total)}` : bytes(one.size))),
      h("progress", { "aria-label": `Download of ${name}`, ...(one.total ? { max: one.total, value: one.size } : {}) }),
      h("p.small.soft", {}, `from ${one.source}, ${many(one.readers, "client waits", "clients wait")}${speed ? `, ${bytes(speed)}/s` : ""}${left}`));
  }));
}

const ENGINES = { bucket: "Bucket, reading", bucket_writes: "Bucket, writing", coordination: "Redis" };

function levelTable(levels) {
  return h("div.scroll", { tabindex: 0, role: "region", "aria-label": "Table of the second level" }, h("table", {},
    h("thead", {}, h("tr", {}, ["Engine", "Hits", "Misses", "Errors", "Takes", "State"].map((name, index) => h(index && index < 5 ? "th.right" : "th", { scope: "col" }, name)))),
    h("tbody", {}, levels.map((one) => h("tr", {}, h("td", {}, ENGINES[one.engine] || one.engine),
      [number(one.hits), number(one.misses), number(one.errors), one.seconds === null ? "–" : `${number(Math.round(one.seconds * 1000))} ms`].map((text) => h("td.right", {}, text)),
      h("td", {}, one.breaker === "open" ? h("span.mark.bad", {}, "lost, this replica goes on without it") : h("span.mark.good", {}, "good")))))));
}

const packageLink = (id, version) => h("a", { href: `#/package/${encodeURIComponent(id)}${version ? `/${encodeURIComponent(version)}` : ""}` }, id);

function pulledList(pulls, end) {
  if (!pulls.length) return quiet("Nothing yet.");
  return h("ul.rows", {}, pulls.map((one) => h("li", {}, h("div.row", {}, h("span", {}, packageLink(one.id, one.version), " ", h("span.soft.small", {}, one.version)), h("span.end.small.soft.num", {}, end(one))))));
}

function troubleList(troubles) {
  if (!troubles.length) return quiet("None in the last seven days.");
  return h("ul.rows", {}, troubles.map((one) => h("li", {},
    h("div.row", {}, h("strong", {}, one.about || "This proxy"), one.now ? h("span.mark.bad", {}, "Now") : h("span.end.small.soft", {}, when(one.at), one.times > 1 ? `, ${number(one.times)} times` : "")),
    h("p.small", {}, one.what),
    h("p.small.todo", {}, one.todo))));
}

// --- charts: bars of inline SVG, with a table of the same numbers ---

const LABELS = {
  hour: (start) => new Date(start * 1000).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" }),
  day: (start) => new Date(start * 1000).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" }),
  month: (start) => new Date(start * 1000).toLocaleDateString("en-GB", { day: "numeric", month: "short" }),
};

function bars(data, parts, format, label) {
  const points = data.points;
  const width = 560, height = 150, left = 52, foot = 20, head = 8;
  const most = Math.max(1, ...points.map((point) => parts.reduce((sum, [, name]) => sum + point[name], 0)));
  const step = (width - left) / points.length;
  const y = (value) => head + (height - head - foot) * (1 - value / most);
  const shapes = [];
  points.forEach((point, index) => {
    let from = 0;
    for (const [tone, name] of parts) {
      const value = point[name];
      if (!value) continue;
      const tall = Math.max(1.5, y(from) - y(from + value));
      shapes.push(s("rect", { class: tone, x: (left + index * step + step * 0.12).toFixed(1), y: (y(from) - tall).toFixed(1), width: (step * 0.76).toFixed(1), height: tall.toFixed(1), rx: Math.min(2, step / 6).toFixed(1) },
        s("title", {}, `${LABELS[data.span](point.start)}: ${format(value)}`)));
      from += value;
    }
  });
  const marks = [0, Math.floor(points.length / 2), points.length - 1].map((index, place) => s("text", { x: left + (index + 0.5) * step, y: height - 4, "text-anchor": ["start", "middle", "end"][place] }, LABELS[data.span](points[index].start)));
  return s("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label },
    s("line", { class: "axis", x1: left, x2: width, y1: y(0), y2: y(0) }), s("line", { class: "axis", x1: left, x2: width, y1: y(most), y2: y(most), "stroke-dasharray": "2 4" }),
    s("text", { x: left - 8, y: y(most) + 4, "text-anchor": "end" }, format(most)), s("text", { x: left - 8, y: y(0) + 4, "text-anchor": "end" }, "0"), shapes, marks);
}

function chartTable(data) {
  return h("details.small", {}, h("summary", {}, "The numbers as a table"), h("div.scroll.tall", { tabindex: 0, role: "region", "aria-label": "Table of the charts" }, h("table", {},
    h("thead", {}, h("tr", {}, ["From", "Hits", "Fetched", "Failed", "Sent", "Saved"].map((name, index) => h(index ? "th.right" : "th", { scope: "col" }, name)))),
    h("tbody", {}, data.points.filter((point) => point.requests).map((point) => h("tr", {}, h("td", {}, LABELS[data.span](point.start)),
      [number(point.hits), number(point.fetches), number(point.failed), bytes(point.bytes), bytes(point.saved)].map((text) => h("td.right", {}, text))))))));
}

const SPAN_WORDS = { hour: "Last hour", day: "Last day", month: "Last month" };

function charts(data) {
  const sums = data.sums, word = SPAN_WORDS[data.span].toLowerCase();
  const ratio = `${percent(sums.ratio)} of ${number(sums.hits + sums.fetches)} answers came from here in the ${word}; ${number(sums.failed)} failed`;
  return [
    h("div.two", {},
      h("figure", {}, h("figcaption.small.soft", {}, "Answers"), bars(data, [["hit", "hits"], ["fetch", "fetches"], ["fail", "failed"]], number, ratio)),
      h("figure", {}, h("figcaption.small.soft", {}, "Bytes saved"), bars(data, [["save", "saved"]], bytes, `${bytes(sums.saved)} were saved in the ${word}, of ${bytes(sums.bytes)} sent`))),
    h("div.legend", {}, [["hit", "from here"], ["fetch", "fetched first"], ["fail", "failed"]].map(([tone, name]) => h("span", {}, h(`span.swatch.${tone}`), name)),
      h("span", {}, `${percent(sums.ratio)} hits, ${bytes(sums.saved)} saved of ${bytes(sums.bytes)} sent`)),
    chartTable(data),
  ];
}

function tile(name, big, more) { return h("div.tile", {}, h("dt", {}, name), h("dd.big", {}, big), h("dd.more", {}, more)); }

function tiles(state) {
  const hour = state.hour || { hits: 0, fetches: 0, failed: 0, saved: 0, bytes: 0, packages: 0, requests: 0, ratio: null };
  const holding = state.health.filter((one) => one.size !== null); // a folder's packages lie there, not here
  const held = holding.reduce((sum, one) => sum + one.packages, 0), size = holding.reduce((sum, one) => sum + one.size, 0);
  return [
    tile("Hit ratio, last hour", percent(hour.ratio), many(hour.hits + hour.fetches, "answer")),
    tile("Saved, last hour", bytes(hour.saved), `of ${bytes(hour.bytes)} sent`),
    tile("Packages served, last hour", number(hour.packages), hour.failed ? `${many(hour.failed, "request")} failed` : "nothing failed"),
    tile("Held here", number(held), `${held === 1 ? "package" : "packages"}, ${bytes(size)}`),
  ];
}

// --- views ---

const every = (milliseconds, act) => { act(); timers.push(setInterval(act, milliseconds)); };
const replace = (element, ...children) => element.replaceChildren(...children.flat(9).filter(Boolean));

function restoreRow(one) {
  const [tone, word] = SLOW[one.slow];
  return h("tr", {},
    h("td", {}, h("a", { href: `#/restore/${one.number}` }, when(one.ended))),
    about.admin ? h("td.wide", {}, [one.token, one.client].filter(Boolean).join(" at ")) : null,
    h("td.right", {}, number(one.packages)), h("td.right.wide", {}, number(one.hits)), h("td.right.wide", {}, number(one.fetches)),
    h("td.right.wide", {}, bytes(one.bytes)), h("td.right", {}, seconds(one.seconds)),
    h("td", {}, one.failed ? h("span.mark.bad", {}, `${number(one.failed)} failed`) : h(tone ? `span.mark.${tone}` : "span.mark", {}, word)),
    h("td.wide", {}, one.slowest ? [one.slowest.name, h("span.soft", {}, ` ${seconds(one.slowest.seconds)}`)] : ""));
}

function restoreTable(rows) {
  if (!rows.length) return quiet("None yet. Every official client names its restores; the next one is shown here.");
  const columns = [["When"], ...(about.admin ? [["Who", "wide"]] : []), ["Packages", "right"], ["Hits", "right.wide"], ["Fetched", "right.wide"], ["Bytes", "right.wide"], ["Took", "right"], ["Slow was"], ["Slowest package", "wide"]];
  return h("div.scroll", { tabindex: 0, role: "region", "aria-label": "Table of restores" }, h("table", {}, h("thead", {}, h("tr", {}, columns.map(([name, tone]) => h(tone ? `th.${tone}` : "th", { scope: "col" }, name)))), h("tbody", {}, rows.map(restoreRow))));
}

const GRAVE = { critical: "bad", high: "bad", moderate: "warn", low: "" };

function auditTable(said) {
  const gaps = [
    ...said.unknown.map((one) => h("p.small.todo", {}, `Not known now${one.upstream ? ` of ${one.upstream}` : ""}: ${one.says}`)),
    said.without_advisories.length ? h("p.small.todo", {}, `No advisories are published by ${said.without_advisories.join(", ")}.`) : null];
  const word = `${many(said.total, "finding")} in ${many(said.looked_at, "version")}${said.total > said.findings.length ? `; the first ${number(said.findings.length)}` : ""}.`;
  const list = h("ul.rows", {}, said.findings.map((one) => h("li", {},
    h("div.row", {}, h("span", {}, h("strong", {}, one.held.length ? packageLink(one.id, one.version) : one.id), " ", one.version), h(GRAVE[one.severity] ? `span.mark.${GRAVE[one.severity]}` : "span.mark", {}, one.severity)),
    one.says.map((text) => h("p.small", {}, auditWords(text))),
    h("p.small.soft", {}, auditUsers(one)))));
  return [h("p.soft", { role: "status" }, word), said.findings.length ? list : null, gaps];
}

function auditWords(text) {
  const found = /^advisory (https?:\S+)$/.exec(text);
  return found ? ["advisory ", h("a.url", { href: found[1], rel: "noreferrer" }, found[1])] : text;
}

function auditUsers(one) {
  const held = one.held.length ? `held of ${one.held.join(", ")}` : "not held any more";
  const names = [...new Set(one.users.map((use) => use.token || use.client))];
  const who = names.length ? `got by ${names.slice(0, 5).join(", ")}${names.length > 5 ? ` and ${names.length - 5} more` : ""}` : one.clients ? `got by ${many(one.clients, "client")}` : "";
  return [held, who ? `; ${who}` : "", one.last ? [", last ", when(one.last)] : ""];
}

const SLOW = { nobody: ["good", "nobody"], upstream: ["warn", "the upstream"], proxy: ["bad", "this proxy"], client: ["", "the client"] };

const views = {
  overview(view) {
    const places = Object.fromEntries(["tiles", "chart", "health", "downloads", "levels", "newest", "used", "trouble", "restores"].map((name) => [name, h(name === "tiles" ? "dl.tiles" : "div", {})]));
    const buttons = Object.keys(SPAN_WORDS).map((name) => h("button", { type: "button", "aria-pressed": String(name === span), onclick: () => choose(name) }, SPAN_WORDS[name]));
    const second = card("Second level", places.levels); // what replicas share, where they do
    second.hidden = true;
    replace(main, h("div.stack", {}, h("h1.hidden", {}, "Overview"), places.tiles,
      h("section.card", {}, h("div.head", {}, h("h2", {}, "From here, or fetched"), h("div.choice", { role: "group", "aria-label": "Span of the charts" }, buttons)), places.chart),
      h("div.two", {}, card("Upstreams", places.health), card("Downloading now", places.downloads)), second,
      h("section.card", {}, h("div.head", {}, h("h2", {}, "Last restores"), h("a.small", { href: "#/restores" }, "All restores")), places.restores),
      h("div.two", {}, card("Newest packages", places.newest), card("Most used packages", places.used)),
      h("section.card", {}, h("div.head", {}, h("h2", {}, "Recent trouble"), h("a.small", { href: "#/trouble" }, "All of it")), places.trouble)));
    const load = (name, query, show) => ask(name, query).then((said) => { if (view === shown) show(said); }).catch((error) => { if (view === shown && error instanceof Refused) tell(error.message); });
    const chart = () => load("chart", { span }, (said) => replace(places.chart, h("div.stack", {}, charts(said))));
    function choose(name) {
      span = name;
      buttons.forEach((button, index) => button.setAttribute("aria-pressed", String(Object.keys(SPAN_WORDS)[index] === name)));
      chart();
    }
    every(30000, chart);
    every(20000, () => load("restores", {}, (said) => replace(places.restores, restoreTable(said.restores.slice(0, 5)))));
    every(60000, () => load("packages", {}, (said) => { replace(places.newest, pulledList(said.newest, (one) => when(one.arrived))); replace(places.used, pulledList(said.used, (one) => many(one.times, "time"))); }));
    every(30000, () => load("trouble", {}, (said) => { replace(places.trouble, troubleList(said.troubles.slice(0, 3))); countTroubles(said.troubles); }));
    return (state) => { replace(places.tiles, tiles(state)); replace(places.health, healthList(state.health)); replace(places.downloads, downloadList(state.downloads)); second.hidden = !state.levels.length; replace(places.levels, state.levels.length ? levelTable(state.levels) : ""); };
  },

  async packages(view, words) {
    const text = words.join("/");
    document.title = text ? `${text} – nugetproxy` : "Packages – nugetproxy";
    if ($("search").value !== text && document.activeElement !== $("search")) $("search").value = text;
    const said = await ask("search", { q: text });
    if (view !== shown) return;
    const list = said.packages.length
      ? h("ul.rows", {}, said.packages.map((one) => h("li", {},
        h("div.row", {}, h("h2", {}, packageLink(one.id)), h("span.end.small.soft.num", {}, `${one.version}, ${bytes(one.size)}`)),
        h("p", {}, one.description), h("p.small.soft", {}, one.authors ? ["by ", h("bdi", {}, one.authors), " · "] : null, `${many(one.versions, "version")} · in ${one.sources.join(", ")}`))))
      : quiet("No held package is found by that. Clients get others all the same: they are fetched when they are asked for.");
    replace(main, h("div.stack", {}, h("h1", { tabindex: -1 }, text ? `Packages for “${text}”` : "Packages held here"),
      h("p.soft", { role: "status" }, said.total > said.packages.length ? `The first ${said.packages.length} of ${number(said.total)}` : many(said.total, "package")), h("div.card", {}, list)));
  },

  async package(view, [id = "", version = ""]) {
    const one = await ask("package", { id, version });
    if (view !== shown) return;
    document.title = `${one.id} ${one.version} – nugetproxy`;
    const license = one.license || (one.license_url && /^https?:/.test(one.license_url) ? h("a", { href: one.license_url, rel: "noreferrer" }, one.license_url) : one.license_url) || (one.license_text ? "in the package" : "not stated");
    const facts = [["Licence", license], ["Authors", one.authors], ["Tags", one.tags], ["Published", one.published ? new Date(one.published * 1000).toLocaleDateString("en-GB", { day: "numeric", month: "long", year: "numeric" }) : ""], ["Size", bytes(one.size)],
      ["Project", /^https?:/.test(one.project) ? h("a", { href: one.project, rel: "noreferrer" }, one.project) : one.project], ["Kind", one.types.join(", ")], ["Signature", one.signature]].filter(([, value]) => value);
    const needs = one.dependencies.filter((group) => group.needs.length || group.framework);
    replace(main, h("div.stack", {},
      h("div", {}, one.icon ? h("img.icon", { src: `page/icon?${new URLSearchParams({ id: one.id, version: one.version })}`, alt: "", width: 56, height: 56, onerror: (event) => event.target.remove() }) : null,
        h("h1", { tabindex: -1 }, one.id, " ", h("span.soft", {}, one.version)), one.listed ? null : h("span.mark.warn", {}, "unlisted"), h("p.lead", {}, (one.description || "").slice(0, 600))),
      h("div.side", {},
        h("div.stack", {},
          card("To use it", h("div.fields", {}, one.lines.map(([what, line]) => copyLine(what, line)))),
          one.readme ? card("Readme", h("div.readme", {}, markdown(one.readme))) : null,
          card("Dependencies", needs.length ? needs.map((group) => h("div", {}, h("h3", {}, group.framework || "All frameworks"), group.needs.length ? h("ul.rows", {}, group.needs.map(([need, range]) => h("li", {}, packageLink(need), " ", h("span.soft.small", {}, range)))) : quiet("none"))) : quiet("None.")),
          card("Files inside", one.unreadable ? quiet(one.unreadable) : h("details", {}, h("summary", {}, many(one.files.length + one.more_files, "file")), h("div.scroll.tall", { tabindex: 0, role: "region", "aria-label": "Files inside" }, h("table", {}, h("tbody", {}, one.files.map(([path, size]) => h("tr", {}, h("td", {}, h("code", {}, path)), h("td.right", {}, bytes(size))))))))),
          one.license_text ? card("Licence", h("details", {}, h("summary", {}, "Its text"), h("pre.tall", { tabindex: 0 }, one.license_text))) : null),
        h("div.stack", {},
          card("About", h("dl.facts", {}, facts.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]))),
          card("Versions held", h("div.tall", { tabindex: 0, role: "region", "aria-label": "Versions held" }, h("ul.rows", {}, one.versions.map((other) => h("li", {}, h("div.row", {}, h("span", {}, other.version === one.version ? h("strong", { "aria-current": "true" }, other.version) : h("a", { href: `#/package/${encodeURIComponent(one.id)}/${encodeURIComponent(other.version)}` }, other.version), other.listed ? null : h("span.soft.small", {}, " unlisted")), h("span.end.small.soft.num", {}, bytes(other.size), one.pulls[other.version.toLowerCase()] ? `, got ${number(one.pulls[other.version.toLowerCase()])} ×` : ""))))))),
          card("Who uses it", usage(one))))));
  },

  restores(view) {
    const place = h("div.card", {});
    replace(main, h("div.stack", {}, h("h1", { tabindex: -1 }, "Restores"), quiet("What a client asks for under one session id is one restore. Choose one to see what took its time."), place));
    every(10000, () => ask("restores").then((said) => { if (view === shown) replace(place, restoreTable(said.restores)); }).catch((error) => { if (view === shown) replace(place, failure(error)); }));
  },

  async restore(view, [number_ = ""]) {
    const one = await ask("restore", { number: number_ });
    if (view !== shown) return;
    document.title = `Restore – nugetproxy`;
    const who = [["When", when(one.ended)], ...(about.admin ? [["Who", [one.token, one.client].filter(Boolean).join(" at ")], ["Session", one.session]] : []), ["From", one.feeds.join(", ")], ["Took", seconds(one.seconds)], ["Packages", number(one.packages)], ["Requests", `${number(one.requests)}: ${many(one.hits, "hit")}, ${number(one.fetches)} fetched, ${number(one.failed)} failed`], ["Bytes", bytes(one.bytes)]];
    const names = [["upstream", "waited for the upstream"], ["proxy", "this proxy's disk and processor"], ["client", "the client asked for nothing, or was slow to take it"]];
    replace(main, h("div.stack", {}, h("h1", { tabindex: -1 }, one.slow === "nobody" ? "This restore was quick" : "Why was this restore slow?"),
      h("section.card", {}, h("div.lead", {}, one.sentences.map((text) => h("p", {}, text))),
        h("div.parts", { role: "img", "aria-label": names.map(([name, what]) => `${what}: ${seconds(one.shares[name])}`).join("; ") }, names.map(([name]) => grown(h(`span.${name}`), one.shares[name]))),
        h("div.legend", {}, names.map(([name, what]) => h("span", {}, h(`span.swatch.${name}`), `${what}: ${seconds(one.shares[name])}`)))),
      h("div.side", {},
        card("Its slowest requests", one.steps.length ? h("ol.rows", {}, one.steps.map((step) => stepRow(step, one.seconds))) : quiet("None.")),
        card("In numbers", h("dl.facts", {}, who.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])))), h("p", {}, h("a", { href: "#/restores" }, "All restores"))));
  },

  audit(view) {
    const place = h("div.card", {});
    replace(main, h("div.stack", {}, h("h1", { tabindex: -1 }, "Audit"), quiet("What is held here, or was got by clients, that has an advisory, was withdrawn, is deprecated or unlisted, or that a rule is about."), place));
    every(300000, () => ask("audit").then((said) => { if (view === shown) replace(place, auditTable(said)); }).catch((error) => { if (view === shown) replace(place, failure(error)); }));
  },

  trouble(view) {
    const place = h("div.card", {});
    replace(main, h("div.stack", {}, h("h1", { tabindex: -1 }, "Recent trouble"), quiet("Requests that failed alike are one line, with what to do about it."), place));
    every(10000, () => ask("trouble").then((said) => { if (view === shown) { replace(place, troubleList(said.troubles)); countTroubles(said.troubles); } }).catch((error) => { if (view === shown) replace(place, failure(error)); }));
  },

  setup() {
    replace(main, h("div.stack", {}, h("h1", { tabindex: -1 }, "Set up a client"), quiet("Put one of these beside your solution as nuget.config, and restore."),
      about.feeds.map((feed) => h("section.card", {}, h("div.head", {}, h("h2", {}, feed.name), h("span.soft.small", {}, `from ${feed.sources.join(", ")}`)),
        h("div.head", {}, h("code.url", {}, feed.url), copyButton(feed.config, `the nuget.config of ${feed.name}`)), h("pre", { tabindex: 0, role: "region", "aria-label": `nuget.config of ${feed.name}` }, feed.config),
        copyLine("As it was on a day (write that day)", feed.asof),
        feed.token ? quiet("This feed wants a token: put yours into the environment variable NUGETPROXY_TOKEN.") : null))));
  },
};

function stepRow(step, whole) {
  const bar = h("span", {}, ["upstream", "proxy", "client"].map((name) => grown(h(`i.${name}`), name === "proxy" ? step.here : step[name])));
  bar.style.left = `${Math.min(99, (100 * step.began) / whole)}%`;
  bar.style.width = `${Math.max(1, Math.min(100, (100 * step.seconds) / whole))}%`;
  const [, word] = SLOW[step.slow];
  return h("li", {}, h("div.row", {}, h("span", {}, step.kind === "package" ? [packageLink(step.id, step.version), " ", h("span.soft.small", {}, step.version)] : step.name), h("span.end.small.num", {}, seconds(step.seconds))),
    h("div.line", { "aria-hidden": "true" }, bar), h("p.small.soft", {}, `${step.outcome}, ${bytes(step.size)}${step.seconds < 0.1 ? "" : `; most of it was ${word}`}`));
}

function grown(element, share) {
  element.style.flexGrow = Math.max(0, share);
  element.style.flexBasis = "0";
  return element;
}

function usage(one) {
  if (!one.keeps_usage) return quiet("This proxy does not keep who uses what (history.usage is off).");
  if (one.uses === null) return quiet(one.users ? `${many(one.users, "client has", "clients have")} got it lately. Administrators see which.` : "Nobody has got it lately.");
  if (!one.uses.length) return quiet("Nobody has got it lately.");
  return h("div.tall", { tabindex: 0, role: "region", "aria-label": "Who uses it" }, h("ul.rows", {}, one.uses.map((use) => h("li", {}, h("div.row", {}, h("span", {}, [use.token, use.client].filter(Boolean).join(" at ")), h("span.end.small.soft", {}, use.version)), h("p.small.soft", {}, "last ", when(use.last), `, ${many(use.times, "time")}`)))));
}

// --- a readme: the parts of Markdown that readmes live on, made of elements ---

function markdown(text) {
  const blocks = [];
  const lines = text.replace(/\r/g, "").replace(/<!--[\s\S]*?-->/g, "").split("\n");
  let at = 0;
  const until = (test) => { const taken = []; while (at < lines.length && !test(lines[at])) taken.push(lines[at++]); return taken; };
  while (at < lines.length && blocks.length < 2000) {
    const line = lines[at];
    const title = /^(#{1,6})\s+(.*?)\s*#*$/.exec(line), item = /^\s*([-*+]|\d+[.)])\s+/.exec(line);
    if (/^\s*(```|~~~)/.test(line)) {
      at += 1;
      const code = until((next) => /^\s*(```|~~~)\s*$/.test(next));
      at += 1;
      blocks.push(h("pre", { tabindex: 0 }, h("code", {}, code.join("\n"))));
    } else if (title) {
      at += 1;
      blocks.push(h("h3", {}, inline(title[2])));
    } else if (item) {
      const items = [];
      while (at < lines.length && /^\s*([-*+]|\d+[.)])\s+/.test(lines[at])) {
        const first = lines[at++].replace(/^\s*([-*+]|\d+[.)])\s+/, "");
        items.push(h("li", {}, inline([first, ...until((next) => !/^\s{2,}\S/.test(next) || /^\s*([-*+]|\d+[.)])\s+/.test(next))].join(" "))));
      }
      blocks.push(h(/\d/.test(item[1]) ? "ol" : "ul", {}, items));
    } else if (!line.trim() || /^\s*(-{3,}|={3,}|\*{3,})\s*$/.test(line)) {
      at += 1;
    } else {
      at += 1;
      blocks.push(h("p", {}, inline([line, ...until((next) => !next.trim() || /^(#{1,6}\s|\s*(```|~~~)|\s*([-*+]|\d+[.)])\s)/.test(next))].join(" "))));
    }
  }
  return blocks.filter((block) => block.textContent.trim());
}

function inline(text) {
  const parts = [];
  const pattern = /`([^`]+)`|!\[([^\]]*)\]\([^)]*\)|\[((?:!\[[^\]]*\]\([^)]*\)|[^\]])*)\]\(([^)\s]+)[^)]*\)|\*\*([^*]+)\*\*|<[^>]+>/g;
  let last = 0;
  for (const found of text.matchAll(pattern)) {
    parts.push(text.slice(last, found.index));
    last = found.index + found[0].length;
    const [, code, , label, target, strong] = found;
    if (code) parts.push(h("code", {}, code));
    else if (strong) parts.push(h("strong", {}, strong));
    else if (label !== undefined) {
      const words = label.replace(/!\[([^\]]*)\]\([^)]*\)/g, "").trim();
      if (words) parts.push(/^https?:/.test(target) ? h("a", { href: target, rel: "noreferrer" }, words) : words);
    }
  }
  parts.push(text.slice(last));
  return parts;
}

// --- which view ---

let update = null;

async function route(first = false) {
  const [name = "", ...words] = location.hash.replace(/^#\/?/, "").split("/").map((word) => { try { return decodeURIComponent(word); } catch { return word; } });
  if (location.hash === "#main") return;
  const wanted = views[name] ? name : "overview";
  timers.forEach(clearInterval);
  timers = [];
  shown += 1;
  const view = shown, of = { package: "packages", restore: "restores" }[wanted] || wanted;
  document.querySelectorAll(".views a").forEach((link) => (link.dataset.view === of ? link.setAttribute("aria-current", "page") : link.removeAttribute("aria-current")));
  if (of !== "packages" && document.activeElement !== $("search")) $("search").value = "";
  document.title = { overview: "nugetproxy", restores: "Restores – nugetproxy", audit: "Audit – nugetproxy", trouble: "Trouble – nugetproxy", setup: "Set up – nugetproxy" }[wanted] || document.title;
  update = null;
  try {
    const made = await views[wanted](view, words);
    if (view !== shown) return;
    update = made || null;
  } catch (error) {
    if (view === shown) replace(main, h("h1", { tabindex: -1 }, "That did not work"), failure(error));
  }
  if (update && live) update(live);
  if (!first && document.activeElement !== $("search")) { window.scrollTo(0, 0); (main.querySelector("h1") || main).focus({ preventScroll: true }); }
  main.dataset.ready = wanted;
}

function countTroubles(troubles) {
  const now = troubles.filter((one) => one.now).length;
  $("trouble-count").hidden = !now;
  $("trouble-count").textContent = now;
}

// --- live ---

let source = null, polling = 0;

function take(state) {
  live = state;
  const lost = state.health.filter((one) => CONDITIONS[one.condition][0] === "bad");
  const unsteady = state.health.some((one) => one.condition === "unsteady");
  pulse(lost.length ? "bad" : unsteady ? "warn" : "good", lost.length ? `${lost.map((one) => one.name).join(", ")} lost` : unsteady ? "An upstream is unsteady" : "All is well");
  if (update) update(state);
}

function pulse(tone, text) {
  $("pulse").className = `pulse ${tone}`;
  if ($("pulse-text").textContent !== text) $("pulse-text").textContent = text;
}

function listen() {
  clearInterval(polling);
  source = new EventSource("page/events");
  source.addEventListener("live", (event) => take(JSON.parse(event.data)));
  source.onerror = () => {
    pulse("bad", "The proxy does not answer");
    if (source.readyState !== EventSource.CLOSED) return; // the browser asks again by itself
    clearInterval(polling); // refused, as when too many pages are open: ask now and then instead
    polling = setInterval(() => ask("live").then(take).catch(() => pulse("bad", "The proxy does not answer")), 5000);
  };
}

document.addEventListener("visibilitychange", () => { // a page that nobody looks at holds no stream
  if (document.hidden) { source.close(); clearInterval(polling); } else listen();
});
window.addEventListener("hashchange", () => route());

let typing = 0;
$("search").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => { location.hash = `#/packages/${encodeURIComponent($("search").value.trim())}`; }, 250);
});
$("search-form").addEventListener("submit", (event) => {
  event.preventDefault();
  clearTimeout(typing);
  const wanted = `#/packages/${encodeURIComponent($("search").value.trim())}`;
  if (location.hash === wanted) route(); else location.hash = wanted;
});

ask("about").then((said) => {
  about = said;
  $("about-line").textContent = `nugetproxy ${about.version}`;
  $("sign-in").hidden = about.admin || !about.tokens;
}).catch(() => {}).finally(() => { route(true); listen(); });
