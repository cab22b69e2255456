// The page of the assistant. What comes from data gets into the document as text only: `make` knows no other way.
"use strict";

const MAX_COMPARED = 6;
const KEY = "eshop-api-key";
const find = (id) => document.getElementById(id);
const compared = new Map(); // id -> name
let chat = []; // messages, as the endpoint takes them
let shown = null; // the product that is open
let running = null; // aborts the answer that streams
let latest = 0; // only the view that was asked for last is shown

/* ---- elements ---- */

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") Object.entries(value).forEach(([event, handle]) => element.addEventListener(event, handle));
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}

// A shop's words: writing in another direction ends with them.
const data = (text, tag = "span", attributes = {}) =>
  make(tag, { dir: "auto", ...attributes, class: `data ${attributes.class || ""}`.trim() }, String(text));
const productLink = (id, review) =>
  `#/product/${encodeURIComponent(id)}` + (review ? `?review=${encodeURIComponent(review)}` : "");

function show(title, ...children) {
  document.title = title ? `${title} – Shop assistant` : "Shop assistant";
  find("main").replaceChildren(...children);
}

/* ---- the endpoint ---- */

class Trouble extends Error {
  constructor(status, message, code, seconds) {
    super(message);
    Object.assign(this, { status, code, seconds });
  }
}

async function call(path, body, signal) {
  const key = sessionStorage.getItem(KEY);
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  if (body) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(path, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body), signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Trouble(0, "The endpoint cannot be reached. Are you offline?", "offline", 5);
  }
  if (response.ok) return response;
  let error = {};
  try {
    error = (await response.json()).error || {};
  } catch { /* a proxy's page, or nothing */ }
  const seconds = Number(response.headers.get("Retry-After")) || 0;
  throw new Trouble(response.status, error.message || response.statusText, error.code || "", seconds);
}

function explain(trouble) {
  if (!(trouble instanceof Trouble)) return "Something went wrong on this page.";
  if (trouble.status === 401) return sessionStorage.getItem(KEY) ? "This API key does not hold (any more)." : "An API key is needed.";
  if (trouble.status === 429) return `That was more than this key may ask: ${trouble.message}.`;
  if (trouble.code === "starting") return "The model is being started. Search works already; answers come soon.";
  if (trouble.status === 404 && trouble.code === "no_catalogue") return "This endpoint has no catalogue to search yet.";
  return trouble.message;
}

/* ---- notices and the key ---- */

let countdown = null;

function notice(trouble, retry) {
  clearInterval(countdown);
  const box = find("notice");
  const text = make("span", {}, explain(trouble));
  const button = make("button", { type: "button", class: "quiet", on: { click: () => { hideNotice(); retry(); } } }, "Try again");
  box.replaceChildren(text, retry ? button : "");
  box.hidden = false;
  if (trouble.status === 401) return askKey(retry);
  let left = Math.ceil(trouble.seconds || 0);
  if (!retry || !left) return undefined;
  const isSoon = left <= 60; // else only a person tries again
  const tick = () => {
    button.textContent = isSoon ? `Try again (${left})` : "Try again";
    if (left-- <= 0 && isSoon) { hideNotice(); retry(); }
  };
  tick();
  if (isSoon) countdown = setInterval(tick, 1000);
  return undefined;
}

function hideNotice() {
  clearInterval(countdown);
  find("notice").hidden = true;
}

function askKey(retry) {
  const dialog = find("key-dialog");
  if (sessionStorage.getItem(KEY)) find("key-text").textContent = "That key does not hold. Please look it up.";
  find("key-form").onsubmit = (event) => {
    event.preventDefault();
    sessionStorage.setItem(KEY, find("key").value.trim());
    find("key").value = "";
    dialog.close();
    hideNotice();
    if (retry) retry();
  };
  find("key-cancel").onclick = () => dialog.close();
  if (!dialog.open) dialog.showModal();
}

