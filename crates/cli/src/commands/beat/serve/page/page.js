// Keeps the page up to date. Whatever comes from a process is set as text, never as markup.
"use strict";
const $ = (id) => document.getElementById(id);
const rows = $("rows"), news = $("news"), eyes = $("eyes"), form = $("search");
const search = form.elements.q, state = form.elements.state;
let known = new Map(); // name -> its <tr>
let skew = 0; // how far the server's clock is ahead of ours, in ms
const limit = new URLSearchParams(location.search).get("limit");
let source, offset = Number(new URLSearchParams(location.search).get("offset")) || 0;

const make = (tag, text, attributes = {}) => {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
};

const short = (seconds) =>
  seconds < 60 ? `${seconds}s`
  : seconds < 3600 ? `${Math.floor(seconds / 60)}m ${seconds % 60}s`
  : seconds < 86400 ? `${Math.floor(seconds / 3600)}h ${Math.floor(seconds / 60) % 60}m`
  : `${Math.floor(seconds / 86400)}d ${Math.floor(seconds / 3600) % 24}h`;

const age = (time) => {
  const past = Date.now() + skew - Date.parse(time.dateTime);
  time.textContent = past < 0 ? `in ${short(Math.floor(-past / 1000))}` : short(Math.floor(past / 1000));
};

const stamp = (cell, when, otherwise) => {
  if (!when) return cell.replaceChildren(otherwise);
  const time = make("time", "", { datetime: when, title: when });
  age(time);
  cell.replaceChildren(time);
};

const percent = (share) =>
  share === null ? "\u2013" : share === 1 ? "100%" : `${(Math.floor(share * 10000 + 1e-6) / 100).toFixed(2)}%`;

const blank = () => {
  const tr = make("tr"), th = make("th", undefined, { scope: "row" }), link = make("a");
  link.append(make("bdi"));
  th.append(link);
  const word = make("td", undefined, { class: "state" });
  word.append(make("b"), " ", make("i", "flapping"), " ", make("i"));
  tr.append(th, word);
  for (const label of ["for", "seen", "due"]) tr.append(make("td", undefined, { "data-label": label }));
  for (const label of ["up 1 h", "24 h", "7 d"]) {
    tr.append(make("td", undefined, { class: "uptime", "data-label": label }));
  }
  return tr;
};

const fill = (tr, row) => {
  const [name, word, since, last, due, hour, day, week] = tr.children;
  const changed = tr.className !== "" && !tr.classList.contains(row.state);
  tr.className = row.state + (changed ? " changed" : "");
  name.firstChild.href = `/api/processes/${encodeURIComponent(row.process)}`;
  name.firstChild.firstChild.textContent = row.shown ?? row.process;
  word.firstChild.textContent = row.state;
  word.children[1].hidden = !row.flapping;
  word.lastChild.hidden = !row.conflict;
  word.lastChild.textContent = row.conflict ? `two instances: ${row.conflict.join(" and ")}` : "";
  stamp(since, row.since, "\u2013");
  stamp(last, row.last_seen, "never");
  stamp(due, row.deadline, "\u2013");
  hour.textContent = percent(row.uptime_1h);
  day.textContent = percent(row.uptime_24h);
  week.textContent = percent(row.uptime_7d);
};

const address = (path, changes = {}) => {
  const asked = new URLSearchParams();
  const all = { q: search.value, state: state.value, limit, offset, ...changes };
  for (const [key, value] of Object.entries(all)) if (value) asked.set(key, value);
  return `${path}?${asked}`;
};

// Said once: a screen reader reads every change of it.
const see = (look, words) => {
  eyes.className = look;
  if (eyes.textContent !== words) eyes.textContent = words;
};