/* ---- views ---- */

function readRoute() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [view = "", ...rest] = path.split("/");
  let id = rest.join("/");
  try { id = decodeURIComponent(id); } catch { /* as it is */ }
  return { view, id, params: new URLSearchParams(query) };
}

async function route() {
  const number = ++latest;
  const { view, id, params } = readRoute();
  const isCurrent = () => number === latest;
  find("main").setAttribute("aria-busy", "true");
  shown = null;
  try {
    if (view === "product") await showProduct(id, params.get("review"), isCurrent);
    else if (view === "compare") await showComparison(params.getAll("id"), isCurrent);
    else await showSearch(params, isCurrent);
    if (isCurrent()) hideNotice();
  } catch (trouble) {
    if (!isCurrent()) return;
    if (trouble.status === 404) show("Not found", make("p", { class: "empty" }, explain(trouble)));
    else { if (!(trouble instanceof Trouble)) console.error(trouble); notice(trouble, route); }
  } finally {
    if (isCurrent()) find("main").removeAttribute("aria-busy");
  }
}

const go = (view, params) => { location.hash = `#/${view}${params.size ? `?${params}` : ""}`; };

async function showSearch(params, isCurrent) {
  find("query").value = params.get("q") || "";
  const asked = new URLSearchParams([["q", params.get("q") || ""], ...params.getAll("filter").map((one) => ["filter", one])]);
  const found = await (await call(`v1/catalogue/search?${asked}`)).json();
  if (!isCurrent()) return;
  const count = found.data.length;
  const title = params.get("q") ? `Results for “${params.get("q")}”` : "Products";
  const heading = make("h1", {}, data(title));
  const cards = make("ul", { class: "cards", "aria-label": "Products" }, ...found.data.map(drawCard));
  const none = make("p", { class: "empty" }, "Nothing was found. Try other words, or fewer filters.");
  const results = make("section", {}, heading, drawActive(params), count ? cards : none);
  show(params.get("q") || "", make("div", { class: "found" }, drawFilters(found.facets, params), results));
}

function drawCard(product) {
  const values = [...new Set(product.attributes.map((one) => one.value))].slice(0, 4);
  return make("li", { class: "card" },
    data(product.category, "span", { class: "small" }),
    make("h3", {}, data(product.name || product.id, "a", { href: productLink(product.id) })),
    data(product.text, "p", { class: "small" }),
    make("div", { class: "chips" }, ...values.map((value) => data(value, "span", { class: "chip" }))),
    make("div", { class: "row" }, drawPick(product)));
}

function drawPick(product) {
  const box = make("input", { type: "checkbox", "data-id": product.id, on: { change: () => pick(product, box) } });
  box.checked = compared.has(product.id);
  return make("label", { class: "pick" }, box, "Compare");
}

function pick(product, box) {
  if (!box.checked) compared.delete(product.id);
  else if (compared.size < MAX_COMPARED) compared.set(product.id, product.name || product.id);
  else box.checked = false;
  drawTray();
}

function drawTray() {
  const chips = [...compared].map(([id, name]) =>
    data(`${name} ×`, "button", { class: "chip", type: "button", title: "Take out", on: { click: () => unpick(id) } }));
  const link = make("button", { type: "button", disabled: compared.size < 2, on: { click: openComparison } }, `Compare ${compared.size}`);
  find("tray").replaceChildren(make("div", { class: "chips" }, ...chips), link);
  find("tray").hidden = !compared.size;
}

function unpick(id) {
  compared.delete(id);
  for (const box of document.querySelectorAll("input[data-id]")) if (box.dataset.id === id) box.checked = false;
  drawTray();
}

const openComparison = () => go("compare", new URLSearchParams([...compared.keys()].map((id) => ["id", id])));

function change(params, edit) {
  const changed = new URLSearchParams(params);
  edit(changed);
  go("search", changed);
}