const hear = (told) => {
  skew = Date.parse(told.time) - Date.now();
  see(told.ready ? "seeing" : "blind", told.ready ? "listening" : "blind: the broker is gone, nobody is judged");
  $("now").dateTime = told.time;
  $("now").textContent = told.time;
  search.placeholder = `Search ${told.total} processes`;
  const down = told.states.down;
  document.title = down ? `(${down} down) sinew beat` : "sinew beat";
  for (const tile of document.querySelectorAll(".tile")) {
    const its = tile.dataset.state, current = its === state.value;
    tile.firstElementChild.textContent = told.states[its];
    tile.hidden = !told.states[its] && !current;
    tile.toggleAttribute("aria-current", current);
    tile.href = address("/", { state: current ? "" : its, offset: 0 });
  }
  for (const row of told.processes) {
    if (!known.has(row.process)) known.set(row.process, blank());
    fill(known.get(row.process), row);
  }
  if (told.order) {
    const shown = new Map(told.order.map((name) => [name, known.get(name)]));
    known = shown;
    // Rows that stay where they are are not touched: no focus, no selection is lost.
    let at = rows.firstElementChild;
    for (const tr of shown.values()) {
      if (at === tr) at = at.nextElementSibling;
      else rows.insertBefore(tr, at);
    }
    while (at) { const next = at.nextElementSibling; at.remove(); at = next; }
  }
  const last = told.offset + known.size;
  $("range").textContent = !told.matched ? "nobody"
    : known.size ? `${told.offset + 1}\u2013${last} of ${told.matched}` : `${told.matched} in all, none from here on`;
  page("previous", told.offset > 0, Math.max(0, told.offset - told.limit));
  page("next", last < told.matched, told.offset + told.limit);
  if (told.silences) {
    $("quiet").hidden = !told.silences.length;
    $("silences").replaceChildren(...told.silences.map((it) => {
      const li = make("li"), until = make("span");
      stamp(until, it.until, "");
      li.append(make("bdi", it.processes), " ", until, " ", make("b", it.author), " ", make("i", it.comment));
      return li;
    }));
  }
  if (told.news) {
    news.replaceChildren(...told.news.map((it) => {
      const li = make("li"), when = make("span", undefined, { class: "when" });
      stamp(when, it.at, "");
      li.append(when, " ", make("bdi", it.shown ?? it.process), " ",
        make("span", `${it.from ?? ""} \u2192`, { class: "from" }), " ",
        make("b", it.to, { class: it.to }), " ", make("i", it.reason));
      return li;
    }));
  }
};

const page = (word, there, to) => {
  const link = document.querySelector(`[data-page=${word}]`);
  link.hidden = !there;
  link.href = address("/", { offset: to });
};

const listen = () => {
  source?.close();
  source = new EventSource(address("/api/events"));
  source.addEventListener("snapshot", (event) => {
    const told = JSON.parse(event.data);
    // What the server sent with the page, or before a break, is drawn anew.
    known = new Map();
    rows.replaceChildren();
    hear(told);
  });
  source.addEventListener("delta", (event) => hear(JSON.parse(event.data)));
  source.addEventListener("error", () => {
    see("lost", "no connection to the page's server; trying again");
    // After a refusal the browser gives up by itself.
    if (source.readyState === EventSource.CLOSED) setTimeout(listen, 5000);
  });
};

const ask = () => { history.replaceState(null, "", address("/")); listen(); };

let pause;
search.addEventListener("input", () => {
  clearTimeout(pause);
  pause = setTimeout(() => { offset = 0; ask(); }, 250);
});
form.addEventListener("submit", (event) => { event.preventDefault(); clearTimeout(pause); offset = 0; ask(); });
document.addEventListener("click", (event) => {
  const link = event.target.closest(".tile, [data-page]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const asked = new URL(link.href).searchParams;
  state.value = asked.get("state") ?? "";
  offset = Number(asked.get("offset")) || 0;
  ask();
  if (link.dataset.page) scrollTo(0, 0);
});
setInterval(() => document.querySelectorAll("time[title]").forEach(age), 1000);
listen();