function drawActive(params) {
  const chips = params.getAll("filter").map((one) => data(`${one.replace(":", ": ")} ×`, "button", {
    class: "chip", type: "button", title: "Take this filter out",
    on: { click: () => change(params, (changed) => changed.delete("filter", one)) },
  }));
  return make("div", { class: "chips" }, ...chips);
}

function drawFilters(facets, params) {
  const active = params.getAll("filter");
  const isWide = matchMedia("(min-width: 44rem)").matches;
  const chosen = new Set(active.map((one) => one.split(":")[0]));
  const offered = facets.filter(([name], place) => place < 12 || chosen.has(name));
  const groups = offered.map(([name, values], place) => {
    const boxes = values.slice(0, 12).map(([value, count]) => {
      const filter = `${name}:${value}`;
      const toggle = () => change(params, (changed) =>
        active.includes(filter) ? changed.delete("filter", filter) : changed.append("filter", filter));
      const box = make("input", { type: "checkbox", on: { change: toggle } });
      box.checked = active.includes(filter);
      return make("label", { class: "pick" }, box, data(value), make("span", { class: "count" }, String(count)));
    });
    const isOpen = boxes.some((label) => label.firstChild.checked) || (isWide && place < 4);
    return make("details", { open: isOpen }, data(name.replaceAll("_", " "), "summary"), ...boxes);
  });
  const label = { class: "filters", "aria-label": "Filters" };
  if (!groups.length) return make("section", label);
  if (isWide) return make("section", label, make("h2", {}, "Filter"), ...groups);
  return make("section", label, make("details", { open: active.length > 0 }, make("summary", {}, "Filter"), ...groups));
}

async function showProduct(id, review, isCurrent) {
  const product = await (await call(`v1/catalogue/products/${encodeURIComponent(id)}`)).json();
  if (!isCurrent()) return;
  shown = product;
  const back = make("button", { class: "quiet", type: "button", on: { click: () => history.back() } }, "← Back");
  const ask = make("button", { type: "button", on: { click: () => openChat() } }, "Ask about it");
  const head = make("div", { class: "card" }, data(product.category, "p", { class: "small" }),
    data(product.name || product.id, "h1"), data(product.id, "p", { class: "small" }),
    make("div", { class: "row" }, ask, drawPick(product)));
  const parts = [back, head];
  if (product.summary) parts.push(make("section", { class: "card" }, make("h2", {}, "What reviewers say"), data(product.summary, "p", { class: "long" })));
  parts.push(drawAttributes(product));
  if (product.description) parts.push(make("section", { class: "card" }, make("h2", {}, "Description"), data(product.description, "p", { class: "long" })));
  if (product.reviews.length) parts.push(make("section", { class: "card" }, make("h2", {}, "Most helpful reviews"),
    ...product.reviews.map((one) => data(one.text, "blockquote", { class: one.id === review ? "cited" : "" }))));
  show(product.name, make("article", { class: "product" }, ...parts));
  const cited = document.querySelector(".cited");
  if (cited) cited.scrollIntoView({ block: "center" });
}

function drawAttributes(product) {
  const isKnown = product.attributes.some((one) => one.confidence !== null);
  const rows = product.attributes.map((one) => make("tr", {}, data(one.name.replaceAll("_", " "), "th", { scope: "row" }), data(one.value, "td"),
    ...(isKnown ? [drawConfidence(one)] : [])));
  const result = make("div", { "aria-live": "polite" });
  const button = make("button", { class: "quiet", type: "button", on: { click: () => checkAttributes(product, button, result) } }, "How sure is the model?");
  const table = rows.length ? make("table", {}, make("tbody", {}, ...rows)) : make("p", { class: "small" }, "None are known.");
  if (isKnown) return make("section", { class: "card" }, make("h2", {}, "Attributes"), table);
  return make("section", { class: "card" }, make("h2", {}, "Attributes"), table, make("p", {}), button, result);
}

function drawConfidence({ confidence }) {
  if (confidence === null) return make("td");
  const share = Math.round(confidence * 100);
  return make("td", { class: "small", title: "How sure the model is of each word of its answer" }, `${share} % `,
    make("meter", { min: 0, max: 100, low: 50, high: 80, optimum: 100, value: share, "aria-label": "Confidence" }));
}

// This nightly table keeps no confidence, so the model is asked once more.
async function checkAttributes(product, button, result) {
  button.disabled = true;
  result.replaceChildren(make("p", { class: "small" }, "Asking the model …"));
  try {
    const answer = await (await call("v1/tasks/ner_tagging", { tokens: product.name.split(/\s+/).filter(Boolean) })).json();
    const share = Math.round((answer.confidence || 0) * 100);
    const said = answer.prediction.filter(([, type]) => type !== "O").map(([text, type]) => `${text} = ${type.replaceAll("_", " ")}`);
    result.replaceChildren(make("p", {}, "Asked anew about the name, it is ", make("strong", {}, `${share} %`), " sure of each word. ",
      make("meter", { min: 0, max: 100, low: 50, high: 80, optimum: 100, value: share, "aria-label": "Confidence" })),
      data(said.join(" · "), "p", { class: "small" }));
  } catch (trouble) {
    result.replaceChildren(make("p", { class: "small" }, explain(trouble)));
    if (trouble.status === 401) notice(trouble, null);
  } finally {
    button.disabled = false;
  }
}

async function showComparison(ids, isCurrent) {
  if (!ids.length) return show("Compare", make("p", { class: "empty" }, "Tick products to compare them."));
  const asked = new URLSearchParams(ids.length === 1 ? [["ids", ids[0]], ["ids", ids[0]]] : ids.map((id) => ["ids", id]));
  const found = await (await call(`v1/catalogue/compare?${asked}`)).json();
  if (!isCurrent()) return undefined;
  const names = found.data.map((one) => make("th", { scope: "col" }, data(one.name || one.id, "a", { href: productLink(one.id) })));
  const own = [["In the catalogue", "category"], ["Reviewers say", "summary"]].map(([name, field]) => ({ name, values: found.data.map((one) => one[field].slice(0, 400)) }));
  const rows = [...own, ...found.attributes].map(({ name, values }) => {
    const isEqual = new Set(values.map((value) => (value || "").toLowerCase())).size === 1;
    return make("tr", { class: isEqual ? "" : "differs" }, data(name.replaceAll("_", " "), "th", { scope: "row" }), ...values.map((value) => data(value || "–", "td")));
  });
  return show("Compare", make("h1", {}, "Compare"), make("p", { class: "small" }, "Rows with a coloured ground differ."),
    make("div", { class: "card wide", tabindex: "0" }, make("table", {}, make("thead", {}, make("tr", {}, make("td"), ...names)), make("tbody", {}, ...rows))));
}

/* ---- the chat ---- */

function openChat() {
  find("chat").classList.add("open");
  find("open-chat").setAttribute("aria-expanded", "true");
  find("question").focus();
}

function closeChat() {
  find("chat").classList.remove("open");
  find("open-chat").setAttribute("aria-expanded", "false");
  find("open-chat").focus();
}

function addMessage(kind, text) {
  const message = data(text, "div", { class: `message ${kind}` });
  find("messages").append(message);
  message.scrollIntoView({ block: "end" });
  return message;
}

// [1] becomes a link to what it cites; the rest stays text.
function writeAnswer(message, text, sources) {
  const parts = text.split(/(\[\d+\])/).map((part) => {
    const source = /^\[\d+\]$/.test(part) ? sources[Number(part.slice(1, -1)) - 1] : null;
    return source ? make("a", { href: productLink(source.product_id, source.review_id), title: source.product_name, class: "cite" }, part) : part;
  });
  message.replaceChildren(...parts.filter(Boolean));
}

function listCitations(message, citations) {
  if (!citations.length) return;
  const items = citations.map((one) => make("li", {}, make("a", { href: productLink(one.product_id, one.review_id) }, `[${one.number}] `,
    data((one.review_id ? "Review of " : "") + one.product_name))));
  message.append(make("ul", { class: "cites", "aria-label": "Sources" }, ...items));
}

async function* readEvents(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { done, value } = await reader.read();
    held += value || "";
    const events = held.split("\n\n");
    held = events.pop();
    for (const event of events) {
      const text = event.replace(/^data: /, "");
      if (text === "[DONE]") return;
      yield JSON.parse(text);
    }
    if (done) throw new Trouble(0, "The answer broke off.", "offline", 0);
  }
}

function setRunning(abort) {
  running = abort;
  find("send").textContent = abort ? "Stop" : "Ask";
  for (const button of find("messages").querySelectorAll(".again")) button.disabled = abort !== null;
}

async function ask(question) {
  const mine = addMessage("mine", question);
  const message = addMessage("theirs waiting", "");
  const turn = { role: "user", content: question };
  chat.push(turn);
  setRunning(new AbortController());
  let answer = "";
  try {
    const body = { messages: chat.slice(-8), products: shown ? [shown.id] : [] };
    let sources = [];
    for await (const event of readEvents(await call("v1/assistant", body, running.signal))) {
      if (event.error) throw new Trouble(503, event.error.message, event.error.code, 0);
      if (event.type === "sources") sources = event.sources;
      if (event.type === "text") writeAnswer(message, (answer += event.text), sources);
      if (event.type === "end") listCitations(message, event.citations);
      message.scrollIntoView({ block: "end" });
    }
    chat.push({ role: "assistant", content: answer });
  } catch (trouble) {
    if (!answer) message.remove();
    chat = chat.filter((one) => one !== turn);
    if (trouble.name !== "AbortError") tellTrouble(trouble, question, [mine, message]);
  } finally {
    message.classList.remove("waiting");
    setRunning(null);
  }
}

// What is asked again stands once: its question, what there was of an answer, and the trouble go.
function tellTrouble(trouble, question, parts) {
  const message = addMessage("theirs trouble", explain(trouble));
  const again = () => {
    if (running) return;
    for (const part of [...parts, message]) part.remove();
    ask(question);
  };
  if (trouble.status === 401) askKey(again);
  message.append(" ", make("button", { type: "button", class: "quiet again", on: { click: again } }, "Try again"));
}

/* ---- start ---- */

find("search").addEventListener("submit", (event) => {
  event.preventDefault();
  const params = new URLSearchParams({ q: find("query").value.trim() });
  const hash = `#/search?${params}`;
  if (location.hash === hash) route();
  else location.hash = hash;
});
find("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  if (running) { running.abort(); return; }
  const question = find("question").value.trim();
  if (!question) return;
  find("question").value = "";
  ask(question);
});
find("question").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); find("ask").requestSubmit(); }
});
find("open-chat").addEventListener("click", openChat);
find("close-chat").addEventListener("click", closeChat);
find("new-chat").addEventListener("click", () => { chat = []; running?.abort(); find("messages").replaceChildren(); find("question").focus(); });
find("messages").addEventListener("click", (event) => { if (event.target.closest("a")) find("chat").classList.remove("open"); });
document.addEventListener("keydown", (event) => {
  const isTyping = /^(INPUT|TEXTAREA)$/.test(document.activeElement?.tagName || "");
  if (event.key === "/" && !isTyping) { event.preventDefault(); find("query").focus(); }
  if (event.key === "Escape" && find("chat").classList.contains("open")) closeChat();
});
document.querySelector(".skip").addEventListener("click", (event) => { event.preventDefault(); find("main").focus(); });
addEventListener("hashchange", route);
addEventListener("online", () => { if (!find("notice").hidden) { hideNotice(); route(); } });
route();
